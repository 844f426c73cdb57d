"""Convert the nodes of a run's graph to stored fields and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from operator import attrgetter
from typing import Any, Final

from atom_workflows.core.changes import StepChange
from atom_workflows.core.copying import copier_of
from atom_workflows.core.graph import Node, kind_of
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, NodeKind
from atom_workflows.core.records import Policies, RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import Step
from atom_workflows.documents import require_known_schema, to_json
from atom_workflows.errors import NewerVersion
from atom_workflows.language_documents import (
    DEFAULT_POLICIES,
    expression_fields,
    policies_fields,
    read_expressions,
    read_policies,
    read_types,
    write_types,
)
from atom_workflows.ports import Document

_STEP_EXPRESSIONS: Final = ("templates", "constants", "outputs", "trigger", "when", "conditional", "phase", "loop")
"""The fields that only a few steps have. Each is stored in its own format."""

_STORED_OTHERWISE: Final = ("run_id", "id", "kind", "schema", "request", "policies", "state", "places")

_STEP_DEFAULTS: Final = {
    f.name: f.default for f in dataclass_fields(StepRecord) if f.name not in {*_STORED_OTHERWISE, *_STEP_EXPRESSIONS}
}
_STEP_LISTS: Final = ("depends_on", "dependents", "barriers")
_STEP_RARE_LISTS: Final = ("unstopped", "leftovers", "unresolved")
_STEP_TUPLES: Final = (*_STEP_LISTS, "heirs", *_STEP_RARE_LISTS)

_STEP_PLAIN: Final = frozenset({*_STEP_DEFAULTS, "schema"}.difference(_STEP_TUPLES))
"""The fields whose values are stored unchanged."""

_read_step: Final = attrgetter(*_STEP_DEFAULTS)

_EMPTY_STEP: Final = StepRecord(
    run_id="",
    id="",
    kind=NodeKind.JOB,
    request=None,
    task_runner_url="",
    policies=DEFAULT_POLICIES,
    depends_on=(),
    dependents=(),
    barriers=(),
    remaining=0,
)
"""A step in which every field that may be missing from a document has its default value."""

_copy_step: Final = copier_of(StepRecord)


def new_step(
    node: Node, step: Step | None, *, run: RunRecord, request: Mapping[str, Any] | None, **own: Any
) -> StepRecord:
    """Return the initial record of a node.

    `step` is None for a node that the compiler added. `own` holds additional fields of the record.
    """
    has_own_result = step is not None and node.kind in {NodeKind.JOB, NodeKind.BARRIER}
    if step is not None and has_own_result and run.schema >= LANGUAGE_SCHEMA:
        own = {**{name: getattr(step, name) for name in ("outputs", "trigger", "when", "allow_failure")}, **own}
    return StepRecord(
        run_id=run.id,
        id=node.id,
        kind=node.kind,
        schema=run.schema,
        request=request,
        task_runner_url=run.task_runner_url if request is not None else "",
        depends_on=node.depends_on,
        dependents=node.dependents,
        barriers=node.barriers,
        hands_over_to=node.hands_over_to,
        heirs=node.followers,
        conditional=node.conditional,
        phase=node.phase,
        **own,
        remaining=len(node.depends_on),
        expire_at=run.expire_at,
        policies=DEFAULT_POLICIES if step is None or not has_own_result else policies_of(step),
    )


def policies_of(step: Step) -> Policies:
    """Return a step's limits."""
    return Policies(timeout=step.timeout, retry=step.retry, on_lost=step.on_lost)


def step_fields(step: StepRecord) -> dict[str, Any]:
    """Return the stored fields of a new step."""
    values = zip(_STEP_DEFAULTS, _read_step(step), _STEP_DEFAULTS.values(), strict=True)
    stored = {name: value for name, value, default in values if value != default and value not in ((), "", None)}
    stored.update({name: list(getattr(step, name)) for name in _STEP_LISTS})
    stored.update(schema=step.schema, kind=step.kind.value, state=step.state.value, remaining=step.remaining)
    if step.heirs:
        stored["heirs"] = list(step.heirs)
    if step.request is not None:
        # Stored as text, because Firestore cannot store a list inside a list.
        stored["task"] = to_json(step.request)
        if step.rules.has_job:
            stored["policies"] = policies_fields(step.policies)
    return stored if step.schema < LANGUAGE_SCHEMA else {**stored, **expression_fields(step)}


def step_record(document: Document) -> StepRecord:
    """Read a step from its document."""
    stored = require_known_schema(document)
    # Most fields are missing, because they have their default values.
    known = {name: value for name, value in stored.items() if name in _STEP_PLAIN}
    known.update({name: tuple(stored[name] or ()) for name in _STEP_TUPLES if name in stored})
    known.update(
        run_id=document.path.split("/")[1],
        id=document.id,
        kind=_read_kind(document),
        policies=read_policies(stored.get("policies", {})),
        state=StepState(stored["state"]),
        remaining=stored["remaining"],
    )
    if stored.get("task") is not None:
        known["request"] = json.loads(stored["task"])
    if stored.get("schema", 1) >= LANGUAGE_SCHEMA:
        known |= read_expressions(stored)
    return _copy_step(_EMPTY_STEP, known)


def _read_kind(document: Document) -> NodeKind:
    """Return the node's kind.

    The first versions did not store a kind. Raises `NewerVersion` if the kind was added by a newer version.
    """
    stored = document.fields
    if "kind" not in stored:
        return kind_of(document.id, has_task=bool(stored.get("task") or stored.get("task_runner_url")))
    try:
        return NodeKind(stored["kind"])
    except ValueError:
        raise NewerVersion(
            document.path, f"{stored['kind']} is not a kind of node that this version supports"
        ) from None


def change_fields(change: StepChange) -> dict[str, Any]:
    """Return the stored fields of a change to a step."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in change.fields.items()}
    return {"state": change.state.value, **fields}


def outputs_fields(step: StepRecord, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored fields of a step's outputs.

    If there are no values, the fields clear the outputs of an earlier round.
    """
    return {
        "schema": step.schema,
        "values": to_json(values) if values else "",
        "types": write_types(step.outputs),
        "expire_at": step.expire_at,
    }


def read_outputs(document: Document | None, *, zone: str) -> dict[str, Any] | None:
    """Return a step's outputs as typed values.

    Returns None if there are none.
    """
    if document is None or not document.fields.get("values"):
        return None
    from atom_workflows.expressions.types import read_value  # noqa: PLC0415 (only steps with expressions need it)

    values, types = json.loads(document.fields["values"]), read_types(document.fields["types"])
    return {name: read_value(values.get(name), types[name], zone=zone) for name in types}
