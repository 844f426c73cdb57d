"""What asks for a run: a start message, an HTTP call, a bucket's notification, or a run that is to go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from atom_workflows.errors import MalformedEvent
from atom_workflows.messages.fields import (
    identifier,
    labels,
    object_of,
    optional_key,
    optional_object,
    optional_text,
    require_known_schema,
    sound,
    step_path,
)

MAX_DEFINITION: Final = 8 * 1024 * 1024
"""Beyond what the body of a request can bring (6 MB of text), so that the limits of body and file give the error."""

MAX_PATH_BYTES: Final = 1_252
"""gs://, a bucket's name of 222 bytes, / and an object's of 1,024. It stands in each of a file's problems."""

INLINE_NAME: Final = "inline.yaml"

_MEANING: Final = {
    "workflow_path": ("workflow_path", "workflow-path"),
    "tr_url": ("tr_url", "tr-url"),
}
"""The names that a field may have: ours, and the first version's flag."""

_FIELDS: Final = ("workflow_path", "definition", "run_key", "tr_url", "params", "labels")
_KNOWN: Final = {*_FIELDS, *(name for names in _MEANING.values() for name in names), "generation", "schema", "type"}
_TOKENS: Final = {"tr_auth_jwt", "tr-auth-jwt"}
"""The first version's flag for what no message may carry."""

_BOTH: Final = (
    "the start message has a definition and a workflow_path: the definition was used, the object was not read, and its "
    "path only names the run"
)

_MOST_NAMED: Final = 10
_LONGEST_COMPARED: Final = 40
_LIKENESS: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequested:
    """A run to start: a stored file (`workflow_path`, of a `generation`) or an inline `definition`.

    `key` is what makes it this run and no other (see run_ids.py); `trigger` tells people how it came about, and
    `warnings` what of the message was ignored.
    """

    key: tuple[str, ...]
    workflow_path: str
    definition: str | None = None
    generation: str | None = None
    task_runner_url: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    trigger: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeedRequested:
    """A run that is not as far as it should be: go on. Released steps up to the path `after` were published."""

    run_id: str
    after: str = ""


def read_start_event(body: Any, *, event_id: str, kind: str = "message") -> StartRequested | RunSeedRequested:
    """A start message: `workflow_path` or `definition`; `run_key`, `tr_url`, `params`, `labels` optional.

    `event_id` makes the run this one and no other, unless the message brings a `run_key` of its own. Other fields are
    ignored, since publishers may send what another version knows, but not in silence: they become warnings.
    """
    body = object_of(body)
    require_known_schema(body)
    if body.get("type") == "run.seed":
        after = step_path(body, "after") if body.get("after") else ""
        return RunSeedRequested(run_id=identifier(body, "run_id"), after=after)
    definition, path = _definition(body), _named(body, "workflow_path")
    if definition is None and path is None:
        needed = "a start message needs workflow_path (gs://bucket/object) or definition"
        raise MalformedEvent("; ".join([needed, *_warnings(body)]))
    run_key = optional_key(body, "run_key")
    return StartRequested(
        key=("key", run_key) if run_key else (kind, sound("id", event_id)),
        workflow_path=sound("workflow_path", path or INLINE_NAME, longest=MAX_PATH_BYTES),
        definition=definition,
        generation=optional_text(body, "generation"),
        task_runner_url=_named(body, "tr_url"),
        params=optional_object(body, "params"),
        labels=labels(body),
        trigger={"kind": kind, "event_id": sound("id", event_id), **({"run_key": run_key} if run_key else {})},
        warnings=_warnings(body),
    )


def start_of_object(bucket: str, name: str, generation: str, *, event_id: str) -> StartRequested:
    """The run that an uploaded object starts: its generation names it, so a second notification starts nothing."""
    return StartRequested(
        key=("object", bucket, name, generation),
        workflow_path=sound("object", f"gs://{bucket}/{name}", longest=MAX_PATH_BYTES),
        generation=sound("generation", generation),
        trigger={"kind": "upload", "event_id": sound("id", event_id)},
    )


def _definition(body: Mapping[str, Any]) -> str | None:
    """The workflow in the message itself: the file's text, or the same as a JSON object."""
    value = body.get("definition")
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    return optional_text(body, "definition", longest=MAX_DEFINITION)


def _named(body: Mapping[str, Any], name: str) -> str | None:
    values = [value for known in _MEANING[name] if (value := optional_text(body, known))]
    return values[0] if values else None


def _warnings(body: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a start message was ignored, in sentences; no value is quoted, as it may be a secret."""
    unknown = sorted(name for name in body if name not in _KNOWN)
    path = _named(body, "workflow_path") or ""
    both = (_BOTH,) if body.get("definition") is not None and path.startswith("gs://") else ()
    return both + tuple(_warning(name) for name in unknown[:_MOST_NAMED]) + _and_more(len(unknown) - _MOST_NAMED)


def _warning(name: str) -> str:
    ignored = f"the start message's field {name!r:.60} is not known and was ignored"
    if name in _TOKENS:
        return f"{ignored}: no message carries a token; set WORKFLOW_TR_AUTH_JWT where the functions run"
    near = _near(name)
    return f"{ignored}; did you mean {near}?" if near else f"{ignored}; the known ones are {', '.join(_FIELDS)}"


def _near(name: str) -> str | None:
    import difflib  # noqa: PLC0415 (seldom needed, and a function's start waits for every import)

    plain = name[: _LONGEST_COMPARED + 1].lower().replace("-", "_")
    near = difflib.get_close_matches(plain, _FIELDS, n=1, cutoff=_LIKENESS) if len(plain) <= _LONGEST_COMPARED else []
    return near[0] if near else None


def _and_more(count: int) -> tuple[str, ...]:
    return (f"{count:,} more of the start message's fields are not known and were ignored",) if count > 0 else ()
