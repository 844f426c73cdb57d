"""`python -m atom_emulator.identity`: the Google identity services that ID tokens need, on a loopback port.

Point clients at it with GCE_METADATA_HOST and GCE_METADATA_IP (set before google-auth is imported), or with a key or
an impersonation file from `GET /_key` and `GET /_impersonation`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from atom_emulator.identity.server import IdentityOptions, run


def main() -> None:
    """Run the server with the options of the command line."""
    parser = argparse.ArgumentParser(prog="atom_emulator.identity", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 picks a free one")
    parser.add_argument("--ready-file", type=Path, help='file that receives {"port": N} once the server listens')
    parser.add_argument("--lifetime", dest="lifetime_s", type=int, default=3600, help="lifetime of a token in seconds")
    try:
        run(IdentityOptions(**vars(parser.parse_args())))
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
