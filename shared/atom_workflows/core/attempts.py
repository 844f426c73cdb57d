"""A step's ended attempts, as kept in the step's document.

The change that ends an attempt also adds it to the kept ones, so keeping it takes no extra read or write. An
attempt that succeeds is not added: until its step is reset, the step's own fields describe it.

They are stored as text, one line of JSON for each attempt, which costs the coordinator next to nothing: it only carries
the text along, and adds a line to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

MOST_KEPT: Final = 20
"""The maximum number of attempts that a step keeps."""

LONGEST_MESSAGE: Final = 200
"""The maximum length of the message in a kept attempt. The step's own `message` field is not shortened to it."""

LONGEST_TEXT: Final = 8_000
"""The maximum total length of a step's kept attempts, since a run may have 10,000 steps that are read together.

A step whose attempts have long log addresses may keep fewer than `MOST_KEPT`.
"""

SUCCEEDED: Final = "succeeded"
"""The kind of an attempt that did not fail. The others are the kinds of failures, and `STOPPED`."""

STOPPED: Final = "stopped"
"""The kind of an attempt that ended because its run was stopped, or its step was marked."""

_AT_WORK: Final = (StepState.DISPATCHING, StepState.RUNNING)
_TIMES: Final = ("claimed_at", "submitted_at", "running_at", "ended_at")


class Attempt(NamedTuple):
    """An attempt of a step. `kind` is how it ended, or "" if it has not.

    It began at `claimed_at`. `submitted_at` is set if its job was submitted later, because earlier submissions had
    started nothing, and `running_at` if its job was first seen in a state other than RUNNING. `retries` is the number
    of times that its run had been retried.
    """

    number: int
    kind: str = ""
    retries: int = 0
    claimed_at: datetime | None = None
    submitted_at: datetime | None = None
    running_at: datetime | None = None
    ended_at: datetime | None = None
    job_id: str = ""
    message: str = ""
    reason: str = ""
    logs_url: str = ""


def keep_attempt(
    step: StepRecord, kind: str, *, now: datetime, fields: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, str]:
    """Return the field that keeps the attempt that is now ending.

    `fields` are the step's other fields that change with it. Returns {} if no attempt is under way, or if the node has
    no job.
    """
    if step.state not in _AT_WORK or not step.rules.has_job:
        return {}
    # The step still has the message and the reason of the attempt before, unless this one has its own.
    own = {"message": "", "reason": "", **fields}
    return _add(step, _describe(replace(step, **own), kind, now))


def keep_latest(step: StepRecord) -> dict[str, str]:
    """Return the field that keeps a reset step's latest attempt.

    Returns {} if that attempt is already kept, or if no attempt has begun since the last reset.
    """
    attempts = list_attempts(step)
    is_kept = not attempts or len(attempts) == len(_lines_of(step))
    return {} if is_kept else _add(step, attempts[-1])


def list_attempts(step: StepRecord) -> list[Attempt]:
    """Return a step's known attempts in order, including one under way.

    Attempts that were ended by a version that does not keep attempts are missing.
    """
    kept = [_read(line) for line in _lines_of(step)]
    latest = _latest_of(step)
    is_kept = latest is None or (kept and kept[-1].number == latest.number)
    return kept if latest is None or is_kept else [*kept, latest]


def _latest_of(step: StepRecord) -> Attempt | None:
    """Return the latest attempt as the step's own fields describe it.

    Returns None if none has begun since the last reset, or if the node has no job.
    """
    if not step.attempt or step.claimed_at is None or not step.rules.has_job:
        return None
    if step.state is StepState.SUCCEEDED:
        return _describe(step, SUCCEEDED, step.finished_at)
    if step.state not in _AT_WORK:
        # It was ended by a version that keeps no attempts.
        return _describe(step, step.last_kind or "failed", step.finished_at)
    # Until its submission was answered, the message is that of the attempt before.
    message = step.message if step.answered else ""
    return _describe(replace(step, message=message, reason=""), "", None)


def _describe(step: StepRecord, kind: str, ended_at: datetime | None) -> Attempt:
    # A step that failed because an earlier job did not stop names that job.
    job_id = "" if step.job_id in step.leftovers else step.job_id
    # Versions that do not know a time leave it as it was in an earlier attempt.
    times = {"submitted_at": step.submitted_at, "running_at": step.running_at}
    return Attempt(
        number=step.attempt,
        kind=kind,
        retries=step.retries,
        claimed_at=step.claimed_at,
        ended_at=ended_at,
        job_id=job_id,
        message=step.message,
        reason=step.reason,
        logs_url=step.logs_url,
        **{name: at for name, at in times.items() if at and step.claimed_at and at > step.claimed_at},
    )


def _add(step: StepRecord, ended: Attempt) -> dict[str, str]:
    message = ended.message
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[: LONGEST_MESSAGE - 1]}…"
    fields = {name: value for name, value in ended._replace(message=message)._asdict().items() if value}
    times = {name: fields[name].isoformat(timespec="milliseconds") for name in _TIMES if name in fields}
    line = json.dumps({**fields, **times}, separators=(",", ":"), ensure_ascii=False)
    lines = [*_lines_of(step), line][-MOST_KEPT:]
    while len(lines) > 1 and sum(map(len, lines)) > LONGEST_TEXT:
        del lines[0]
    return {"attempts": "\n".join(lines)}


def _lines_of(step: StepRecord) -> list[str]:
    # JSON escapes line breaks, but not the other characters at which `splitlines` would split.
    return step.attempts.split("\n") if step.attempts else []


def _read(line: str) -> Attempt:
    """Read a kept attempt; fields that only newer versions know are ignored."""
    fields = {name: value for name, value in json.loads(line).items() if name in Attempt._fields}
    times = {name: datetime.fromisoformat(fields[name]) for name in _TIMES if name in fields}
    return Attempt(**{**fields, **times})
