"""The server process: binds, writes its ready file, serves until it is stopped, and kills its jobs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from atom_emulator.http_protocol import BoundedProtocol, Connections, Request, Response, refuse_web_pages
from atom_emulator.laptop_runner.container_tool import find_tool
from atom_emulator.laptop_runner.containers import Containers
from atom_emulator.laptop_runner.hints import HintThread
from atom_emulator.laptop_runner.jobs import Engine, Jobs
from atom_emulator.laptop_runner.keepers import GRACE_S, MAX_LOG_BYTES, Keepers
from atom_emulator.laptop_runner.processes import Processes
from atom_emulator.laptop_runner.records import Records
from atom_emulator.laptop_runner.service import LOGS, LaptopService
from atom_emulator.ready_file import write_ready_file

MAX_CONNECTIONS: Final = 256
"""Of connections beyond these, the ones that have been idle for the longest are closed."""

LONGEST_IDLE_S: Final = 30.0
"""How long a connection may take to send a request."""


class WardenLost(Exception):
    """The process that supervises the jobs was killed, and all jobs with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaptopOptions:
    """The options of the server. With port 0 it picks a free port and writes it to `ready_file`.

    `folder` is where the jobs' files are. `secret_file` contains the secret that callers must send. `engine` is process
    or docker, and `tool` the program that runs containers. `slots` is how many jobs run at the same time; 0 means as
    many as this process has cores. A program that is stopped is killed after `grace_s`. `hints` is a file with the
    address to which ended jobs are published (see `job_hints`). With `only_run`, jobs of other runs are refused.
    A log has at most `log_bytes`.
    """

    folder: Path
    secret_file: Path
    engine: str = "process"
    tool: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    slots: int = 0
    grace_s: float = GRACE_S
    hints: Path | None = None
    only_run: str = ""
    log_bytes: int = MAX_LOG_BYTES


def run(options: LaptopOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `OSError` (a file, the port) or `WardenLost`.
    """
    secret = options.secret_file.read_text(encoding="utf-8").strip()
    if not secret:
        raise OSError(f"{options.secret_file} contains no secret")
    asyncio.run(_serve(options, secret))


async def _serve(options: LaptopOptions, secret: str) -> None:
    stopped = _await_stop()
    service: LaptopService | None = None

    def handle(request: Request) -> Response:
        return service.handle(request) if service else Response(503, b"")

    loop = asyncio.get_running_loop()
    guarded = refuse_web_pages(handle, bound_to=options.host)
    connections = Connections(most=MAX_CONNECTIONS, idle_s=LONGEST_IDLE_S)
    server = await loop.create_server(
        lambda: BoundedProtocol(guarded, connections), options.host, options.port, backlog=1024
    )
    port = server.sockets[0].getsockname()[1]

    def handle_loss() -> None:
        if not stopped.done():
            stopped.set_exception(WardenLost())

    keepers = Keepers(handle_loss, log_bytes=options.log_bytes)
    jobs = _build_jobs(options, keepers, logs_url=f"http://{options.host}:{port}{LOGS}")
    jobs.take_over()
    service = LaptopService(jobs, secret=secret, only_run=options.only_run)
    if options.ready_file is not None:
        write_ready_file(options.ready_file, port=port)
    try:
        await stopped
    finally:
        server.close()
        jobs.close()
        await keepers.close()


def _await_stop() -> asyncio.Future[None]:
    """Return what is done once SIGTERM or SIGINT has come."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop)
    return stopped


def _build_jobs(options: LaptopOptions, keepers: Keepers, *, logs_url: str) -> Jobs:
    records = Records(options.folder.absolute())
    engine: Engine = Processes(keepers, Path.cwd(), grace_s=options.grace_s)
    if options.engine == "docker":
        engine = Containers(keepers, tool=options.tool or find_tool(), runner=records.runner)
    return Jobs(
        engine=engine,
        records=records,
        timers=asyncio.get_running_loop(),
        slots=options.slots or count_cores(),
        logs_url=lambda rest: f"{logs_url}{rest}",
        on_end=HintThread(options.hints).send if options.hints else None,
    )


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
