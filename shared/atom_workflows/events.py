"""The events between the functions: their JSON bodies, made and read in this one place.

Events carry ids, never definitions (but for a definition given inline to start). Every body names its `type` and
the `schema` it follows. What cannot be read raises `MalformedEvent`, which no redelivery can mend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from atom_workflows.core.decide import Outcome, OutcomeKind
from atom_workflows.errors import MalformedEvent
from atom_workflows.ports import Message

SCHEMA: Final = 1
STEPS_PER_READY: Final = 10
"""Steps a dispatcher is given in one event: enough to share its reads and commits, few enough to spread the work."""

MAX_ID_BYTES: Final = 1_000

LABEL_NAME: Final = r"[a-z][a-z0-9_-]{0,62}"

OUTCOMES_PER_COMPLETED: Final = 50
"""Outcomes in one event; with the longest messages that is 100 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyStep:
    """A step to dispatch; `attempt` is the attempt it is asked for, None for the next one of a released step."""

    step_id: str
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsReady:
    """Steps of a run that a dispatcher should claim."""

    run_id: str
    steps: tuple[ReadyStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsCompleted:
    """Attempts of a run's steps that ended."""

    run_id: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The scheduler's wake-up, or a dispatcher's that has just put a job in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPage:
    """A further page of due steps for another instance: those behind `after` (due time and path)."""

    after: tuple[datetime, str]
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequested:
    """A run to start: a stored file (`workflow_path`, of a `generation`) or an inline `definition`.

    `key` is what makes it this run and no other (see run_ids.py); `trigger` tells people how it came about.
    """

    key: tuple[str, ...]
    workflow_path: str
    definition: str | None = None
    generation: str | None = None
    task_runner_url: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    trigger: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeedRequested:
    """A run that was left half seeded: go on."""

    run_id: str


StepsEvent: TypeAlias = StepsReady | StepsCompleted
TickEvent: TypeAlias = Tick | SweepPage


# -- made ------------------------------------------------------------------------------------------------------------


def ready_messages(run_id: str, steps: Sequence[ReadyStep]) -> list[Message]:
    """The messages that ask for these steps, in as many parts as it takes."""
    return [
        _message(
            "steps",
            "step.ready",
            run_id=run_id,
            steps=[{"id": s.step_id, "attempt": s.attempt} for s in steps[start : start + STEPS_PER_READY]],
        )
        for start in range(0, len(steps), STEPS_PER_READY)
    ]


def completed_messages(run_id: str, outcomes: Sequence[Outcome]) -> list[Message]:
    """The messages that tell of these outcomes, in as many parts as it takes."""
    parts = range(0, len(outcomes), OUTCOMES_PER_COMPLETED)
    return [
        _message(
            "steps",
            "steps.completed",
            run_id=run_id,
            outcomes=[_outcome_body(outcome) for outcome in outcomes[start : start + OUTCOMES_PER_COMPLETED]],
        )
        for start in parts
    ]


def tick_message(origin: str) -> Message:
    """A wake-up of the checker."""
    return _message("tick", "tick", origin=origin)


def page_message(page: SweepPage) -> Message:
    """A page of due steps for another instance of the checker."""
    return _message(
        "tick",
        "sweep.page",
        due_at=page.after[0].isoformat(),
        path=page.after[1],
        until=page.until.isoformat(),
    )


def seed_message(run_id: str) -> Message:
    """A request to go on with a half-seeded run."""
    return _message("start", "run.seed", run_id=run_id)


def changes_message(run_id: str, changes: Sequence[Mapping[str, Any]]) -> Message:
    """What happened to a run, for the outside world: at least once, in no order."""
    return _message("events", "run.changes", run_id=run_id, changes=list(changes))


def _message(topic: str, kind: str, **body: Any) -> Message:
    attributes = {"type": kind, **({"run_id": body["run_id"]} if "run_id" in body else {})}
    return Message(topic=topic, body={"type": kind, "schema": SCHEMA, **body}, attributes=attributes)


def _outcome_body(outcome: Outcome) -> dict[str, Any]:
    return {
        "step": outcome.step_id,
        "attempt": outcome.attempt,
        "kind": outcome.kind.value,
        "message": outcome.message,
        "job_id": outcome.job_id,
        "job_state": outcome.job_state,
    }


# -- read ------------------------------------------------------------------------------------------------------------


def read_steps_event(body: Any) -> StepsEvent:
    """An event of the topic `steps`."""
    kind = _kind(body)
    run_id = _id(body, "run_id")
    if kind == "step.ready":
        steps = [ReadyStep(step_id=_id(s, "id"), attempt=_attempt(s)) for s in _objects(body, "steps")]
        return StepsReady(run_id=run_id, steps=tuple(steps))
    if kind == "steps.completed":
        return StepsCompleted(run_id=run_id, outcomes=tuple(_outcome(body) for body in _objects(body, "outcomes")))
    raise MalformedEvent(f"topic steps carries no event of type {kind!r}")


def read_tick_event(body: Any) -> TickEvent:
    """An event of the topic `tick`; an object without a type is a plain tick, as an older schedule may send."""
    if isinstance(body, Mapping) and body.get("type", "tick") == "tick":
        return Tick()
    kind = _kind(body)
    if kind != "sweep.page":
        raise MalformedEvent(f"topic tick carries no event of type {kind!r}")
    return SweepPage(after=(_time(body, "due_at"), _text(body, "path")), until=_time(body, "until"))


def read_start_event(body: Any, *, event_id: str) -> StartRequested | RunSeedRequested:
    """A start message: `workflow_path`, or `definition` inline; `run_key`, `tr_url`, `params`, `labels` optional."""
    if not isinstance(body, Mapping):
        raise MalformedEvent("a start message must be a JSON object with workflow_path or definition")
    if body.get("type") == "run.seed":
        return RunSeedRequested(run_id=_id(body, "run_id"))
    definition = _optional_text(body, "definition")
    path = _optional_text(body, "workflow_path") or _optional_text(body, "workflow-path")
    if definition is None and path is None:
        raise MalformedEvent("a start message needs workflow_path (gs://bucket/object) or definition")
    run_key = _optional_text(body, "run_key")
    return StartRequested(
        key=("key", run_key) if run_key else ("message", event_id),
        workflow_path=path or "inline.yaml",
        definition=definition,
        generation=_optional_text(body, "generation"),
        task_runner_url=_optional_text(body, "tr_url") or _optional_text(body, "tr-url"),
        params=_optional_object(body, "params"),
        labels=_labels(body),
        trigger={"kind": "message", "event_id": event_id, **({"run_key": run_key} if run_key else {})},
    )


def start_of_object(bucket: str, name: str, generation: str, *, event_id: str) -> StartRequested:
    """The run that an uploaded object starts: its generation names it, so a second notification starts nothing."""
    return StartRequested(
        key=("object", bucket, name, generation),
        workflow_path=f"gs://{bucket}/{name}",
        generation=generation,
        trigger={"kind": "upload", "event_id": event_id},
    )


def _outcome(body: Mapping[str, Any]) -> Outcome:
    try:
        kind = OutcomeKind(str(body.get("kind")))
    except ValueError:
        raise MalformedEvent(f"an outcome cannot be {body.get('kind')!r}") from None
    attempt = _attempt(body)
    if attempt is None:
        raise MalformedEvent("an outcome needs its attempt")
    return Outcome(
        step_id=_id(body, "step"),
        attempt=attempt,
        kind=kind,
        **{name: _optional_text(body, name) or "" for name in ("message", "job_id", "job_state")},
    )


def _kind(body: Any) -> str:
    if not isinstance(body, Mapping):
        raise MalformedEvent(f"an event must be a JSON object, not {type(body).__name__}")
    schema = body.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise MalformedEvent(f"this version reads events of schema {SCHEMA}, not {schema!r}")
    return _text(body, "type")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedEvent(f"an event's {name} must be a text, not {value!r:.80}")
    return value


def _id(body: Mapping[str, Any], name: str) -> str:
    value = _text(body, name)
    if "/" in value or len(value.encode()) > MAX_ID_BYTES:
        raise MalformedEvent(f"an event's {name} cannot be {value!r:.80}")
    return value


def _optional_text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedEvent(f"an event's {name} must be a text, not {value!r:.80}")
    return value


def _optional_object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name) or {}
    if not isinstance(value, Mapping):
        raise MalformedEvent(f"an event's {name} must be an object, not {value!r:.80}")
    return value


def _labels(body: Mapping[str, Any]) -> dict[str, str]:
    labels = _optional_object(body, "labels")
    for name, value in labels.items():
        if not isinstance(value, str) or not re.fullmatch(LABEL_NAME, name):
            raise MalformedEvent(f"a label must be a name in lower case and a text, not {name!r:.80}: {value!r:.80}")
    return dict(labels)


def _objects(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = body.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
        raise MalformedEvent(f"an event's {name} must be a list of objects, not {value!r:.80}")
    return value


def _attempt(body: Mapping[str, Any]) -> int | None:
    value = body.get("attempt")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise MalformedEvent(f"an event's attempt must be a whole number, not {value!r:.80}")
    return value


def _time(body: Mapping[str, Any], name: str) -> datetime:
    try:
        value = datetime.fromisoformat(_text(body, name))
    except ValueError as error:
        raise MalformedEvent(f"an event's {name} must be a time: {error}") from None
    if value.tzinfo is None:
        raise MalformedEvent(f"an event's {name} must be a time with its zone")
    return value
