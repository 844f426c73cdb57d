"""The journal: every accepted job, one JSON object per line, so that a restarted server still knows them.

A line contains the submission and the behavior that the script chose for its job, or the request to stop the job. The
next server may have another script, or none: the jobs of this one go on as they began.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from atom_emulator.task_runner.contract import find_breaches
from atom_emulator.task_runner.jobs import Acceptance, StopRequest
from atom_emulator.task_runner.script import Behavior, Fault, FaultKind, Loss, Stop

_DEFAULT: Final = Behavior()


class InvalidJournal(ValueError):
    """A line of the file is not a job that a server wrote."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(
            f"{path}: line {line} is not a job that a Task Runner wrote; name another file, or delete this one"
        )
        self.path = path
        self.line = line


class Journal:
    """Jobs in a file. If the file is emptied, the next server knows none of them.

    The file is kept open until the process ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def add(self, accepted: Acceptance | StopRequest) -> None:
        """Record a job, or that it is to stop, before the call is answered."""
        line: dict[str, Any] = {"id": accepted.job_id, "at": accepted.at}
        if isinstance(accepted, Acceptance):
            line |= {"job": accepted.job, "idempotency_key": accepted.idempotency_key}
            if accepted.behavior is not None:
                line["behavior"] = _changed_fields(accepted.behavior)
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        os.write(self._descriptor, json.dumps(line, default=asdict).encode() + b"\n")

    def clear(self) -> None:
        """Forget every job."""
        self._path.write_bytes(b"")

    def read(self) -> Iterator[Acceptance | StopRequest]:
        """Yield the jobs, and the requests to stop them, in the order in which they were accepted.

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


def _parse_line(line: bytes) -> Acceptance | StopRequest:
    found = json.loads(line)
    if "job" not in found:
        return StopRequest(job_id=str(found["id"]), at=float(found["at"]))
    if wrong := find_breaches(found["job"]):
        raise ValueError("; ".join(wrong))
    key = found["idempotency_key"]
    return Acceptance(
        job_id=str(found["id"]),
        job=found["job"],
        idempotency_key=None if key is None else str(key),
        at=float(found["at"]),
        behavior=_parse_behavior(found["behavior"]) if "behavior" in found else None,
    )


def _changed_fields(behavior: Behavior) -> dict[str, Any]:
    """Return the fields that differ from the default."""
    values = {field.name: getattr(behavior, field.name) for field in fields(Behavior)}
    return {name: value for name, value in values.items() if value != getattr(_DEFAULT, name)}


def _parse_behavior(found: Mapping[str, Any]) -> Behavior:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    for name in ("submit_errors", "status_errors", "stop_errors"):
        values[name] = tuple(map(_parse_fault, found.get(name, ())))
    if "stop" in found:
        stop = found["stop"]
        values["stop"] = Stop(**{**stop, "fault": _parse_fault(stop["fault"]) if stop["fault"] else None})
    if "lose_job" in found:
        values["lose_job"] = Loss(found["lose_job"])
    return Behavior(**values)


def _parse_fault(found: Mapping[str, Any]) -> Fault:
    return Fault(**{**found, "kind": FaultKind(found["kind"])})
