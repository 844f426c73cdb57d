"""Build the workflow from the values that were read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.core.workflow import (
    DEFAULT_FINALLY_STEP_TIMEOUT,
    DEFAULT_FINALLY_TIMEOUT,
    DEFAULT_SCALE_TIER,
    DEFAULT_STEP_TIMEOUT,
    Concurrency,
    Condition,
    Deadline,
    ForEach,
    OnLost,
    RetryPolicy,
    Schedule,
    Step,
    Task,
    Template,
    Trigger,
    WhenFull,
    Workflow,
)
from atom_workflows.language.embedded import Embedded, TaskPath, expressions_of
from atom_workflows.language.nodes import Reading
from atom_workflows.language.policies import inside, merge_backoff
from atom_workflows.language.problems import Report

if TYPE_CHECKING:
    from atom_workflows.expressions.types import Type
    from atom_workflows.language.parameters import Declared
    from atom_workflows.language.schedules import ReadSchedule

_NAMES_IN_BODY: Final = {"name": "job_name"}
"""The fields of a task that have a different name in a job's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedValues:
    """Parts of the file that were checked against each other.

    These are parameters, outputs of the run, loops, and schedules.
    """

    params: Sequence[Declared] = ()
    outputs: Mapping[str, Embedded] = field(default_factory=dict)
    # The type of each loop's items, by the id of its step.
    item_types: Mapping[str, Type] = field(default_factory=dict)
    schedules: Sequence[ReadSchedule] | None = None


def build_workflow(reading: Reading, checked: CheckedValues, *, name: str, report: Report) -> Workflow:
    """Build the workflow. `name` is used if the file sets none."""
    values, defaults = reading.values, reading.values.get("defaults")
    types = checked.item_types
    schedules = None
    if checked.schedules is not None:
        schedules = tuple(
            Schedule(
                cron=one.cron,
                params=one.values,
                templates=tuple(_build_template((name,), value, report) for name, value in one.templates.items()),
                catch_up=one.catch_up,
                within=one.within,
            )
            for one in checked.schedules
        )
    return Workflow(
        name=values.get("name") or name,
        description=values.get("description", ""),
        steps=tuple(_build_step(step, defaults, DEFAULT_STEP_TIMEOUT, types, report) for step in values["steps"]),
        timeout=values.get("timeout"),
        timezone=values.get("timezone", "UTC"),
        params=tuple(one.param for one in checked.params),
        outputs=tuple(_build_template((name,), output, report) for name, output in checked.outputs.items()),
        finally_steps=tuple(_build_step(step, defaults, None, types, report) for step in values.get("finally", ())),
        finally_timeout=values.get("finallyTimeout", DEFAULT_FINALLY_TIMEOUT),
        schedules=schedules,
        deadline=Deadline(**values["deadline"].values) if "deadline" in values else None,
        concurrency=_build_concurrency(values.get("concurrency"), report),
        warnings=report.warnings,
    )


def _build_concurrency(reading: Reading | None, report: Report) -> Concurrency | None:
    if reading is None:
        return None
    values, default = reading.values, Concurrency()
    group = values.get("group", default.group)
    return Concurrency(
        group=_build_template(("concurrency", "group"), group, report) if isinstance(group, Embedded) else group,
        limit=values.get("limit", default.limit),
        when_full=WhenFull(values.get("whenFull", default.when_full)),
        max_queued=values.get("maxQueued", default.max_queued),
        max_wait=values.get("maxWait", default.max_wait),
    )


def _build_step(
    reading: Reading, defaults: Reading | None, timeout: Any, item_types: Mapping[str, Type], report: Report
) -> Step:
    """Build a step.

    If no default `timeout` is given, the step is under `finally`, where a separate limit applies.
    """
    values = reading.values
    policies = inside(defaults) | values
    own_timeout = values.get("timeout", DEFAULT_FINALLY_STEP_TIMEOUT)
    retry = inside(defaults, "retry") | inside(reading, "retry")
    return Step(
        id=values["id"],
        description=values.get("description", ""),
        depends_on=tuple(node.text for node in values.get("dependsOn", ())),
        task=_build_task(values["task"].values, report) if "task" in values else None,
        retry=_NO_RETRY
        if not retry
        else RetryPolicy(
            max_attempts=retry.get("maxAttempts", _NO_RETRY.max_attempts),
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


_NO_RETRY: Final = RetryPolicy()


def _build_task(job: Mapping[str, Any], report: Report) -> Task:
    templates: list[Template] = []
    if report.expressions:
        found = [
            _build_template((_NAMES_IN_BODY.get(str(field), field), *inner), value, report)
            for (field, *inner), value in expressions_of(job)
        ]
        templates = sorted(found, key=lambda template: (template.line, template.column))
    constants = _constant(job) if templates else job
    return Task(
        name=constants.get("name"),
        image_uri=constants.get("imageUri"),
        engine=constants.get("engine"),
        url=constants.get("url"),
        scale_tier=constants.get("scaleTier", DEFAULT_SCALE_TIER),
        master_type=constants.get("masterType"),
        args=constants.get("args"),
        labels=constants.get("labels", {}),
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
