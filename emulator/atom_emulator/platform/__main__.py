"""`python -m atom_emulator.platform`: run the platform until Ctrl-C, SIGTERM or a crash."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path

from atom_emulator.platform.errors import PlatformError
from atom_emulator.platform.google import use_running_emulators
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PlatformOptions


def main() -> None:
    """Run the platform with the options of the command line.

    Prints the variables to export once the platform is ready.
    """
    parser = argparse.ArgumentParser(prog="atom_emulator.platform", description=__doc__)
    parser.add_argument("--project", default=PlatformOptions().project)
    parser.add_argument("--emulators", choices=("embedded", "google"), default="embedded")
    parser.add_argument("--bucket", default=PlatformOptions().bucket)
    parser.add_argument("--functions-dir", type=Path)
    parser.add_argument("--task-runner-url", help="URL of a Task Runner that is already running")
    parser.add_argument("--task-runner-script", type=Path, help="file that scripts the jobs of the mock Task Runner")
    parser.add_argument("--runner", choices=("mock", "process", "docker"), default="mock", help="what runs jobs")
    parser.add_argument("--tick-every", dest="tick_every_s", type=float, default=PlatformOptions().tick_every_s)
    parser.add_argument("--log-dir", type=Path)
    options = use_running_emulators(dataclasses.replace(PlatformOptions(), **vars(parser.parse_args())))
    # SIGTERM ends the `with` block in the same way as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalPlatform(options) as platform:
            exports = "".join(f"export {name}={value}\n" for name, value in platform.shown_environment.items())
            sys.stdout.write(f"{exports}# logs: {platform.log_dir}\n")
            sys.stdout.flush()
            platform.wait()
    except KeyboardInterrupt:
        sys.exit(0)
    except PlatformError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
