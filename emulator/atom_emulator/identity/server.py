"""The server process: binds, writes its ready file, serves until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from atom_emulator.http_protocol import HttpProtocol, Request, Response, refuse_web_pages
from atom_emulator.identity.authority import Authority
from atom_emulator.identity.service import IdentityService
from atom_emulator.ready_file import write_ready_file


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityOptions:
    """The options of the server. With port 0 it picks a free port and writes it to `ready_file`."""

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    lifetime_s: int = 3600


def run(options: IdentityOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `OSError` if the port is taken.
    """
    asyncio.run(_serve(options))


async def _serve(options: IdentityOptions) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    service: IdentityService | None = None

    def handle(request: Request) -> Response:
        return service.handle(request) if service else Response(503, b"")

    guarded = refuse_web_pages(handle, bound_to=options.host)
    server = await loop.create_server(lambda: HttpProtocol(guarded), options.host, options.port)
    port = server.sockets[0].getsockname()[1]
    service = IdentityService(Authority(lifetime_s=options.lifetime_s), f"http://{options.host}:{port}")
    if options.ready_file is not None:
        write_ready_file(options.ready_file, port=port)
    await stopped.wait()
    server.close()
