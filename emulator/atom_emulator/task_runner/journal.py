"""The journal: every accepted job, one JSON object per line, so that a restarted server still knows them.

A line contains the submission; the course of its job follows from the script, as it did the first time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from atom_emulator.task_runner.contract import find_breaches
from atom_emulator.task_runner.jobs import Acceptance


class InvalidJournal(ValueError):
    """A line of the file is not a job that a server wrote."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(
            f"{path}: line {line} is not a job that a Task Runner wrote; name another file, or delete this one"
        )
        self.path = path
        self.line = line


class Journal:
    """Jobs in a file. If the file is emptied, the next server knows none of them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, accepted: Acceptance) -> None:
        """Record a job before its submission is answered."""
        line = {
            "id": accepted.job_id,
            "job": accepted.job,
            "idempotency_key": accepted.idempotency_key,
            "at": accepted.at,
        }
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

    def clear(self) -> None:
        """Forget every job."""
        self._path.write_bytes(b"")

    def read(self) -> Iterator[Acceptance]:
        """Yield the jobs in the order in which they were accepted.

        A line that was cut short by a crash is removed, since its submission was never answered. Raises
        `InvalidJournal`.
        """
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self._path, len(whole))  # Otherwise the next line would become part of the incomplete one.
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                yield _parse_line(line)
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidJournal(self._path, number) from error


def _parse_line(line: bytes) -> Acceptance:
    found = json.loads(line)
    if wrong := find_breaches(found["job"]):
        raise ValueError("; ".join(wrong))
    key = found["idempotency_key"]
    return Acceptance(
        job_id=str(found["id"]),
        job=found["job"],
        idempotency_key=None if key is None else str(key),
        at=float(found["at"]),
    )
