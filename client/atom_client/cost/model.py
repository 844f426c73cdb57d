"""A model workflow with the same cost, but with conditions decided beforehand.

An estimate executes a run in which every job succeeds, and only a real run shows what jobs return. So conditions are
replaced by others that read the same steps and have the results that the plan predicts; conditions whose results it
cannot predict are taken to be true. Outputs are whole numbers. What tasks read from other steps is still read, but its
values do not matter. A loop has as many items, and skips as many of them, as planned; an unknown list is assumed to
have `ASSUMED_ITEMS`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from atom_client.cost.measurement import OUTPUTS_LABEL
from atom_client.planning.fates import Fate
from atom_client.planning.loops import PlannedItems
from atom_client.planning.walk import Known, Plan, PlannedStep, plan_run
from atom_workflows.core.durations import format_duration
from atom_workflows.core.reads import is_per_item, paths_in
from atom_workflows.core.workflow import Condition, Template, Trigger, Workflow

ASSUMED_ITEMS: Final = 10

_TRUE: Final = "run.id != ''"
_FALSE: Final = "run.id == ''"


def assumed(plan: Plan) -> tuple[str, ...]:
    """Return the steps that are assumed to run but might not."""
    return tuple(one.step.id for one in plan.steps if one.fate is Fate.DEPENDS)


def with_assumed_items(plan: Plan) -> tuple[str, ...]:
    """Return the loops whose number of items is assumed."""
    return tuple(one.step.id for one in plan.steps if one.items is not None and one.items.count is None)


def count_instances(plan: Plan) -> int:
    """Return the number of steps, counting each item of a loop."""
    return sum(1 if one.items is None else _count_items(one.items) for one in plan.steps)


def _count_items(items: PlannedItems) -> int:
    return ASSUMED_ITEMS if items.count is None else items.count


def skipped(plan: Plan) -> tuple[str, ...]:
    """Return the steps that do not run."""
    return tuple(one.step.id for one in plan.steps if one.fate is Fate.SKIPPED)


def plan_for_cost(workflow: Workflow, known: Known) -> Plan:
    """Decide which steps run, as far as this is known in advance."""
    return plan_run(workflow, known, path="workflow.yaml", with_jobs=False)


def model_of(workflow: Workflow, plan: Plan) -> bytes:
    """Return a model workflow file with the same cost as the original."""
    fields: dict[str, Any] = {
        "name": workflow.name,
        "steps": [_step(one) for one in plan.steps if not one.in_finally],
    }
    if workflow.finally_steps:
        fields["finally"] = [_step(one) for one in plan.steps if one.in_finally]
        fields["finallyTimeout"] = format_duration(workflow.finally_timeout)
    if workflow.timeout is not None:
        fields["timeout"] = format_duration(workflow.timeout)
    # Steps whose outputs have the same names get the same label.
    numbers: dict[tuple[str, ...], int] = {}
    for step in (*fields["steps"], *fields.get("finally", ())):
        if names := tuple(step.get("outputs", ())):
            step["task"]["labels"] = {OUTPUTS_LABEL: str(numbers.setdefault(names, len(numbers)))}
    outputs = {str(one.path[-1]): f"${{{{ {_condition(_TRUE, [one])} }}}}" for one in workflow.outputs}
    return json.dumps({**fields, **({"outputs": outputs} if outputs else {})}).encode()


def _step(planned: PlannedStep) -> dict[str, Any]:
    step = planned.step
    fields: dict[str, Any] = {"id": step.id, "timeout": format_duration(step.timeout)}
    if step.depends_on:
        fields["dependsOn"] = list(step.depends_on)
    if step.trigger is not Trigger.NO_FAILURE:
        fields["trigger"] = step.trigger.value
    if step.when is not None:
        fields["when"] = _condition(_FALSE if planned.fate is Fate.SKIPPED else _TRUE, [step.when])
    if step.for_each is not None:
        items = planned.items or PlannedItems(count=0)
        lists = [one for one in step.for_each.lists.values() if isinstance(one, Template)]
        read = f"range({_count_items(items)}) if {_condition(_TRUE, lists)} else []"
        fields["forEach"] = f"${{{{ {read} }}}}"
        if step.when is not None and is_per_item(step.when):
            fields["when"] = f"index >= {len(items.skipped)} and ({_condition(_TRUE, [step.when])})"
        if items.at_once is not None:
            fields["maxParallel"] = items.at_once if isinstance(items.at_once, int) else ASSUMED_ITEMS
    if step.allow_failure:
        fields["allowFailure"] = True
    if step.outputs:
        fields["outputs"] = dict.fromkeys(step.outputs, "int")
    if step.task is not None:
        engine = step.task.engine
        args = [f"${{{{ {_condition(_TRUE, [one])} }}}}" for one in step.task.templates]
        fields["task"] = {
            "imageUri": "image",
            **({"engine": engine} if engine else {}),
            **({"args": args} if args else {}),
        }
    return fields


def _condition(decided: str, texts: Sequence[Condition | Template]) -> str:
    """Return a condition with a fixed result that reads the same values.

    Among the values that the expressions in `texts` read, only step values and the run's result matter.
    """
    parts = {decided: True}
    for path in (path for text in texts for path in paths_in(text)):
        if path[0] == "steps" and len(path) > 2:  # noqa: PLR2004 (steps, a step and one of its fields)
            parts[f"has(steps[{json.dumps(path[1])}].{'.'.join(path[2:4])})"] = True
        elif path[:2] in {("run", "state"), ("run", "failures"), ("run", "failureCount")}:
            parts["run.state != 'CANCELLED'"] = True
    return f" {'or' if decided == _TRUE else 'and'} ".join(parts)
