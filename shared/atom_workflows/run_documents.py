"""Convert runs to stored fields and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.bounded_json import MAX_START_VALUES, read_json
from atom_workflows.core.groups import place_of
from atom_workflows.core.records import RunRecord, Stop, StopKind
from atom_workflows.core.states import RunState
from atom_workflows.documents import changes_fields, read_changes, require_known_schema, to_json
from atom_workflows.errors import JsonTooDeep, JsonTooLarge
from atom_workflows.language_documents import group_fields, read_group, read_templates, templates_text
from atom_workflows.ports import Document, Fields

if TYPE_CHECKING:
    from atom_workflows.core.selection import Selection

_RUN_PLAIN: Final = (
    "schema",
    "workflow",
    "description",
    "task_runner_url",
    "source",
    "trigger",
    "labels",
    "digest",
    "given_digest",
    "step_count",
    "retries",
    "created_at",
    "started_at",
    "finished_at",
    "deadline",
    "expire_at",
    "reopened_at",
    "scheduled_at",
    "window_start",
    "late_at",
    "queued_at",
    "admitted_at",
)

_RUN_TEXTS: Final = ("env", "constants", "outputs")
"""The fields that are stored as JSON text if they are not empty."""

_RUN_IF_SET: Final = ("item_count", "late", "no_queue", "because", "repairs")
"""The fields that are stored only if they are neither False nor zero nor empty."""

_RUN_LISTS: Final = ("warnings", "defaulted", "repaired_by")
"""The lists that are stored only if they are not empty."""

NO_MAIN_RESULT: Final[Fields] = {"main_state": None, "main_errors": [], "failures": "[]", "failure_count": 0}
"""The stored result of a run's main part until that part ends, or ends again after a retry."""


def run_fields(run: RunRecord) -> dict[str, Any]:
    """Return the stored fields of a new run."""
    stored: dict[str, Any] = {name: getattr(run, name) for name in _RUN_PLAIN}
    stored.update(state=run.state.value, errors=[dict(error) for error in run.errors])
    if run.params:
        # Stored as text, like a task, because Firestore cannot store every value that a parameter may have.
        stored["params"] = to_json(run.params)
    stored.update({name: to_json(getattr(run, name)) for name in _RUN_TEXTS if getattr(run, name)})
    stored |= {name: value for name in _RUN_IF_SET if (value := getattr(run, name))}
    stored |= {name: list(value) for name in _RUN_LISTS if (value := getattr(run, name))}
    if run.finally_timeout is not None:
        stored["finally_timeout_s"] = run.finally_timeout.total_seconds()
    if run.main_state is not None:
        stored |= main_result_fields(run.main_state, run.main_errors, run.failures, run.failure_count)
    if run.output_templates:
        stored["output_templates"] = templates_text(run.output_templates)
    if run.timeout is not None:
        stored["timeout_s"] = run.timeout.total_seconds()
    if run.stop is not None:
        stored["stop"] = stop_fields(run.stop)
    stored |= {**changes_fields(run.changes), **selection_fields(run.selection)}
    if run.group is not None:
        stored |= {"group": group_fields(run.group), "place": place_of(run)}
    return {name: value for name, value in stored.items() if value is not None}


def run_record(document: Document) -> RunRecord:
    """Read a run from its document."""
    stored = require_known_schema(document)
    stop = stored.get("stop")
    timeout_s = stored.get("timeout_s")
    return RunRecord(
        id=document.id,
        state=RunState(stored["state"]),
        # A field may be empty if the document replaced that of an INVALID run.
        errors=tuple(stored.get("errors") or ()),
        warnings=tuple(stored.get("warnings") or ()),
        params=_read_params(stored),
        defaulted=tuple(stored.get("defaulted") or ()),
        finally_timeout=timedelta(seconds=finally_s) if (finally_s := stored.get("finally_timeout_s")) else None,
        main_state=RunState(stored["main_state"]) if stored.get("main_state") else None,
        main_errors=tuple(stored.get("main_errors") or ()),
        failures=tuple(json.loads(stored.get("failures") or "[]")),
        failure_count=stored.get("failure_count") or 0,
        item_count=stored.get("item_count") or 0,
        output_templates=read_templates(stored.get("output_templates") or "[]"),
        **{name: json.loads(stored[name]) for name in _RUN_TEXTS if stored.get(name)},
        stop=None
        if not stop
        else Stop(
            kind=StopKind(stop["kind"]),
            reason=stop["reason"],
            requested_at=stop["requested_at"],
            now=stop.get("now", False),
        ),
        changes=read_changes(stored),
        selection=_read_selection(stored.get("selection")),
        timeout=None if timeout_s is None else timedelta(seconds=timeout_s),
        group=read_group(stored.get("group")),
        no_queue=bool(stored.get("no_queue")),
        because=stored.get("because") or "",
        repairs=stored.get("repairs") or "",
        repaired_by=tuple(stored.get("repaired_by") or ()),
        late=bool(stored.get("late")),
        **{name: stored[name] for name in _RUN_PLAIN if name in stored},
    )


def run_state_fields(run: RunRecord) -> dict[str, Any]:
    """Return the stored fields that change with a run's state.

    The run's place in its group is one of these fields, so that it is neither lost nor kept too long.
    """
    return {"state": run.state.value, **({} if run.group is None else {"place": place_of(run)})}


def main_result_fields(
    state: RunState, errors: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]], count: int
) -> dict[str, Any]:
    """Return the stored fields of the result of a run's main part."""
    return {
        "main_state": state.value,
        "main_errors": [dict(error) for error in errors],
        "failures": to_json(list(failures)),
        "failure_count": count,
    }


def stop_fields(stop: Stop) -> dict[str, Any]:
    """Return the stored fields of a request to close a run."""
    now = {"now": True} if stop.now else {}
    return {"kind": stop.kind.value, "reason": stop.reason, "requested_at": stop.requested_at, **now}


def selection_fields(selection: Selection | None) -> dict[str, Any]:
    """Return the field that stores which steps a person chose to retry.

    Returns {} if no one chose any.
    """
    if selection is None:
        return {}
    lists = {name: list(value) for name, value in selection._asdict().items() if isinstance(value, tuple) and value}
    return {"selection": {**lists, "failed": selection.failed}}


def _read_selection(stored: Mapping[str, Any] | None) -> Selection | None:
    if not stored:
        return None
    # Imported here because most runs have none.
    from atom_workflows.core.selection import Selection  # noqa: PLC0415 - see above

    lists = {name: tuple(stored.get(name) or ()) for name in ("first", "only", "settled")}
    return Selection(**lists, failed=bool(stored.get("failed")))


def _read_params(stored: Fields) -> Mapping[str, Any]:
    # An earlier version stored parameters without these limits; it must still be possible to show such a run.
    try:
        params: Mapping[str, Any] = read_json(stored.get("params", "{}"), most_values=MAX_START_VALUES)
    except (JsonTooDeep, JsonTooLarge) as error:
        return {"params": f"not shown: {error}"}
    return params
