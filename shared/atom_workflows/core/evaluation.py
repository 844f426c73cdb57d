"""Evaluate the expressions in a step's condition, its task and `retry.when`.

Expressions read only values that can no longer change: the constants of the run, which are stored with the step, and
the results of earlier steps. So evaluating an expression again after a redelivery or a crash gives the same result.
Nothing here reads a document; the coordinator's conditions.py gathers the `Past` of each step.

The `expressions` package is imported only when a step has an expression.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES, WRITE_ELSEWHERE
from atom_workflows.core.reads import Constants, parse_template_once, typed_constants, zone_of
from atom_workflows.core.workflow import FIELDS_OF_EVERY_JOB, Condition, JsonValue, Template
from atom_workflows.errors import EvaluationError, ExpressionError, ValueMismatch

if TYPE_CHECKING:
    from atom_workflows.core.records import StepRecord
    from atom_workflows.expressions.budget import Budget

MAX_BECAUSE: Final = 500
MAX_STEPS: Final = 100_000
"""The maximum number of evaluation steps for all expressions in a task, or in a run's outputs."""

MAX_BODY_BYTES: Final = 64 * 1024
"""The maximum size of a task with its values, as JSON; a task in the file has the same limit."""


STEPS_AT_THE_START: Final = 2_000
"""The maximum number of evaluation steps for one task while its run is being seeded.

It is low because a file may have 10,000 tasks. Dispatchers evaluate the remaining expressions. Each task has its
own budget, so that its stored form is the same no matter which process stores it.
"""


Scope = Mapping[str, Any]


class Verdict(NamedTuple):
    """The result of a step's condition and the values that decided it. `error` says why there is no result."""

    holds: bool = False
    because: str = ""
    error: str = ""


class Past(NamedTuple):
    """The part of a finished step's result that expressions can read.

    `outputs` are typed values, or None if the step did not succeed or declares no outputs. `counts` holds its item
    counts, or None if it has no `forEach`.
    """

    state: str = ""
    message: str = ""
    outputs: Mapping[str, Any] | None = None
    counts: Mapping[str, int] | None = None


# -- scopes ----------------------------------------------------------------------------------------------------------


def scope_of(step: StepRecord, past: Mapping[str, Past], result: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the names that a step's condition and task can read.

    `past` holds the earlier steps that they reference, and `result` the result of the run's main part if they
    reference it.
    """
    constants = typed_constants(step.constants)
    return {
        **constants,
        "run": {**constants.get("run", {}), **(result or {})},
        "steps": {step_id: _past_as_map(one) for step_id, one in past.items()},
        "step": {"attempt": step.attempt, "last": _last_failure(step)},
        **_item_of(step),
    }


def _item_of(step: StepRecord) -> dict[str, Any]:
    """Return `item` and `index` if the step is a `forEach` item."""
    if step.index is None:
        return {}
    from atom_workflows.expressions.types import read_type, read_value  # noqa: PLC0415 (see above)

    of = read_type(json.loads(step.item_type))
    return {"item": read_value(json.loads(step.item), of, zone=zone_of(step.constants)), "index": step.index}


def _last_failure(step: StepRecord) -> dict[str, str] | None:
    """Return the previous attempt's failure, if there was one."""
    return {"kind": step.last_kind, "reason": step.last_reason} if step.last_kind else None


def _past_as_map(past: Past) -> dict[str, Any]:
    counts = {} if past.counts is None else {"counts": past.counts}
    return {"state": past.state, "message": past.message, "outputs": past.outputs, **counts}


def settle_templates(
    body: Mapping[str, JsonValue], templates: Sequence[Template], constants: Constants, budget: Budget | None
) -> tuple[dict[str, JsonValue], tuple[Template, ...]]:
    """Evaluate the templates that read only constants.

    Returns the body with their values, and the templates that remain. A template that cannot be evaluated also remains;
    it fails its step if the step ever runs. All of them remain if the body would be too large, and those not yet
    evaluated remain once the budget is spent.
    """
    if not templates:
        return dict(body), ()
    size = _json_size(body)
    settled = deepcopy(dict(body))
    left: list[Template] = []
    for template in templates:
        value = _LATER
        with suppress(ExpressionError):
            if (budget is None or budget.left > 0) and constants.include_all(template):
                scope = typed_constants(constants.read_by([template]))
                value = _render_field(template, scope, zone=constants.zone, budget=budget)
        # A list that is spliced in moves the places after it, so it has to wait for them.
        if value is _LATER or (isinstance(value, list) and isinstance(template.path[-1], int)):
            left.append(template)
            continue
        size += _json_size(value)
        if size > MAX_BODY_BYTES:
            return dict(body), tuple(templates)
        _put(settled, template, value)
    return settled, tuple(left)


_LATER: Final[Any] = object()


# -- conditions ------------------------------------------------------------------------------------------------------


def evaluate_condition(condition: Condition, scope: Scope, *, zone: str, name: str = "when") -> Verdict:
    """Evaluate a condition, and name the values that decided it."""
    from atom_workflows.expressions.evaluator import evaluate, names_read  # noqa: PLC0415 (see above)
    from atom_workflows.expressions.parser import parse  # noqa: PLC0415 (see above)

    where, values = f"`{name}` (line {condition.line})", ""
    try:
        expression = parse(condition.text)
        values = names_read(expression, scope)
        value = evaluate(expression, scope, zone=zone)
    except ExpressionError as error:
        return Verdict(error=f"{where} cannot be evaluated: {error}{f' ({values})' if values else ''}")
    if not isinstance(value, bool):
        return Verdict(error=f"{where} is neither true nor false")
    shown = " ".join(condition.text.split())
    because = f"`{shown}` was {'true' if value else 'false'}"
    because = f"{because} ({values})" if values else because
    return Verdict(holds=value, because=because if len(because) <= MAX_BECAUSE else because[: MAX_BECAUSE - 1] + "…")


def may_retry(step: StepRecord, *, kind: str, reason: str, message: str) -> Verdict:
    """Decide whether to retry this failure, according to the step's `retry.when`.

    If the condition cannot be evaluated, the step is not retried, and the original failure is kept.
    """
    condition = step.policies.retry.when
    if condition is None:
        return Verdict(holds=True)
    failure = {"kind": kind, "reason": reason, "message": message, "attempt": step.attempt}
    scope = {"failure": failure, "step": {"attempt": step.attempt, "last": _last_failure(step)}, **_item_of(step)}
    return evaluate_condition(condition, scope, zone=zone_of(step.constants), name="retry.when")


# -- templates -------------------------------------------------------------------------------------------------------


def render_body(step: StepRecord, scope: Scope) -> dict[str, JsonValue]:
    """Return the body of the step's job, with its expressions evaluated.

    Raises `ExpressionError` if an expression cannot be evaluated or the body becomes too large.
    """
    body: dict[str, Any] = deepcopy(dict(step.request or {}))
    budget, size = new_budget(), 0
    # From the last to the first, so that a list that is spliced in does not move the places before it. The order of
    # the file is not that of the places, as an alias repeats what stands elsewhere.
    for template in sorted(step.templates, key=lambda one: one.path, reverse=True):
        value = _render_field(template, scope, zone=zone_of(step.constants), budget=budget)
        # Many large values are not all made before they are refused.
        size += _json_size(value)
        _require_small(size)
        _put(body, template, value)
    _require_small(_json_size(body))
    return body


def _require_small(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise EvaluationError(
            f"with its values filled in, the task is {size:,} bytes, more than the {MAX_BODY_BYTES:,} allowed", at=0
        )


def _json_size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def new_budget(steps: int = MAX_STEPS) -> Budget:
    """Return a budget that several expressions share."""
    from atom_workflows.expressions.budget import Budget  # noqa: PLC0415 (see above)

    return Budget(steps)


def render_value(template: Template, scope: Scope, *, zone: str, budget: Budget | None = None) -> JsonValue:
    """Return a template's value as JSON.

    Raises `ExpressionError` with the template's position in the file.
    """
    from atom_workflows.expressions.templates import render  # noqa: PLC0415 (see above)
    from atom_workflows.expressions.types import write_value  # noqa: PLC0415 (see above)

    try:
        value: JsonValue = write_value(render(parse_template_once(template.text), scope, zone=zone, budget=budget))
    except ExpressionError as error:
        raise EvaluationError(
            f"`{_spell(template.path)}` (line {template.line}) cannot be evaluated: {error}", at=0
        ) from None
    return value


def _spell(path: Sequence[str | int]) -> str:
    """Return a position as the file's author would write it.

    Example: `args[0]`.
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _render_field(template: Template, scope: Scope, *, zone: str, budget: Budget | None) -> JsonValue:
    """Return a template's value if the job's field can hold it.

    A value of type `any` may turn out to be of the wrong type, which cannot be known in advance.
    """
    value = render_value(template, scope, zone=zone, budget=budget)
    field_name, *inner = template.path
    is_text_due = field_name != "args"
    if value is None or (inner and not is_text_due) or isinstance(value, str if is_text_due else list | dict):
        return value
    what = f"`{_spell(template.path)}` (line {template.line})"
    due = "text" if is_text_due else "a list or a map"
    raise EvaluationError(f"{what} must be {due}, but its value is {json.dumps(value):.60}", at=0)


def _put(body: dict[str, Any], template: Template, value: JsonValue) -> None:
    """Insert a value at its path.

    A null entry of a map is left out, and a list within a list is spliced in. A null value leaves the fields in
    `FIELDS_OF_EVERY_JOB` at their defaults.
    """
    *path, last = template.path
    place: Any = body
    for part in path:
        place = place[part]
    if isinstance(place, dict):
        if value is None and template.path not in FIELDS_OF_EVERY_JOB:
            place.pop(last, None)
        elif value is None:
            return
        else:
            place[last] = value
    elif isinstance(value, list):
        place[last : int(last) + 1] = value
    else:
        place[last] = value


def render_outputs(
    templates: Sequence[Template], constants: Mapping[str, Any], past: Mapping[str, Past]
) -> dict[str, JsonValue]:
    """Return the outputs of a run.

    Raises `ExpressionError` if an output cannot be evaluated or the outputs are too large in total.
    """
    scope = {**typed_constants(constants), "steps": {step_id: _past_as_map(one) for step_id, one in past.items()}}
    zone, budget = zone_of(constants), new_budget()
    values = {str(one.path[-1]): render_value(one, scope, zone=zone, budget=budget) for one in templates}
    size = len(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace"))
    if size > MAX_OUTPUTS_BYTES:
        raise EvaluationError(f"the outputs are {size:,} bytes, more than the {MAX_OUTPUTS_BYTES:,} allowed", at=0)
    return values


# -- outputs ---------------------------------------------------------------------------------------------------------


def check_outputs(step: StepRecord, outputs: str, problem: str) -> Mapping[str, JsonValue] | str:
    """Return a job's declared outputs as JSON values, or an error message.

    `outputs` is the JSON text that the job returned, and `problem` the reason why it could not be used. Outputs that
    the step does not declare are dropped.
    """
    if not step.outputs:
        return {}
    if problem:
        return problem
    found = json.loads(outputs) if outputs else {}
    values = read_declared(step, found)
    if not isinstance(values, str):
        # A member that is left out is stored as null.
        size = len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode())
        if size <= MAX_OUTPUTS_BYTES:
            return values
        largest = f"more than the {MAX_OUTPUTS_BYTES:,} allowed: {WRITE_ELSEWHERE}"
        return f"its outputs are {size:,} bytes as JSON (with null for each member that is left out), {largest}"
    said = ", ".join(list(found)[:20]) or "none"
    return f"the job succeeded without the outputs that its step declares: {values}; the job returned: {said}"


def read_declared(step: StepRecord, found: Mapping[str, Any]) -> dict[str, JsonValue] | str:
    """Return a step's declared outputs as JSON values, or an error message.

    `found` holds the parsed outputs; those that the step does not declare are dropped.
    """
    values, wrong = read_each_declared(step, found)
    return "; ".join(wrong.values()) if wrong else values


def read_each_declared(step: StepRecord, found: Mapping[str, Any]) -> tuple[dict[str, JsonValue], dict[str, str]]:
    """Read a step's declared outputs.

    Returns the valid ones as JSON values and the problems of the others, both by name.
    """
    if not step.outputs:
        return {}, {}
    from atom_workflows.expressions.types import OrNull, read_value, write_value  # noqa: PLC0415 (see above)

    zone = zone_of(step.constants)
    values: dict[str, JsonValue] = {}
    wrong: dict[str, str] = {}
    for name, kind in step.outputs.items():
        if name not in found and not isinstance(kind, OrNull):
            wrong[name] = f"`{name}` is missing"
            continue
        try:
            values[name] = write_value(read_value(found.get(name), kind, zone=zone, drop_unknown=True))
        except ValueMismatch as error:
            wrong[name] = f"`{name}{error.path}` {error}"
    return values, wrong
