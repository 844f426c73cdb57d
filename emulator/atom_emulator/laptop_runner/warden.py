"""Run jobs so that none of their processes outlives the Task Runner, whichever process is killed.

Usage: `python -I -S warden.py`, started as the leader of its own session, with a Unix socket as standard input. The
Task Runner sends one byte through it for each job, together with the warden's end of the job's own socket. It uses only
the standard library and no site-packages, and does not import this package.

    Task Runner ── warden ── keeper of job A ── job A and all its descendants
                          └─ keeper of job B ── job B and all its descendants

A keeper is a copy of the warden (`fork` without `exec`, 1 ms). It runs one job, and only it decides when the job is
over. On Linux it is a subreaper: a descendant whose parent ends becomes the keeper's child even if it called setsid, so
that nothing escapes. What remains if one of them is killed with SIGKILL:

* the Task Runner: every keeper sees the end of its socket, kills its job and ends; the warden ends likewise.
* the warden: the Task Runner sees the end of its socket and stops.
* a keeper: the kernel kills the job's first process (PR_SET_PDEATHSIG); the others become children of the warden, which
  kills every child that is not a keeper.
* the warden and a keeper at the same time: what remains of the job becomes children of the Task Runner, which kills
  them before it stops.
* the first process of a job: its keeper kills the others.

On other systems the process group of the job is killed; a process that left it is not found.

The messages on a job's socket, each one line of JSON except the single byte:

* to the keeper, first: `argv`, `cwd`, `env`, `log`, `log_bytes`, `grace_s`, `linger_s`, and the commands `stop` and
  `kill`, which may be null.
* to the keeper, at any time later: one byte. It asks the job to end (`stop`, or SIGTERM to its process group), and
  after `grace_s` kills it (SIGKILL to every process, then `kill`). The end of the socket kills it at once.
* from the keeper, once nothing of the job still runs: `{"code": N}`, `{"signal": N, "oom": bool}` or, if it could
  not be started, `{"error": …, "errno": N}`. `log_error` is added if the log could not be written completely.

What the job prints comes to its keeper through a pipe, and goes on to the log. If the log is at its limit or the disk
is full, it is read and left out, so that the job neither waits nor dies.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

_IS_LINUX: Final = sys.platform == "linux"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_LONGEST_SPEC: Final = 32_000_000
_COMMAND_S: Final = 15.0
"""How long a command that stops or kills a job may take."""

_KILL_S: Final = 10.0
"""How long killed processes are waited for. One that hangs in the kernel cannot be waited for any longer."""

_CLOSING_S: Final = _KILL_S + _COMMAND_S + 5.0
"""How long keepers may take to kill their jobs once the Task Runner has ended."""

_HUNT_S: Final = 0.01

_PIECE: Final = 65_536
_PIECES_AT_ONCE: Final = 64
_LOG_TAIL: Final = 65_536
"""How much of the end of a log that is too long is kept as well: it often says why a job failed."""


def main() -> None:
    """Start a keeper for each job until the Task Runner ends."""
    libc = adopt_orphans()
    _go_on_without_parent(libc)
    jobs = socket.socket(fileno=os.dup(0))
    # Keepers inherit standard input. While one of them held the socket, the Task Runner would not see the warden end.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _Warden(jobs, libc).run()


class _Warden:
    """Forks keepers, and kills what killed keepers leave behind."""

    def __init__(self, jobs: socket.socket, libc: ctypes.CDLL | None) -> None:
        self._libc = libc
        self._jobs = jobs
        self._keepers: set[int] = set()
        # True while processes of a keeper that was killed, or failed, may still be running.
        self._hunting = False

    def run(self) -> None:
        with _child_signals() as woken, selectors.DefaultSelector() as waiting:
            waiting.register(self._jobs, selectors.EVENT_READ)
            waiting.register(woken, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in waiting.select(_HUNT_S if self._hunting else None)}
                if woken in ready:
                    woken.recv(4096)
                self._reap()
                if self._jobs in ready and not self._take_job():
                    break
        self._await_keepers()

    def _take_job(self) -> bool:
        """Fork the keeper of the next job.

        Returns False if there will be none.
        """
        received, descriptors, _, _ = socket.recv_fds(self._jobs, 1, 1)
        if not received:
            return False
        for descriptor in descriptors:
            # Without a keeper, the Task Runner sees the end of the job's socket.
            with suppress(OSError):
                pid = os.fork()
                if pid == 0:
                    self._jobs.close()
                    _become_keeper(descriptor, self._libc)
                self._keepers.add(pid)
            os.close(descriptor)
        return True

    def _await_keepers(self) -> None:
        """Wait until every keeper has killed its job, and kill what is left of keepers that were killed meanwhile."""
        kill_at = time.monotonic() + _CLOSING_S
        while (self._keepers or self._hunting) and time.monotonic() < kill_at + _KILL_S:
            if time.monotonic() > kill_at:
                _kill([*self._keepers])
            self._reap()
            time.sleep(_HUNT_S)

    def _reap(self) -> None:
        for pid, status in _reap_children(os.WUNTRACED):
            if os.WIFSTOPPED(status):  # By its job, or by mistake.
                os.kill(pid, signal.SIGCONT)
                continue
            has_failed = os.waitstatus_to_exitcode(status) != 0
            self._hunting |= has_failed or pid not in self._keepers
            self._keepers.discard(pid)
        if self._hunting:
            orphans = _find_descendants(os.getpid(), without=self._keepers)
            _kill(orphans)
            self._hunting = bool(orphans)


def adopt_orphans() -> ctypes.CDLL | None:
    """Make orphaned descendants the children of this process. Returns the library that asks Linux for such things."""
    libc = ctypes.CDLL(None) if _IS_LINUX else None
    if libc is not None:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return libc


def kill_orphans(within_s: float) -> None:
    """Kill every descendant that has left this process's session, and wait until none is left.

    This process must have called `adopt_orphans`, and must have no other children that it wants to wait for.
    """
    deadline = time.monotonic() + within_s
    mine = os.getsid(0)
    while time.monotonic() < deadline:
        for _ in _reap_children():
            pass
        orphans = [pid for pid in _find_descendants(os.getpid()) if _session_of(pid) not in {0, mine}]
        if not orphans:
            return
        _kill(orphans)
        time.sleep(_HUNT_S)


def _session_of(pid: int) -> int:
    """Return a process's session, or 0 if it has ended."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _go_on_without_parent(libc: ctypes.CDLL | None) -> None:
    """Go on when the parent ends, even if a job has stopped this process (SIGSTOP)."""
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def _become_keeper(descriptor: int, libc: ctypes.CDLL | None) -> None:
    """Keep one job, and exit."""
    code = 1
    try:
        # The warden's signals would otherwise wake this process through the warden's own pipe.
        signal.set_wakeup_fd(-1)
        adopt_orphans()
        _go_on_without_parent(libc)
        with socket.socket(fileno=descriptor) as job:
            _Keeper(job, libc).run()
        code = 0
    finally:
        os._exit(code)


class _Log:
    """What a job prints, on its way from a pipe to the log."""

    def __init__(self, path: str, most: int) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self.source, self.target = os.pipe()
        os.set_blocking(self.source, False)
        self._most = self._left = most
        self._too_much = 0
        self._tail = b""
        self.error = ""

    def take(self) -> bool:
        """Write what the job has printed so far, or a part of it.

        Returns False if it will print nothing more.
        """
        for _ in range(_PIECES_AT_ONCE):
            try:
                piece = os.read(self.source, _PIECE)
            except BlockingIOError:
                return True
            if not piece:
                return False
            fits, rest = piece[: self._left], piece[self._left :]
            rest = self._write(fits) + rest
            self._too_much += len(rest)
            self._tail = (self._tail + rest)[-_LOG_TAIL:]
        return True

    def close(self) -> None:
        """Write the rest, and if something was left out, how much that is."""
        for _ in range(_PIECES_AT_ONCE):
            if not self.take():
                break
        missing = self._too_much - len(self._tail)
        end = self._tail
        if missing:
            why = self.error or f"a job's log has at most {self._most:,} bytes"
            note = f"[this log was cut: {missing:,} bytes are missing at [...], since {why}]"
            end = b"\n[...]\n" + end.removesuffix(b"\n") + f"\n{note}\n".encode()
        self._write(end)
        for descriptor in (self._file, self.source):
            os.close(descriptor)

    def _write(self, piece: bytes) -> bytes:
        """Write to the file, and return what could not be written."""
        while piece:
            try:
                written = os.write(self._file, piece)
            except OSError as error:
                # Usually the disk is full. Nothing more is written before the end, as a gap would not be seen.
                self.error, self._left = error.strerror or str(error), 0
                return piece
            self._left = max(0, self._left - written)
            piece = piece[written:]
        return b""


class _Keeper:
    """Runs one job from its specification to its report."""

    def __init__(self, job: socket.socket, libc: ctypes.CDLL | None) -> None:
        self._job = job
        self._libc = libc
        self._me = os.getpid()
        self._group = 0
        self._ended: int | None = None

    def run(self) -> None:
        spec, is_to_end = _read_spec(self._job)
        if spec is None:
            return
        ooms = _count_ooms()
        with _child_signals() as woken:
            try:
                log = _Log(spec["log"], int(spec["log_bytes"]))
                process = self._start(spec, log)
            except (OSError, ValueError) as error:
                self._report({"error": _explain(error, spec), "errno": getattr(error, "errno", None) or 0})
                return
            self._group = process.pid
            if self._wait(spec, woken, log, is_to_end=is_to_end):
                self._linger(float(spec["linger_s"]), log)
                self._kill_all()
            else:
                self._kill_all()
                _run_command(spec["kill"])
        log.close()
        process.returncode = 0  # It was reaped here, so its destructor has nothing to do.
        said = {"log_error": log.error} if log.error else {}
        if self._ended is None:
            self._report({"error": "it was killed, but does not end", **said})
            return
        code = os.waitstatus_to_exitcode(self._ended)
        self._report({"code": code, **said} if code >= 0 else {"signal": -code, "oom": _count_ooms() > ooms, **said})

    def _start(self, spec: Mapping[str, Any], log: _Log) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - running the user's programs is what this is for
                spec["argv"],
                cwd=spec["cwd"],
                env=spec["env"],
                stdin=subprocess.DEVNULL,
                stdout=log.target,
                stderr=log.target,
                start_new_session=True,
                preexec_fn=self._die_with_keeper if self._libc is not None else None,  # noqa: PLW1509 - there is one thread
            )
        finally:
            # The end of the job is then the end of what it prints.
            os.close(log.target)

    def _die_with_keeper(self) -> None:
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._me:
            os._exit(1)  # The keeper died before Linux was asked to watch it.

    def _wait(self, spec: Mapping[str, Any], woken: socket.socket, log: _Log, *, is_to_end: bool) -> bool:
        """Wait for the end of the job's first process.

        Returns False if the job is to be killed.
        """
        kill_at = self._ask_to_end(spec) if is_to_end else None
        with selectors.DefaultSelector() as waiting:
            for source in (self._job, woken, log.source):
                waiting.register(source, selectors.EVENT_READ)
            while not self._has_ended():
                left_s = None if kill_at is None else max(0.0, kill_at - time.monotonic())
                ready = {key.fileobj for key, _ in waiting.select(left_s)}
                if woken in ready:
                    woken.recv(4096)
                if log.source in ready and not log.take():
                    waiting.unregister(log.source)
                is_over = kill_at is not None and time.monotonic() >= kill_at
                if is_over or (self._job in ready and not self._job.recv(64)):
                    return False
                if self._job in ready and kill_at is None:
                    kill_at = self._ask_to_end(spec)
        return True

    def _ask_to_end(self, spec: Mapping[str, Any]) -> float:
        """Ask the job to end, and return when to kill it."""
        if spec["stop"] is not None:
            _run_command(spec["stop"], wait=False)
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGTERM)
        return time.monotonic() + float(spec["grace_s"])

    def _has_ended(self) -> bool:
        for pid, status in _reap_children():
            if pid == self._group:
                self._ended = status
        return self._ended is not None

    def _linger(self, most_s: float, log: _Log) -> None:
        """Wait until the job's other processes have ended, within limits."""
        deadline = time.monotonic() + most_s
        while time.monotonic() < deadline and self._has_ended() and _has_children():
            log.take()
            time.sleep(_HUNT_S)

    def _kill_all(self) -> None:
        """Kill every process of the job, and wait until none is left."""
        # On Linux, its descendants are all of it. Elsewhere, the group is all that can be found, although its number
        # may be another group's by now if nothing of it was left.
        if self._ended is None or not _IS_LINUX:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, signal.SIGKILL)
        deadline = time.monotonic() + _KILL_S
        pause_s = 0.0005
        while time.monotonic() < deadline:
            # As a subreaper, this process has a child as long as it has any descendant.
            if self._has_ended() and not _has_children():
                return
            _kill(_find_descendants(self._me))
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)

    def _report(self, end: Mapping[str, Any]) -> None:
        with suppress(OSError):
            self._job.sendall(json.dumps(end).encode() + b"\n")


def _read_spec(job: socket.socket) -> tuple[Mapping[str, Any] | None, bool]:
    """Read the job's specification.

    The second result is True if its end is requested. There is no specification if the Task Runner ended before it
    was sent.
    """
    received = bytearray()
    while b"\n" not in received:
        piece = job.recv(65_536)
        if not piece or len(received) > _LONGEST_SPEC:
            return None, False
        received += piece
    line, _, more = received.partition(b"\n")
    spec: Mapping[str, Any] = json.loads(line)
    return spec, bool(more)


def _explain(error: Exception, spec: Mapping[str, Any]) -> str:
    """Explain why a program could not be started."""
    program = f"{spec['argv'][0]!r:.200}"
    if isinstance(error, FileNotFoundError) and os.path.isdir(spec["cwd"]):  # noqa: PTH112 (pathlib takes a while to import)
        return f"there is no program {program}"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{program} cannot be run: {reason[:1].lower()}{reason[1:]}"


def _run_command(argv: Sequence[str] | None, *, wait: bool = True) -> None:
    """Run a command that stops or kills a job.

    Its result does not matter, as the job's processes are killed anyway.
    """
    if argv is None:
        return
    with suppress(OSError, subprocess.TimeoutExpired):
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 (from the Task Runner)
        if wait:
            process.wait(_COMMAND_S)


class _child_signals:  # noqa: N801 - a context manager, used like a function
    """A socket that becomes readable when a child ends."""

    def __enter__(self) -> socket.socket:
        self._read, self._write = socket.socketpair()
        self._read.settimeout(0)
        self._write.settimeout(0)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        return self._read

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self._read.close()
        self._write.close()


def _reap_children(options: int = 0) -> Iterator[tuple[int, int]]:
    """Yield the id and status of every child that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | options)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _has_children() -> bool:
    """Return True if there is a child.

    None of them may have ended since the last `_reap_children`.
    """
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _find_descendants(pid: int, *, without: Collection[int] = ()) -> list[int]:
    """Return the descendants of a process, except those `without` and their descendants.

    Nothing is found on systems other than Linux.
    """
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if _IS_LINUX else ():  # noqa: PTH208 (pathlib takes a while to import)
        if not name.isdecimal():
            continue
        # A process may end at any time.
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 (see above)
            # The program's name, in parentheses, may contain anything.
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found = [pid]
    for ancestor in found:  # The list grows meanwhile.
        found.extend(child for child, parent in parents.items() if parent == ancestor and child not in without)
    return found[1:]


def _count_ooms() -> int:
    """Return how many processes were killed for lack of memory.

    The number is for the whole machine since it started, or 0 if unknown.
    """
    with suppress(OSError, ValueError), open("/proc/vmstat", "rb") as file:  # noqa: PTH123 (pathlib takes a while to import)
        for line in file:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
