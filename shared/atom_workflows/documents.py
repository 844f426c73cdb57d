"""The documents: their paths, and how runs and steps are converted to stored fields and back.

`runs/{run_id}` holds a run, and `runs/{run_id}/steps/{step_id}` a node of its compiled graph. `control/checker` holds
the lease for the checker's burst, and `control/round` the position at which the next page of a round begins. Fields
with their default values are not stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.bounded_json import MAX_START_VALUES, read_json
from atom_workflows.core.changes import StepChange
from atom_workflows.core.copying import copier_of
from atom_workflows.core.graph import Node, kind_of
from atom_workflows.core.groups import Group, place_of
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, LOOPS_SCHEMA, NodeKind, Phase
from atom_workflows.core.places import NUMBERS, read_shard
from atom_workflows.core.records import Loop, Policies, RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Backoff, Condition, OnLost, RetryPolicy, Step, Template, Trigger, WhenFull
from atom_workflows.errors import JsonTooDeep, JsonTooLarge, NewerVersion
from atom_workflows.ports import Document, Fields

if TYPE_CHECKING:
    from atom_workflows.expressions.types import Type

SCHEMAS: Final = (1, 2, 3, 4)
"""The schemas that this version reads. Every document stores its schema, and the checker's query selects these.

All documents of a run have the run's schema. Adding a field that may be missing does not change the schema. In runs of
the second schema, internal barriers forward their counters (core/counts.py). Runs of the third schema use features that
earlier versions do not support: expressions, conditions, outputs or `finally`. Runs of the fourth schema use loops or
`concurrency`.
"""

SCHEMA: Final = 1
"""The schema of documents that do not belong to a run."""

SCHEMA_OF_NEW_RUNS: Final = 1
"""The schema of the plain runs that this version starts. All versions that may still be deployed can read it."""

SCHEMA_OF_LANGUAGE_RUNS: Final = LANGUAGE_SCHEMA
"""The schema of runs that use the expression language. Earlier versions leave these runs to this version."""

SCHEMA_OF_LOOP_RUNS: Final = LOOPS_SCHEMA
"""The schema of runs that use loops or `concurrency`. Earlier versions leave these runs to this version."""

_PART_BYTES: Final = 12
"""The size of a number or a time in a request, and the overhead of each element of a list or map."""

RUNS: Final = "runs"
STEPS: Final = "steps"
OUTPUTS: Final = "outputs"
GROUPS: Final = "groups"
BURST_LEASE_PATH: Final = "control/checker"
ROUND_PATH: Final = "control/round"


def run_path(run_id: str) -> str:
    """Return the path of a run's document."""
    return f"{RUNS}/{run_id}"


def group_path(group_id: str) -> str:
    """Return the path of the document that guards the places of a group of runs."""
    return f"{GROUPS}/{group_id}"


def steps_path(run_id: str) -> str:
    """Return the path of the collection of a run's steps."""
    return f"{RUNS}/{run_id}/{STEPS}"


def step_path(run_id: str, step_id: str) -> str:
    """Return the path of a step's document."""
    return f"{RUNS}/{run_id}/{STEPS}/{step_id}"


def definitions_path(run_id: str) -> str:
    """Return the path of the collection that holds a large run's definition."""
    return f"{RUNS}/{run_id}/definition"


def definition_path(run_id: str) -> str:
    """Return the path of a large run's stored definition.

    Only a run that cannot be seeded in one commit has one.
    """
    return f"{definitions_path(run_id)}/text"


def outputs_collection(run_id: str) -> str:
    """Return the path of the collection of a run's outputs."""
    return f"{RUNS}/{run_id}/{OUTPUTS}"


def outputs_path(run_id: str, step_id: str) -> str:
    """Return the path of the document that holds a step's outputs."""
    return f"{RUNS}/{run_id}/{OUTPUTS}/{step_id}"


# -- steps -----------------------------------------------------------------------------------------------------------

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
        stored["task"] = _json(step.request)
        if step.rules.has_job:
            stored["policies"] = _policies_fields(step.policies)
    return stored if step.schema < LANGUAGE_SCHEMA else {**stored, **_expression_fields(step)}


def _policies_fields(policies: Policies) -> dict[str, Any]:
    backoff = policies.retry.backoff
    return {
        "timeout_s": policies.timeout.total_seconds(),
        "max_attempts": policies.retry.max_attempts,
        "backoff_initial_s": backoff.initial.total_seconds(),
        "backoff_factor": backoff.factor,
        "backoff_max_s": backoff.maximum.total_seconds(),
        "backoff_jitter": backoff.jitter,
        "on_lost": policies.on_lost.value,
        **({} if policies.retry.when is None else {"retry_when": _condition_fields(policies.retry.when)}),
    }


def _loop_text(loop: Loop) -> str:
    """Return how the items of a step are computed, as JSON text."""
    lists = {
        name: {"template": _template_fields(one)} if isinstance(one, Template) else {"items": one}
        for name, one in loop.lists.items()
    }
    stored: dict[str, Any] = {"lists": lists, "item_type": loop.item_type, "policies": _policies_fields(loop.policies)}
    if isinstance(loop.max_parallel, Template):
        stored["max_parallel"] = {"template": _template_fields(loop.max_parallel)}
    elif loop.max_parallel is not None:
        stored["max_parallel"] = loop.max_parallel
    if loop.when is not None:
        stored["when"] = _condition_fields(loop.when)
    if loop.outputs:
        stored["outputs"] = json.loads(write_types(loop.outputs))
    return _json(stored)


def _read_loop(text: str) -> Loop:
    stored = json.loads(text)
    most = stored.get("max_parallel")
    return Loop(
        lists={
            name: _read_template(one["template"]) if "template" in one else one["items"]
            for name, one in stored["lists"].items()
        },
        item_type=stored["item_type"],
        policies=_policies(stored["policies"]),
        max_parallel=_read_template(most["template"]) if isinstance(most, dict) else most,
        when=Condition(**stored["when"]) if "when" in stored else None,
        outputs=read_types(_json(stored["outputs"])) if "outputs" in stored else {},
    )


def _expression_fields(step: StepRecord) -> dict[str, Any]:
    """Return the stored fields of a step's expressions, conditions and outputs."""
    stored: dict[str, Any] = {}
    if step.templates:
        stored["templates"] = _templates_text(step.templates)
    if step.constants:
        stored["constants"] = _json(step.constants)
    if step.outputs:
        stored["outputs"] = write_types(step.outputs)
    if step.trigger is not Trigger.NO_FAILURE:
        stored["trigger"] = step.trigger.value
    if step.when is not None:
        stored["when"] = _condition_fields(step.when)
    if step.phase is not Phase.MAIN:
        stored["phase"] = step.phase.value
    if step.conditional:
        stored["conditional"] = list(step.conditional)
    if step.loop is not None:
        stored["loop"] = _loop_text(step.loop)
    if step.places is not None:
        stored |= {name: getattr(step.places, name) for name in NUMBERS}
    return stored


def _read_expressions(stored: Fields) -> dict[str, Any]:
    # A field may also be present but empty; see run_graph.py.
    found: dict[str, Any] = {}
    if stored.get("templates"):
        found["templates"] = _read_templates(stored["templates"])
    if stored.get("constants"):
        found["constants"] = json.loads(stored["constants"])
    if stored.get("outputs"):
        found["outputs"] = read_types(stored["outputs"])
    if stored.get("trigger"):
        found["trigger"] = Trigger(stored["trigger"])
    if stored.get("when"):
        found["when"] = Condition(**stored["when"])
    if stored.get("phase"):
        found["phase"] = Phase(stored["phase"])
    if stored.get("conditional"):
        found["conditional"] = tuple(stored["conditional"])
    if stored.get("loop"):
        found["loop"] = _read_loop(stored["loop"])
    if stored.get("kind") == NodeKind.PLACES.value:
        found["places"] = read_shard(stored)
    return found


def write_types(types: Mapping[str, Type]) -> str:
    """Return the types of named values as JSON text."""
    from atom_workflows.expressions.types import write_type  # noqa: PLC0415 (only steps with outputs need it)

    return _json({name: write_type(one) for name, one in types.items()})


def read_types(text: str) -> dict[str, Type]:
    """Read the types of named values from JSON text."""
    from atom_workflows.expressions.types import read_type  # noqa: PLC0415 (see above)

    return {name: read_type(notation) for name, notation in json.loads(text).items()}


def _templates_text(templates: Sequence[Template]) -> str:
    return _json([_template_fields(one) for one in templates])


def _read_templates(text: str) -> tuple[Template, ...]:
    return tuple(map(_read_template, json.loads(text)))


def _template_fields(template: Template) -> list[Any]:
    return [list(template.path), template.text, template.line, template.column]


def _read_template(stored: Sequence[Any]) -> Template:
    path, text, line, column = stored
    return Template(path=tuple(path), text=text, line=line, column=column)


def _condition_fields(condition: Condition) -> dict[str, Any]:
    return {"text": condition.text, "line": condition.line, "column": condition.column}


# `json.dumps` would create an encoder for each call.
_json: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


_DEFAULT_POLICIES: Final = Policies(timeout=Step(id="default").timeout, retry=RetryPolicy(), on_lost=OnLost.RETRY)
_EMPTY_STEP: Final = StepRecord(
    run_id="",
    id="",
    kind=NodeKind.JOB,
    request=None,
    task_runner_url="",
    policies=_DEFAULT_POLICIES,
    depends_on=(),
    dependents=(),
    barriers=(),
    remaining=0,
)
"""A step in which every field that may be missing from a document has its default value."""

_copy_step: Final = copier_of(StepRecord)


def step_record(document: Document) -> StepRecord:
    """Read a step from its document."""
    stored = _require_known_schema(document)
    # Most fields are missing, because they have their default values.
    known = {name: value for name, value in stored.items() if name in _STEP_PLAIN}
    known.update({name: tuple(stored[name] or ()) for name in _STEP_TUPLES if name in stored})
    known.update(
        run_id=document.path.split("/")[1],
        id=document.id,
        kind=_read_kind(document),
        policies=_policies(stored.get("policies", {})),
        state=StepState(stored["state"]),
        remaining=stored["remaining"],
    )
    if stored.get("task") is not None:
        known["request"] = json.loads(stored["task"])
    if stored.get("schema", 1) >= LANGUAGE_SCHEMA:
        known |= _read_expressions(stored)
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
        policies=_DEFAULT_POLICIES if step is None or not has_own_result else policies_of(step),
    )


def policies_of(step: Step) -> Policies:
    """Return the limits of a step's jobs."""
    return Policies(timeout=step.timeout, retry=step.retry, on_lost=step.on_lost)


def _policies(stored: Fields) -> Policies:
    if not stored:
        return _DEFAULT_POLICIES
    values = (stored[name] for name in _POLICIES)
    return _policies_of(*values, Condition(**stored["retry_when"]) if "retry_when" in stored else None)


_POLICIES: Final = (
    "timeout_s",
    "max_attempts",
    "backoff_initial_s",
    "backoff_factor",
    "backoff_max_s",
    "backoff_jitter",
    "on_lost",
)


# Most steps of a run have the same policies, and each step is read several times.
@lru_cache(maxsize=256)
def _policies_of(  # noqa: PLR0913, PLR0917 (the stored fields, by position because that is faster to look up)
    timeout_s: float,
    max_attempts: int,
    initial_s: float,
    factor: float,
    maximum_s: float,
    jitter: float,
    on_lost: str,
    retry_when: Condition | None,
) -> Policies:
    return Policies(
        timeout=timedelta(seconds=timeout_s),
        retry=RetryPolicy(
            max_attempts=max_attempts,
            when=retry_when,
            backoff=Backoff(
                initial=timedelta(seconds=initial_s),
                factor=factor,
                maximum=timedelta(seconds=maximum_s),
                jitter=jitter,
            ),
        ),
        on_lost=OnLost(on_lost),
    )


# -- runs ------------------------------------------------------------------------------------------------------------

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


def main_result_fields(
    state: RunState, errors: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]], count: int
) -> dict[str, Any]:
    """Return the stored fields of the result of a run's main part."""
    return {
        "main_state": state.value,
        "main_errors": [dict(error) for error in errors],
        "failures": _json(list(failures)),
        "failure_count": count,
    }


NO_MAIN_RESULT: Final[Fields] = {"main_state": None, "main_errors": [], "failures": "[]", "failure_count": 0}
"""The values of these fields until the main part ends, or ends again after a retry."""

_RUN_TEXTS: Final = ("env", "constants", "outputs")
"""The fields that are stored as JSON text if they are not empty."""

_RUN_IF_SET: Final = ("item_count", "late", "no_queue", "because")
"""The fields that are stored only if they are neither False nor zero nor empty."""


def run_fields(run: RunRecord) -> dict[str, Any]:
    """Return the stored fields of a new run."""
    stored: dict[str, Any] = {name: getattr(run, name) for name in _RUN_PLAIN}
    stored.update(state=run.state.value, errors=[dict(error) for error in run.errors])
    if run.params:
        # Stored as text, like a task, because Firestore cannot store every value that a parameter may have.
        stored["params"] = _json(run.params)
    if run.warnings:
        stored["warnings"] = list(run.warnings)
    stored.update({name: _json(getattr(run, name)) for name in _RUN_TEXTS if getattr(run, name)})
    stored |= {name: value for name in _RUN_IF_SET if (value := getattr(run, name))}
    if run.defaulted:
        stored["defaulted"] = list(run.defaulted)
    if run.finally_timeout is not None:
        stored["finally_timeout_s"] = run.finally_timeout.total_seconds()
    if run.main_state is not None:
        stored |= main_result_fields(run.main_state, run.main_errors, run.failures, run.failure_count)
    if run.output_templates:
        stored["output_templates"] = _templates_text(run.output_templates)
    if run.timeout is not None:
        stored["timeout_s"] = run.timeout.total_seconds()
    if run.stop is not None:
        stored["stop"] = stop_fields(run.stop)
    if run.group is not None:
        stored |= {"group": _group_fields(run.group), "place": place_of(run)}
    return {name: value for name, value in stored.items() if value is not None}


def _group_fields(group: Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "value": group.value,
        "limit": group.limit,
        "when_full": group.when_full.value,
        "max_queued": group.max_queued,
        "max_wait_s": group.max_wait.total_seconds(),
    }


def _read_group(stored: Fields | None) -> Group | None:
    if not stored:
        return None
    return Group(
        id=stored["id"],
        value=stored["value"],
        limit=stored["limit"],
        when_full=WhenFull(stored["when_full"]),
        max_queued=stored["max_queued"],
        max_wait=timedelta(seconds=stored["max_wait_s"]),
    )


def run_state_fields(run: RunRecord) -> dict[str, Any]:
    """Return the stored fields that change with a run's state.

    The run's place in its group is one of them, so that it can be neither lost nor kept too long.
    """
    return {"state": run.state.value, **({} if run.group is None else {"place": place_of(run)})}


def _read_params(stored: Fields) -> Mapping[str, Any]:
    # An earlier version stored parameters without these limits; it must still be possible to show such a run.
    try:
        params: Mapping[str, Any] = read_json(stored.get("params", "{}"), most_values=MAX_START_VALUES)
    except (JsonTooDeep, JsonTooLarge) as error:
        return {"params": f"not shown: {error}"}
    return params


def run_record(document: Document) -> RunRecord:
    """Read a run from its document."""
    stored = _require_known_schema(document)
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
        output_templates=_read_templates(stored.get("output_templates") or "[]"),
        **{name: json.loads(stored[name]) for name in _RUN_TEXTS if stored.get(name)},
        stop=None
        if not stop
        else Stop(
            kind=StopKind(stop["kind"]),
            reason=stop["reason"],
            requested_at=stop["requested_at"],
            now=stop.get("now", False),
        ),
        timeout=None if timeout_s is None else timedelta(seconds=timeout_s),
        group=_read_group(stored.get("group")),
        no_queue=bool(stored.get("no_queue")),
        because=stored.get("because") or "",
        late=bool(stored.get("late")),
        **{name: stored[name] for name in _RUN_PLAIN if name in stored},
    )


def _require_known_schema(document: Document) -> Fields:
    """Return the document's fields.

    A document that stores no schema has schema 1. Raises `NewerVersion` if a newer version wrote the document.
    """
    schema = document.fields.get("schema", 1)
    if schema not in SCHEMAS:
        raise NewerVersion(
            document.path, f"its schema is {schema}, but this version reads only schemas up to {SCHEMAS[-1]}"
        )
    return document.fields


def outputs_fields(step: StepRecord, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored fields of a step's outputs.

    If there are no values, the fields clear the outputs of an earlier round.
    """
    return {
        "schema": step.schema,
        "values": _json(values) if values else "",
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


def estimate_bytes(value: Any) -> int:
    """Estimate a stored value's size from its text and number of parts."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _PART_BYTES + estimate_bytes(part) for name, part in value.items())
    return sum(_PART_BYTES + estimate_bytes(part) for part in value) if isinstance(value, list | tuple) else _PART_BYTES


def stop_fields(stop: Stop) -> dict[str, Any]:
    """Return the stored fields of a request to close a run."""
    now = {"now": True} if stop.now else {}
    return {"kind": stop.kind.value, "reason": stop.reason, "requested_at": stop.requested_at, **now}
