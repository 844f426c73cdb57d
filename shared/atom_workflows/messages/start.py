"""Requests to start or continue a run.

A start may be requested by a start message, an HTTP call or a bucket notification.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from atom_workflows.errors import MalformedEvent
from atom_workflows.messages.fields import (
    SCHEDULED_SCHEMA,
    SCHEMA,
    SCHEMA_OF_ITEMS,
    SCHEMA_OF_REPAIRS,
    read_id,
    read_labels,
    read_optional_flag,
    read_optional_key,
    read_optional_object,
    read_optional_text,
    read_step_path,
    read_time,
    require_known_schema,
    require_object,
    require_storable,
    require_text,
)
from atom_workflows.ports import Message

if TYPE_CHECKING:
    from atom_workflows.core.schedules import Firing

MAX_DEFINITION: Final = 8 * 1024 * 1024
"""Larger than any request body (6 MB of text), so the limits on bodies and files take effect first."""

MAX_PATH_BYTES: Final = 1_252
"""Enough for gs://, a bucket name of 222 bytes, a slash and an object name of 1,024 bytes.

The path is limited, since each problem repeats it.
"""

INLINE_NAME: Final = "inline.yaml"

_RUN_SCHEDULED: Final = "run.scheduled"
_RUN_SEED: Final = "run.seed"
SCHEDULE_TRIGGER: Final = "schedule"
_OBJECT: Final = "object"

_SPELLINGS: Final = {
    "workflow_path": ("workflow_path", "workflow-path"),
    "tr_url": ("tr_url", "tr-url"),
}
"""The accepted names of each field: our own, and the name of the flag in the first version."""

_FIELDS: Final = (
    "workflow_path",
    "definition",
    "run_key",
    "tr_url",
    "params",
    "labels",
    "scheduled_at",
    "no_queue",
    "repairs",
    "kept_digest",
    "actor",
    "reason",
)
_KNOWN: Final = {*_FIELDS, *(name for names in _SPELLINGS.values() for name in names), "generation", "schema", "type"}
_TOKENS: Final = {"tr_auth_jwt", "tr-auth-jwt"}
"""The first version's flag for a token. Messages must not carry tokens."""

_BOTH: Final = (
    "the start message has both a definition and a workflow_path: the definition was used, the object was not read, "
    "and its path was used only to name the run"
)

_GENERATION: Final = re.compile(r"[0-9]{1,18}")
_LONGEST_DIGEST: Final = 64
_MOST_NAMED: Final = 10
_LONGEST_COMPARED: Final = 40
_LIKENESS: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequested:
    """A run to start.

    Its workflow is a stored file (`workflow_path` at a `generation`) or an inline `definition`. `key` identifies the
    run (see run_ids.py). `trigger` says what started the run, and `warnings` lists the fields of the
    message that were ignored.
    """

    key: tuple[str, ...]
    workflow_path: str
    definition: str | None = None
    generation: str | None = None
    task_runner_url: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    # True if the run begins even if as many runs as its file allows are at work.
    no_queue: bool = False
    trigger: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    # The instant as of which the run is started, and the one before it in the schedule.
    scheduled_at: datetime | None = None
    window_start: datetime | None = None

    # The expressions that compute further parameters of a scheduled run, by name.
    templates: Mapping[str, str] = field(default_factory=dict)

    # The ended run of which unchanged steps are kept; `params` and `labels` are then changes to those of that run. With
    # a digest, the run starts only if exactly the steps are kept that its user has seen.
    repairs: str = ""
    kept_digest: str = ""
    # Who has the run repaired, and why, as the ended run records it.
    actor: str = ""
    reason: str = ""

    @property
    def is_scheduled(self) -> bool:
        """True if a schedule requested the run."""
        return self.key[0] == SCHEDULE_TRIGGER

    @property
    def is_upload(self) -> bool:
        """True if an uploaded object requested the run."""
        return self.key[0] == _OBJECT


class FileDeleted(NamedTuple):
    """A workflow file that was deleted from its bucket, and its generation."""

    path: str
    generation: int


class RunSeedRequested(NamedTuple):
    """A request to continue a run with its remaining work.

    Released steps up to the path `after` have already been published.
    """

    run_id: str
    after: str = ""


def read_start_event(body: Any, *, event_id: str, kind: str = "message") -> StartRequested | RunSeedRequested:
    """Read a start message, or a request to continue a run.

    A start has `workflow_path` or `definition`; `run_key`, `tr_url`, `params`, `labels` and `no_queue` are optional.
    Other fields are ignored with a warning, since another version may support them. `event_id` identifies the run,
    unless the message has its own `run_key`.
    """
    body = require_object(body)
    require_known_schema(body, newest=_newest_schema(body))
    if body.get("type") == _RUN_SCHEDULED:
        return _read_scheduled(body, event_id=event_id)
    if body.get("type") == _RUN_SEED:
        after = read_step_path(body, "after") if body.get("after") else ""
        return RunSeedRequested(run_id=read_id(body, "run_id"), after=after)
    inline, path = body.get("definition"), _read_named(body, "workflow_path")
    if isinstance(inline, Mapping):
        definition: str | None = json.dumps(inline, ensure_ascii=False)
    else:
        definition = read_optional_text(body, "definition", longest=MAX_DEFINITION)
    if definition is None and path is None:
        needed = "a start message needs workflow_path (gs://bucket/object) or definition"
        raise MalformedEvent("; ".join([needed, *_warnings(body)]))
    run_key = read_optional_key(body, "run_key")
    kept_digest = read_optional_text(body, "kept_digest", longest=_LONGEST_DIGEST) or ""
    actor, reason = (read_optional_text(body, name) or "" for name in ("actor", "reason"))
    for name, value in {"kept_digest": kept_digest, "actor": actor, "reason": reason}.items():
        if value and body.get("repairs") is None:
            raise MalformedEvent(f"a start message's {name} applies to the run that `repairs` names; send both")
    return StartRequested(
        key=("key", run_key) if run_key else (kind, require_storable("id", event_id)),
        workflow_path=require_storable("workflow_path", path or INLINE_NAME, longest=MAX_PATH_BYTES),
        definition=definition,
        generation=read_optional_text(body, "generation"),
        task_runner_url=_read_named(body, "tr_url"),
        params=read_optional_object(body, "params"),
        labels=read_labels(body),
        no_queue=read_optional_flag(body, "no_queue"),
        trigger={
            "kind": kind,
            "event_id": require_storable("id", event_id),
            **({"run_key": run_key} if run_key else {}),
        },
        warnings=_warnings(body),
        scheduled_at=None if body.get("scheduled_at") is None else read_time(body, "scheduled_at"),
        repairs="" if body.get("repairs") is None else read_id(body, "repairs"),
        kept_digest=kept_digest,
        actor=actor,
        reason=reason,
    )


def _newest_schema(body: Mapping[str, Any]) -> int:
    """Return the newest readable schema for an event of this type."""
    if body.get("type") == _RUN_SCHEDULED:
        return SCHEDULED_SCHEMA
    if "repairs" in body:
        return SCHEMA_OF_REPAIRS
    if "scheduled_at" in body:
        return SCHEDULED_SCHEMA
    return SCHEMA_OF_ITEMS if body.get("type") == _RUN_SEED else SCHEMA


def scheduled_start_message(path: str, firing: Firing) -> Message:
    """Build the request for a scheduled run."""
    body: dict[str, Any] = {
        "type": _RUN_SCHEDULED,
        "schema": SCHEDULED_SCHEMA,
        "workflow_path": path,
        "schedule": firing.schedule_id,
        "cron": firing.cron,
        "scheduled_at": firing.at.isoformat(),
        "window_start": None if firing.window_start is None else firing.window_start.isoformat(),
        "params": dict(firing.params),
        "templates": dict(firing.templates),
    }
    return Message(topic="start", body=body, attributes={"type": _RUN_SCHEDULED})


def _read_scheduled(body: Mapping[str, Any], *, event_id: str) -> StartRequested:
    from atom_workflows.core.schedules import scheduled_run_key  # noqa: PLC0415 (only scheduled runs need it)

    at, schedule = read_time(body, "scheduled_at"), read_id(body, "schedule")
    texts = read_optional_object(body, "templates").items()
    return StartRequested(
        key=scheduled_run_key(schedule, at),
        workflow_path=require_storable("workflow_path", require_text(body, "workflow_path"), longest=MAX_PATH_BYTES),
        params=read_optional_object(body, "params"),
        templates={name: text for name, text in texts if isinstance(text, str)},
        scheduled_at=at,
        window_start=None if body.get("window_start") is None else read_time(body, "window_start"),
        trigger={
            "kind": SCHEDULE_TRIGGER,
            "event_id": require_storable("id", event_id),
            "schedule": schedule,
            "cron": require_storable("cron", require_text(body, "cron")),
        },
    )


def start_of_object(bucket: str, name: str, generation: str, *, event_id: str) -> StartRequested:
    """Return the request to start a run for an uploaded object.

    The object's generation identifies the run, so a second notification starts nothing.
    """
    return StartRequested(
        key=(_OBJECT, bucket, name, generation),
        workflow_path=require_storable("object", f"gs://{bucket}/{name}", longest=MAX_PATH_BYTES),
        generation=require_storable("generation", generation),
        trigger={"kind": "upload", "event_id": require_storable("id", event_id)},
    )


def deletion_of_object(bucket: str, name: str, generation: str) -> FileDeleted:
    """Return the workflow file that was deleted; the deletion ends its schedules."""
    path = require_storable("object", f"gs://{bucket}/{name}", longest=MAX_PATH_BYTES)
    return FileDeleted(path=path, generation=number_of_generation(generation))


def number_of_generation(generation: str) -> int:
    """Return an object's generation as a number.

    A newer object has a higher generation.
    """
    if not _GENERATION.fullmatch(generation):
        raise MalformedEvent(f"the generation of an object must be a number, not {generation!r:.40}")
    return int(generation)


def _read_named(body: Mapping[str, Any], name: str) -> str | None:
    values = [value for known in _SPELLINGS[name] if (value := read_optional_text(body, known))]
    return values[0] if values else None


def _warnings(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Describe each ignored field in a sentence."""
    # Values are not quoted, since they may be secrets.
    unknown = sorted(name for name in body if name not in _KNOWN)
    path = _read_named(body, "workflow_path") or ""
    # A repair is named like the run that it repairs, whichever file that came from.
    has_both = body.get("definition") is not None and path.startswith("gs://") and body.get("repairs") is None
    both = (_BOTH,) if has_both else ()
    named = tuple(_warn_of(name) for name in unknown[:_MOST_NAMED])
    if (others := len(unknown) - _MOST_NAMED) > 0:
        named += (f"{others:,} more unknown fields in the start message were ignored",)
    return both + named


def _warn_of(name: str) -> str:
    ignored = f"the start message's field {name!r:.60} is unknown and was ignored"
    if name in _TOKENS:
        return f"{ignored}: messages must not contain tokens; set WORKFLOW_TR_AUTH_JWT in the functions' environment"
    import difflib  # noqa: PLC0415 (rarely needed, and every import delays a function's start)

    plain = name[: _LONGEST_COMPARED + 1].lower().replace("-", "_")
    near = difflib.get_close_matches(plain, _FIELDS, n=1, cutoff=_LIKENESS) if len(plain) <= _LONGEST_COMPARED else []
    return f"{ignored}; did you mean {near[0]}?" if near else f"{ignored}; the known fields are {', '.join(_FIELDS)}"
