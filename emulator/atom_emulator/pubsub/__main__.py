"""`python -m atom_emulator.pubsub`: run the embedded Pub/Sub as its own process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from atom_emulator.loopback_owner import SUPPORTED
from atom_emulator.pubsub.push import DEFAULT_IN_FLIGHT
from atom_emulator.pubsub.server import PubsubServer, ServerSettings
from atom_emulator.pubsub.wire import SHORTEST_ACK_DEADLINE_S
from atom_emulator.ready_file import write_ready_file
from atom_emulator.sqlite_file import SqliteFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger("atom_emulator.pubsub")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    The exit code is 1 if the port or the messages file cannot be opened.
    """
    options = _parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s pubsub: %(message)s",
    )
    logging.getLogger("asyncio").setLevel(logging.INFO)
    try:
        asyncio.run(_serve(options))
    except (OSError, SqliteFileError) as error:
        _log.error("%s", error)
        return 1
    return 0


async def _serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    settings = ServerSettings(
        port=options.port,
        in_flight=options.push_in_flight,
        shortest_ack_deadline_s=options.shortest_ack_deadline,
        same_user=options.same_user and SUPPORTED,
        messages=options.messages,
    )
    server = PubsubServer(settings)
    port = await server.start()
    _log.info("listening on 127.0.0.1:%d", port)
    if options.ready_file is not None:
        write_ready_file(options.ready_file, port=port)
    await stopped.wait()
    await server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m atom_emulator.pubsub", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 (the default) picks a free one")
    parser.add_argument("--ready-file", type=Path, help='write {"port": N} to this file when ready')
    parser.add_argument(
        "--push-in-flight",
        type=int,
        default=DEFAULT_IN_FLIGHT,
        help="concurrent deliveries for each push subscription (default %(default)s)",
    )
    parser.add_argument(
        "--shortest-ack-deadline",
        type=float,
        default=SHORTEST_ACK_DEADLINE_S,
        metavar="SECONDS",
        help="for tests: accept shorter acknowledgement deadlines than the service's %(default)g s",
    )
    parser.add_argument("--same-user", action="store_true", help="refuse processes of other users (Linux only)")
    parser.add_argument(
        "--messages", type=Path, metavar="FILE", help="keep unacknowledged messages in this SQLite file"
    )
    parser.add_argument("--verbose", action="store_true", help="log one line for each delivered message")
    return parser


if __name__ == "__main__":
    sys.exit(main())
