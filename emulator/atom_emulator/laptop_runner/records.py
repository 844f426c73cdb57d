"""What is known about jobs, in files: it outlives the Task Runner, so that no job is started twice or forgotten.

Each job has a record in its folder, written before its submission is answered and again when it ends. Each Task Runner
has a file in `.runners/` that lists its jobs, and holds a lock on it. The kernel releases the lock however the process
ends, so a file whose lock can be acquired lists the jobs of a Task Runner that has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from atom_emulator.laptop_runner.ends import DIED, Result
from atom_emulator.laptop_runner.files import JobFiles, files_for, open_regular
from atom_emulator.log_files import make_folder
from atom_workflows.bounded_json import read_json
from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES
from atom_workflows.errors import RequestRefused
from atom_workflows.runner.reports import JobState

_RUNNERS: Final = ".runners"
_NEW: Final = ".new"

_MAX_BYTES: Final = 1024 * 1024
_MAX_VALUES: Final = 2 * MAX_OUTPUTS_BYTES
"""Larger than any record with outputs. A job can replace its record with anything else."""


NOT_ENDED: Final = Result(state=JobState.QUEUED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A job as it is stored. Its id is its idempotency key."""

    key: str

    # The Task Runner that accepted it.
    runner: str

    # The last part of the address of its log, which cannot be guessed.
    log_id: str
    result: Result = NOT_ENDED


class RecordUnusable(ValueError):
    """A job's folder contains no usable record, or another job's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} does not contain the record of this job; remove that folder")


class Records:
    """The records below one folder. Other Task Runners may use the folder at the same time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._runners = root / _RUNNERS
        self.runner = secrets.token_hex(8)
        make_folder(self._runners)
        unseen = self._runners / f"{self.runner}{_NEW}"
        # The file appears only once it is locked, so it cannot be mistaken for an abandoned one.
        self._own = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._own, fcntl.LOCK_EX)
        unseen.rename(self._runners / self.runner)

    def add(self, key: str) -> Record:
        """Record a job that is new here.

        Raises `OSError` if nothing can be written; the job is not accepted then.
        """
        files = self.files(key)
        os.write(self._own, f"{key}\n".encode())
        make_folder(files.outputs.parent)
        record = Record(key=key, runner=self.runner, log_id=secrets.token_hex(16))
        _write(files, record)
        return record

    def find(self, key: str) -> Record | None:
        """Return the record of the job with this key, or None.

        Raises `RecordUnusable`.
        """
        record = _read(self.files(key), key)
        if record is None or record.result.state.is_terminal or self._is_alive(record.runner):
            return record
        return self.end(record, DIED)

    def read(self, key: str) -> Record | None:
        """Return the record of the job with this key as it is stored, or None.

        Raises `RecordUnusable`, `RequestRefused` and `OSError`.
        """
        return _read(self.files(key), key)

    def end(self, record: Record, result: Result) -> Record:
        """Record the end of a job."""
        ended = replace(record, result=result)
        _write(self.files(record.key), ended)
        return ended

    def files(self, key: str) -> JobFiles:
        """Return the files of a job.

        Raises `RequestRefused` for a key that no job has.
        """
        return files_for(self._root, key)

    def take_over(self, clean_up: Callable[[str], None]) -> Iterator[Record]:
        """End the jobs of dead Task Runners, and yield their records.

        A Task Runner is dead if no process holds its lock. `clean_up` is called with each, before anything is recorded:
        if this process dies meanwhile, the next one cleans up as well.
        """
        for listed in sorted(self._runners.iterdir()):
            if listed.suffix != _NEW and listed.name != self.runner:
                with suppress(OSError):
                    yield from self._take_over(listed, clean_up)

    def close(self, *, is_done: bool) -> None:
        """Release the lock.

        `is_done` means that no job is open, so nothing is left for the next Task Runner to report.
        """
        if is_done:
            (self._runners / self.runner).unlink(missing_ok=True)
        os.close(self._own)

    def _take_over(self, listed: Path, clean_up: Callable[[str], None]) -> Iterator[Record]:
        """Raise `OSError` if the Task Runner is still running."""
        with _locked(listed):
            clean_up(listed.name)
            # A disk that was full may have cut a line short.
            for key in listed.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(RecordUnusable, RequestRefused):
                    record = _read(self.files(key), key)
                    # Another Task Runner may have accepted a job that this one listed, but could not record.
                    if record is None or record.result.state.is_terminal or record.runner != listed.name:
                        continue
                    yield self.end(record, DIED)
            listed.unlink()

    def _is_alive(self, runner: str) -> bool:
        if runner == self.runner:
            return True
        try:
            with _locked(self._runners / Path(runner).name):
                return False
        except BlockingIOError:
            return True
        except OSError:
            return False


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the lock on a Task Runner's file.

    Raises `BlockingIOError` if that Task Runner is running.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _read(files: JobFiles, key: str) -> Record | None:
    try:
        with open_regular(files.record) as file:
            record = _parse(read_json(file.read(_MAX_BYTES), most_values=_MAX_VALUES))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordUnusable(files.folder) from error
    if record.key != key:  # The file system does not distinguish the names of two jobs.
        raise RecordUnusable(files.folder)
    return record


def _write(files: JobFiles, record: Record) -> None:
    result = record.result
    stored = {
        "key": record.key,
        "runner": record.runner,
        "log_id": record.log_id,
        "state": result.state.value,
        "reason": result.reason,
        "message": result.message,
        "outputs": result.outputs,
    }
    partial = files.record.with_suffix(".partial")
    # The job may have put a pipe there, which would block, or a link, which would lead elsewhere.
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(stored, file)
    partial.replace(files.record)


def _parse(stored: Mapping[str, Any]) -> Record:
    texts = [stored[name] for name in ("key", "runner", "log_id", "reason", "message")]
    if not all(isinstance(one, str) for one in texts) or not isinstance(stored["outputs"], dict | None):
        raise ValueError("not a record")
    result = Result(
        state=JobState(stored["state"]),
        reason=stored["reason"],
        message=stored["message"],
        outputs=stored["outputs"],
    )
    return Record(key=stored["key"], runner=stored["runner"], log_id=stored["log_id"], result=result)
