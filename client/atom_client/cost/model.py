"""A workflow that costs the same as a given one, but whose conditions are decided beforehand.

An estimate executes a run in which every job succeeds, and only a real run shows what jobs return. So conditions are
replaced by others that read the same steps and have the results that the plan predicts; conditions whose results it
cannot predict are taken to be true. Outputs are whole numbers. What tasks read from other steps is still read, but its
values do not matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from atom_client.cost.measurement import OUTPUTS_LABEL
from atom_client.planning.walk import Fate, Known, Plan, PlannedStep, plan_run
from atom_workflows.core.durations import format_duration
from atom_workflows.core.evaluation import paths_in
from atom_workflows.core.workflow import Condition, Step, Template, Trigger, Workflow

_TRUE: Final = "run.id != ''"
_FALSE: Final = "run.id == ''"


def assumed(plan: Plan) -> tuple[str, ...]:
    """Return the steps that are assumed to run but might not."""
    return tuple(one.step.id for one in plan.steps if one.fate is Fate.DEPENDS)


def skipped(plan: Plan) -> tuple[str, ...]:
    """Return the steps that do not run."""
    return tuple(one.step.id for one in plan.steps if one.fate is Fate.SKIPPED)


def plan_for_cost(workflow: Workflow, known: Known) -> Plan:
    """Decide which steps run, as far as this is known in advance."""
    return plan_run(workflow, known, path="workflow.yaml", with_jobs=False)


def model_of(workflow: Workflow, plan: Plan) -> bytes:
    """Return the file of a workflow that costs the same."""
    fields: dict[str, Any] = {
        "name": workflow.name,
        "steps": [_step(one) for one in plan.steps if not one.in_finally],
    }
    if workflow.finally_steps:
        fields["finally"] = [_step(one) for one in plan.steps if one.in_finally]
        fields["finallyTimeout"] = format_duration(workflow.finally_timeout)
    if workflow.timeout is not None:
        fields["timeout"] = format_duration(workflow.timeout)
    _label_outputs([*fields["steps"], *fields.get("finally", [])])
    outputs = {str(one.path[-1]): f"${{{{ {_condition(_TRUE, [one])} }}}}" for one in workflow.outputs}
    return json.dumps({**fields, **({"outputs": outputs} if outputs else {})}).encode()


def _label_outputs(steps: Sequence[dict[str, Any]]) -> None:
    """Label the steps by the names of their outputs."""
    numbers: dict[tuple[str, ...], int] = {}
    for step in steps:
        if names := tuple(step.get("outputs", ())):
            step["task"]["labels"] = {OUTPUTS_LABEL: str(numbers.setdefault(names, len(numbers)))}


def _step(planned: PlannedStep) -> dict[str, Any]:
    step = planned.step
    fields: dict[str, Any] = {"id": step.id, "timeout": format_duration(step.timeout)}
    if step.depends_on:
        fields["dependsOn"] = list(step.depends_on)
    if step.trigger is not Trigger.NO_FAILURE:
        fields["trigger"] = step.trigger.value
    if step.when is not None:
        fields["when"] = _condition(_FALSE if planned.fate is Fate.SKIPPED else _TRUE, [step.when])
    if step.allow_failure:
        fields["allowFailure"] = True
    if step.outputs:
        fields["outputs"] = dict.fromkeys(step.outputs, "int")
    if step.task is not None:
        fields["task"] = _task(step)
    return fields


def _task(step: Step) -> dict[str, Any]:
    task = step.task
    templates = () if task is None else task.templates
    engine = None if task is None else task.engine
    args = [f"${{{{ {_condition(_TRUE, [one])} }}}}" for one in templates]
    return {
        "imageUri": "image",
        **({"engine": engine} if engine else {}),
        **({"args": args} if args else {}),
    }


def _condition(decided: str, texts: Sequence[Condition | Template]) -> str:
    """Return a condition that reads the same steps but has a fixed result."""
    sign = "or" if decided == _TRUE else "and"
    return f" {sign} ".join([decided, *_reads(texts)])


def _reads(texts: Sequence[Condition | Template]) -> Iterator[str]:
    """Yield conditions that read what the expressions in these strings read.

    Only steps and the run's result matter.
    """
    seen = set()
    for path in (path for text in texts for path in paths_in(text)):
        if path[0] == "steps" and len(path) > 2:  # noqa: PLR2004 (steps, a step and one of its fields)
            read = f"has(steps[{json.dumps(path[1])}].{'.'.join(path[2:4])})"
        elif path[:2] in {("run", "state"), ("run", "failures"), ("run", "failureCount")}:
            read = "run.state != 'CANCELLED'"
        else:
            continue
        if read not in seen:
            seen.add(read)
            yield read
