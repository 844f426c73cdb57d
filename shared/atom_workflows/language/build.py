"""Build the workflow from the values that were read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.core.workflow import (
    DEFAULT_FINALLY_STEP_TIMEOUT,
    DEFAULT_FINALLY_TIMEOUT,
    DEFAULT_SCALE_TIER,
    DEFAULT_STEP_TIMEOUT,
    Condition,
    ForEach,
    OnLost,
    RetryPolicy,
    Step,
    Task,
    Template,
    Trigger,
    Workflow,
)
from atom_workflows.language.embedded import Embedded, TaskPath, expressions_of
from atom_workflows.language.nodes import Reading
from atom_workflows.language.policies import inside, merge_backoff
from atom_workflows.language.problems import Report

if TYPE_CHECKING:
    from atom_workflows.expressions.types import Type
    from atom_workflows.language.checks import Checks
    from atom_workflows.language.parameters import Declared

_NAMES_IN_BODY: Final = {"name": "job_name"}
"""The fields of a task that have a different name in a job's body."""


def build_workflow(
    reading: Reading, params: Sequence[Declared], checks: Checks | None, *, name: str, report: Report
) -> Workflow:
    """Build the workflow. `name` is used if the file sets none. Without `checks`, the file needed none."""
    values, defaults = reading.values, reading.values.get("defaults")
    outputs = checks.outputs if checks else {}
    types = checks.item_types if checks else {}
    return Workflow(
        name=values.get("name") or name,
        description=values.get("description", ""),
        steps=tuple(_build_step(step, defaults, DEFAULT_STEP_TIMEOUT, types, report) for step in values["steps"]),
        timeout=values.get("timeout"),
        timezone=values.get("timezone", "UTC"),
        params=tuple(one.param for one in params),
        outputs=tuple(_build_template((name,), output, report) for name, output in outputs.items()),
        finally_steps=tuple(_build_step(step, defaults, None, types, report) for step in values.get("finally", ())),
        finally_timeout=values.get("finallyTimeout", DEFAULT_FINALLY_TIMEOUT),
        warnings=report.warnings,
    )


def _build_step(
    reading: Reading, defaults: Reading | None, timeout: Any, item_types: Mapping[str, Type], report: Report
) -> Step:
    """Build a step.

    Without a default `timeout`, it is a step under `finally`, for which a separate limit applies.
    """
    values = reading.values
    policies = inside(defaults) | values
    retry = inside(defaults, "retry") | inside(reading, "retry")
    own_timeout = values.get("timeout", DEFAULT_FINALLY_STEP_TIMEOUT)
    return Step(
        id=values["id"],
        description=values.get("description", ""),
        depends_on=tuple(node.text for node in values.get("dependsOn", ())),
        task=_build_task(values["task"].values, report) if "task" in values else None,
        retry=RetryPolicy(
            max_attempts=retry.get("maxAttempts", RetryPolicy().max_attempts),
            backoff=merge_backoff(reading, defaults),
            when=_build_condition(retry.get("when"), report),
        ),
        timeout=policies.get("timeout", timeout) if timeout else own_timeout,
        on_lost=OnLost(policies.get("onLost", OnLost.RETRY)),
        trigger=Trigger(values.get("trigger", Trigger.NO_FAILURE)),
        when=_build_condition(values.get("when"), report),
        allow_failure=values.get("allowFailure", False),
        outputs={name: of for name, (_, of) in values.get("outputs", {}).items()},
        for_each=_build_loop(values, item_types[values["id"]], report) if "forEach" in values else None,
    )


def _build_loop(values: Mapping[str, Any], item_type: Type, report: Report) -> ForEach:
    def build(field: str, name: str, value: Any) -> Any:
        path = (field, name) if name else (field,)
        return _build_template(path, value, report) if isinstance(value, Embedded) else value

    return ForEach(
        lists={name: build("forEach", name, value) for name, value in values["forEach"].items()},
        item_type=item_type,
        max_parallel=build("maxParallel", "", values.get("maxParallel")),
        tolerate=values.get("tolerate", 0),
    )


def _build_task(job: Mapping[str, Any], report: Report) -> Task:
    templates: list[Template] = []
    if report.expressions:
        found = [
            _build_template((_NAMES_IN_BODY.get(str(field), field), *inner), value, report)
            for (field, *inner), value in expressions_of(job)
        ]
        templates = sorted(found, key=lambda template: (template.line, template.column))
    return Task(
        name=_constant(job.get("name")),
        image_uri=_constant(job.get("imageUri")),
        engine=_constant(job.get("engine")),
        url=_constant(job.get("url")),
        scale_tier=_constant(job.get("scaleTier", DEFAULT_SCALE_TIER)),
        master_type=_constant(job.get("masterType")),
        args=_constant(job.get("args")) if templates else job.get("args"),
        labels=_constant(job.get("labels", {})),
        templates=tuple(templates),
    )


def _constant(value: Any) -> Any:
    """Return the value with its expressions replaced by None."""
    if isinstance(value, Embedded):
        return None
    if isinstance(value, dict):
        return {name: _constant(inner) for name, inner in value.items()}
    return [_constant(inner) for inner in value] if isinstance(value, list) else value


def _build_template(path: TaskPath, value: Embedded, report: Report) -> Template:
    place = value.place(report, 0)
    return Template(path=path, text=value.text, line=place.line, column=place.column)


def _build_condition(value: Embedded | None, report: Report) -> Condition | None:
    if value is None:
        return None
    place = value.place(report)
    return Condition(text=value.text, line=place.line, column=place.column)
