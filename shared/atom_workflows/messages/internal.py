"""The events that the functions send to one another.

Only this module writes and reads their JSON bodies. Events carry ids, never definitions. Every body states its `type`
and the `schema` that it follows. Reading an event raises `MalformedEvent` if redelivery cannot help, and `NewerVersion`
if a newer version wrote the event. Requests for a run are read in `start.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

from atom_workflows.core.outcomes import Outcome
from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES
from atom_workflows.errors import MalformedEvent
from atom_workflows.messages.fields import (
    MAX_TEXT,
    SCHEMA,
    SCHEMA_OF_COMMANDS,
    SCHEMA_OF_ITEMS,
    SCHEMA_OF_MARKS,
    read_attempt,
    read_attempt_key,
    read_count,
    read_id,
    read_objects,
    read_optional_flag,
    read_optional_key,
    read_optional_text,
    read_step_id,
    read_step_ids,
    read_step_path,
    read_time,
    require_known_schema,
    require_object,
    require_storable,
    require_text,
    show,
)
from atom_workflows.messages.outcomes import outcome_body, read_outcome
from atom_workflows.ports import MAX_JOB_ID, Message

STEPS_PER_READY: Final = 10
"""The number of steps in one event for a dispatcher: enough to share reads, but few enough to spread the work."""

OUTCOMES_PER_COMPLETED: Final = 50
CHANGES_PER_MESSAGE: Final = 200
MAX_LIST_BYTES: Final = 200_000
"""The maximum size of the list in a message, so that no message exceeds 256 KB, no matter how long its strings are."""


_LATE_ID: Final = 20
_JOB_ENDED: Final = "job.ended"
_RUN_COMMAND: Final = "run.command"
_OF_MARKS: Final = frozenset({"step", "state", "outputs", "at", "reopens"})


class ReadyStep(NamedTuple):
    """A step to dispatch.

    `attempt` is the attempt to submit, or None for the next attempt of a released step.
    """

    step_id: str
    attempt: int | None = None


class StepsReady(NamedTuple):
    """Steps that a dispatcher should claim, all from one run."""

    run_id: str
    steps: tuple[ReadyStep, ...]


class StepsCompleted(NamedTuple):
    """Ended attempts of a run's steps."""

    run_id: str
    outcomes: tuple[Outcome, ...]


class Tick(NamedTuple):
    """A wake-up call to the checker.

    It comes from the scheduler or a dispatcher (for example, after it has submitted a job).
    """

    is_scheduled: bool = True


class SweepPage(NamedTuple):
    """One page of a pass over the due steps.

    The page contains the steps after `after` (a due time and a path) that are due by `until`.
    """

    after: tuple[datetime, str]
    until: datetime


class JobEnded(NamedTuple):
    """A Task Runner's hint that a job has ended.

    The job is named by its idempotency key, its id, or both. Anyone who may publish to the topic can send such a hint,
    so it is only a reason to query the Task Runner.
    """

    # `run/step/attempt`, as sent with the submission.
    idempotency_key: str = ""
    job_id: str = ""


class RunCommand(NamedTuple):
    """A command about a run, accepted by the start function.

    The command is `CANCEL`, `RETRY` or `MARK`. `retries` is how many times the run had been retried when the command
    was accepted. The command is valid only until the next retry; after that, it does nothing, no matter how late or how
    often it is delivered.
    """

    run_id: str
    command: str
    retries: int
    actor: str
    reason: str = ""
    # Also end the steps under `finally`, or do not start them. Only for `CANCEL`.
    now: bool = False
    # The steps and items to run again, as selection.py says. Only for `RETRY`.
    first: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    failed: bool = False
    # The step or item to mark, its state as in core/marks.py, and its outputs as JSON text; when the command was
    # accepted, so that it replaces no later mark; and if the run had ended then. Only for `MARK`.
    step: str = ""
    state: str = ""
    outputs: str = ""
    at: datetime | None = None
    reopens: bool = False


CANCEL: Final = "cancel"
RETRY: Final = "retry"
MARK: Final = "mark"

StepsEvent: TypeAlias = StepsReady | StepsCompleted | RunCommand
TickEvent: TypeAlias = Tick | SweepPage


# -- write -----------------------------------------------------------------------------------------------------------


def ready_messages(run_id: str, steps: Sequence[ReadyStep]) -> list[Message]:
    """Build the messages that ask a dispatcher to claim these steps."""
    return [
        _message(
            "steps",
            "step.ready",
            run_id=run_id,
            schema=_schema_for(*(s.step_id for s in steps[start : start + STEPS_PER_READY])),
            steps=[{"id": s.step_id, "attempt": s.attempt} for s in steps[start : start + STEPS_PER_READY]],
        )
        for start in range(0, len(steps), STEPS_PER_READY)
    ]


def completed_messages(run_id: str, outcomes: Sequence[Outcome]) -> list[Message]:
    """Build the messages that report these outcomes."""
    parts = _parts(list(map(outcome_body, outcomes)), most=OUTCOMES_PER_COMPLETED)
    return [
        _message(
            "steps",
            "steps.completed",
            run_id=run_id,
            schema=_schema_for(*(one["step"] for one in part)),
            outcomes=part,
        )
        for part in parts
    ]


class TickOrigin(StrEnum):
    """The reason for waking the checker between two ticks of the scheduler.

    Either a dispatcher has submitted a job, the checker has found that a job needs another check soon, or a burst
    continues. Only a tick that continues a burst counts as a tick from the scheduler.
    """

    DISPATCHER = "dispatcher"
    CHECKER = "checker"
    BURST = "burst"


_PAGE_VALID: Final = timedelta(minutes=10)

# Not a set: an origin may be any JSON value, hashable or not.
_IN_BETWEEN: Final = (TickOrigin.DISPATCHER, TickOrigin.CHECKER)


def tick_message(origin: str) -> Message:
    """Build a message that wakes the checker."""
    return _message("tick", "tick", origin=origin)


def page_message(page: SweepPage) -> Message:
    """Build the message that hands a page to another checker."""
    return _message(
        "tick",
        "sweep.page",
        schema=_schema_for(page.after[1]),
        due_at=page.after[0].isoformat(),
        path=page.after[1],
        until=page.until.isoformat(),
        # For instances of the first version, which ignore the page after this time.
        valid_until=(page.until + _PAGE_VALID).isoformat(),
    )


def job_ended_message(ended: JobEnded) -> Message:
    """Build the hint that a job has ended.

    It has no schema, since third-party Task Runners also write such hints.
    """
    names = {"idempotency_key": ended.idempotency_key, "job_id": ended.job_id}
    body = {"type": _JOB_ENDED, **{name: value for name, value in names.items() if value}}
    return Message(topic="jobs", body=body, attributes={"type": _JOB_ENDED})


def seed_message(run_id: str, *, after: str = "") -> Message:
    """Build the request to continue a run with its remaining work.

    If `after` is given, publishing continues with the released steps that follow that path.
    """
    rest = {"after": after} if after else {}
    return _message("start", "run.seed", schema=_schema_for(after), run_id=run_id, **rest)


def command_message(command: RunCommand) -> Message:
    """Build the message that tells a dispatcher to carry out a command.

    An earlier version, which does not know commands, lets the event be redelivered to this version.
    """
    is_mark = command.command == MARK
    at = None if command.at is None else command.at.isoformat()
    body = {name: value for name, value in {**command._asdict(), "at": at}.items() if is_mark or name not in _OF_MARKS}
    return _message("steps", _RUN_COMMAND, schema=SCHEMA_OF_MARKS if is_mark else SCHEMA_OF_COMMANDS, **body)


def changes_messages(run_id: str, changes: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Build the messages that report a run's changes to subscribers.

    Messages are delivered at least once, in any order.
    """
    parts = _parts(changes, most=CHANGES_PER_MESSAGE)
    return [_message("events", "run.changes", run_id=run_id, changes=part) for part in parts]


def late_message(run_id: str, *, path: str, state: str | None, at: datetime, late_at: datetime) -> Message:
    """Build the message that reports a run's missed deadline.

    `state` is None if there is no such run. If the same missed deadline is reported again, the id is the same.
    """
    name = hashlib.sha256(f"{run_id}\0{late_at.isoformat()}".encode()).hexdigest()[:_LATE_ID]
    return _message(
        "events",
        "run.late",
        run_id=run_id,
        id=name,
        workflow_path=path,
        state=state,
        scheduled_at=at.isoformat(),
        late_at=late_at.isoformat(),
    )


def _parts(entries: Sequence[Mapping[str, Any]], *, most: int) -> Iterator[list[Mapping[str, Any]]]:
    """Divide the entries into lists, each of which fits into a message."""
    part: list[Mapping[str, Any]] = []
    size = 0
    for entry in entries:
        takes = len(json.dumps(entry, ensure_ascii=False).encode())
        if part and (len(part) == most or size + takes > MAX_LIST_BYTES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += takes
    if part:
        yield part


def _message(topic: str, kind: str, *, schema: int = SCHEMA, **body: Any) -> Message:
    attributes = {"type": kind, **({"run_id": body["run_id"]} if "run_id" in body else {})}
    return Message(topic=topic, body={"type": kind, "schema": schema, **body}, attributes=attributes)


def _schema_for(*names: str) -> int:
    """Return the schema for an event with these step ids or paths.

    An event that names an item gets the newer schema: an earlier version then lets it be redelivered to this version,
    instead of giving up on it.
    """
    return SCHEMA_OF_ITEMS if any("[" in name for name in names) else SCHEMA


# -- read ------------------------------------------------------------------------------------------------------------


def read_steps_event(body: Any) -> StepsEvent:
    """Read an event from the topic `steps`."""
    body = require_object(body)
    if body.get("type") == _RUN_COMMAND:
        return _read_command(body)
    kind = _kind(body)
    run_id = read_id(body, "run_id")
    if kind == "step.ready":
        steps = [ReadyStep(step_id=read_step_id(s, "id"), attempt=read_attempt(s)) for s in read_objects(body, "steps")]
        return StepsReady(run_id=run_id, steps=tuple(steps))
    if kind == "steps.completed":
        return StepsCompleted(
            run_id=run_id, outcomes=tuple(read_outcome(body) for body in read_objects(body, "outcomes"))
        )
    raise MalformedEvent(f"the steps topic does not carry events of type {show(kind)}")


def _read_command(body: Mapping[str, Any]) -> RunCommand:
    require_known_schema(body, newest=SCHEMA_OF_MARKS)
    command = require_text(body, "command")
    if command not in {CANCEL, RETRY, MARK}:
        raise MalformedEvent(f"a command must be {CANCEL}, {RETRY} or {MARK}, not {show(command)}")
    of_mark: dict[str, Any] = {}
    if command == MARK:
        of_mark = {"step": read_step_id(body, "step"), "state": require_text(body, "state")}
        of_mark["outputs"] = read_optional_text(body, "outputs", longest=MAX_OUTPUTS_BYTES) or ""
        of_mark["at"] = None if body.get("at") is None else read_time(body, "at")
        of_mark["reopens"] = read_optional_flag(body, "reopens")
    return RunCommand(
        run_id=read_id(body, "run_id"),
        command=command,
        retries=read_count(body, "retries"),
        actor=require_storable("actor", require_text(body, "actor"), longest=MAX_TEXT),
        reason=require_storable("reason", read_optional_text(body, "reason") or "", longest=MAX_TEXT),
        now=read_optional_flag(body, "now"),
        first=read_step_ids(body, "first"),
        only=read_step_ids(body, "only"),
        failed=read_optional_flag(body, "failed"),
        **of_mark,
    )


def read_tick_event(body: Any) -> TickEvent:
    """Read an event from the topic `tick`.

    An object without a type is a plain tick, which an older schedule may send.
    """
    body = require_object(body)
    if body.get("type", "tick") == "tick":
        return Tick(is_scheduled=body.get("origin") not in _IN_BETWEEN)
    kind = _kind(body)
    if kind != "sweep.page":
        raise MalformedEvent(f"the tick topic does not carry events of type {show(kind)}")
    return SweepPage(after=(read_time(body, "due_at"), read_step_path(body, "path")), until=read_time(body, "until"))


def read_job_ended(body: Any) -> JobEnded:
    """Read a hint from the topic `jobs`."""
    body = require_object(body)
    if (kind := require_text(body, "type")) != _JOB_ENDED:
        raise MalformedEvent(f"the jobs topic does not carry events of type {show(kind)}")
    ended = JobEnded(
        idempotency_key=read_attempt_key(body, "idempotency_key") or "",
        job_id=require_storable("job_id", read_optional_key(body, "job_id") or "", longest=MAX_TEXT),
    )
    if len(ended.job_id) > MAX_JOB_ID:
        raise MalformedEvent(f"an event's job_id may be at most {MAX_JOB_ID} characters long, not {len(ended.job_id)}")
    if ended == JobEnded():
        raise MalformedEvent("a hint must name the job by its idempotency_key or its job_id")
    return ended


def _kind(body: Mapping[str, Any]) -> str:
    require_known_schema(body, newest=SCHEMA_OF_ITEMS)
    return require_text(body, "type")
