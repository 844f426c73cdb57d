"""A peer's script as a process: a line requests each pass, and everything that the script started ends with it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import psutil

from bench.peers.failures import PeerFailed, TooLong

START_WITHIN_S: Final = 180.0
_END_WITHIN_S: Final = 15.0
_GRACE_S: Final = 5.0
_MEMORY: Final = "/dev/shm"  # noqa: S108 - within it, a folder of our own is made
_LOOK_EVERY_S: Final = 0.5
"""How often to check that the script still runs, since a process that it started may hold its pipe open."""

_MARK: Final = "PEER_MARK"
"""A variable that every process below the script inherits, even one that leaves its session."""


class Script:
    """The process while the `with` block lasts. Entering raises `PeerFailed` if it does not become ready."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._mark = uuid.uuid4().hex
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(_temporary_folder()))
            self._log = folder / "log"
            receiving, sending = os.pipe()
            self._answers = stack.enter_context(os.fdopen(receiving, "rb", buffering=0))
            with os.fdopen(sending, "wb"):
                self._process = self._start(folder / "scratch", sending)
            stack.callback(self._end)
            self._await_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        if error == (None, None, None):
            self._let_end()
        self._stack.close()

    def seconds(self, asked: Mapping[str, Any], limit_s: float) -> float:
        """Return how long the pass took.

        Raises `PeerFailed`, or `TooLong`, after which no more passes can be requested.
        """
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
        return float(self._answer(limit_s)["wall_s"])

    def _start(self, scratch: Path, answers: int) -> subprocess.Popen[bytes]:
        scratch.mkdir()
        given = {name: value.replace("{scratch}", str(scratch)) for name, value in self._environment.items()}
        own = {"HOME": str(scratch), "PEER_ANSWERS": str(answers), "PEER_SCRATCH": str(scratch), _MARK: self._mark}
        with self._log.open("wb") as log:
            # The script has its own session: Ctrl-C reaches only this process, which then ends the script.
            return subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[answers],
                cwd=scratch,
                env={**os.environ, **given, **own},
                start_new_session=True,
            )

    def _answer(self, limit_s: float) -> Mapping[str, Any]:
        deadline = time.monotonic() + limit_s
        while not select.select([self._answers], [], [], _LOOK_EVERY_S)[0]:
            if self._process.poll() is not None:
                raise PeerFailed(self._last_words())
            if time.monotonic() > deadline:
                raise TooLong(limit_s)
        if not (line := self._answers.readline()):
            raise PeerFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        lines = [line.strip() for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "it ended without an error message")

    def _await_ready(self) -> None:
        try:
            self._answer(START_WITHIN_S)
        except TooLong:
            raise PeerFailed(f"not ready within {START_WITHIN_S:.0f} s") from None

    def _let_end(self) -> None:
        """Close the script's input, which asks it to end."""
        self._close_input()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WITHIN_S)

    def _end(self) -> None:
        with _uninterrupted():
            self._close_input()
            _end_all(list(_started_by(self._process.pid, self._mark)))
            self._process.wait(_GRACE_S)

    def _close_input(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder in memory where the system has that.

    The local platform keeps its state in memory, too, and disks differ more than engines.
    """
    return tempfile.TemporaryDirectory(
        prefix="atom-peer-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None, ignore_cleanup_errors=True
    )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore a second Ctrl-C while what was started is ended."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _started_by(session: int, mark: str) -> Iterator[psutil.Process]:
    """Yield the processes in the session or with the mark.

    A process that changes its title may lose its environment, and one that leaves its session keeps the mark.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session or process.environ().get(_MARK) == mark:
                yield process


def _end_all(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(processes, timeout=_GRACE_S)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=_GRACE_S)
