"""The server process: binds, writes its ready file, serves until it is stopped."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from atom_emulator.http_protocol import HttpProtocol, refuse_web_pages
from atom_emulator.job_hints import JobHints
from atom_emulator.log_files import append_to
from atom_emulator.ready_file import write_ready_file
from atom_emulator.task_runner.call_log import CallLog
from atom_emulator.task_runner.hint_timer import HintTimer
from atom_emulator.task_runner.jobs import Jobs
from atom_emulator.task_runner.journal import Journal
from atom_emulator.task_runner.script_file import load_script
from atom_emulator.task_runner.service import FindRefusal, TaskRunnerService, allow_all

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The options of the server. With port 0 it picks a free port and writes it to `ready_file`.

    A server with a `journal` knows the jobs that an earlier server wrote there. `hints` is a file that contains the
    address to which ended jobs are published; it need not exist before a job ends (see `job_hints`).
    """

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    script: Path | None = None
    log: Path | None = None
    journal: Path | None = None
    hints: Path | None = None
    default_duration_s: float = 0.0
    certs_url: str | None = None
    audience: str = ""
    invokers: Sequence[str] = ()


def run(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `InvalidScript`, `InvalidJournal` or `OSError` (a file, the port).
    """
    with ExitStack() as stack:
        service, timer = _build_service(options, stack)
        asyncio.run(_serve(options, service, timer))


def _build_service(options: ServerOptions, stack: ExitStack) -> tuple[TaskRunnerService, HintTimer | None]:
    journal = Journal(options.journal) if options.journal else None
    jobs = Jobs(
        load_script(options.script) if options.script else None,
        default_duration_s=options.default_duration_s,
        id_prefix=f"job-{secrets.token_hex(3)}",
        journal=journal,
    )
    if journal is not None:
        jobs.restore(journal.read())
    file: BinaryIO | None = None
    if options.log is not None:
        file = stack.enter_context(append_to(options.log))
    # The times in a journal must have the same meaning in the next process.
    now = time.monotonic if journal is None else time.time
    timer = HintTimer(jobs, JobHints(options.hints).publish, now) if options.hints else None
    on_change = timer.arm if timer else (lambda: None)
    log = CallLog(file)
    return TaskRunnerService(jobs, log, now=now, find_refusal=_choose_check(options), on_change=on_change), timer


def _choose_check(options: ServerOptions) -> FindRefusal:
    if options.certs_url is None:
        return allow_all
    from atom_emulator.task_runner.guard import Guard  # noqa: PLC0415 (google-auth takes a while to import)

    guard = Guard(certs_url=options.certs_url, audience=options.audience, invokers=frozenset(options.invokers))
    return guard.find_refusal


async def _serve(options: ServerOptions, service: TaskRunnerService, timer: HintTimer | None) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopped.set)
    handle = refuse_web_pages(service.handle, bound_to=options.host)
    server = await loop.create_server(lambda: HttpProtocol(handle), options.host, options.port, backlog=1024)
    if options.ready_file is not None:
        write_ready_file(options.ready_file, port=server.sockets[0].getsockname()[1])
    if timer is not None:
        timer.arm()  # for the jobs of an earlier server
    await stopped.wait()
    server.close()
    if timer is not None:
        timer.close()
