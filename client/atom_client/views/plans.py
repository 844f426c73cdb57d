"""Plans of runs, as people and programs see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from atom_client.planning.fates import Fate
from atom_client.planning.params import GivenParams, bind_values, checked_params, provisional_run
from atom_client.planning.partial import MARKS
from atom_client.planning.prepare import Start
from atom_client.planning.walk import Plan, PlannedStep
from atom_client.text import listing, one_line
from atom_client.views.plan_parts import (
    MOST_IN_FULL,
    Asked,
    count_verdicts,
    heading_lines,
    heading_object,
    id_width,
    step_fields,
    step_lines,
    value_lines,
)
from atom_client.views.planned_items import planned_item_lines, planned_items_object, planned_items_text
from atom_client.views.schedules import instant_lines, instant_objects
from atom_workflows.core.workflow import Trigger, Workflow
from atom_workflows.settings import Settings

MOST_PRICED: Final = 60
"""With at most this many steps and items, estimating the cost takes only a moment."""

_RUN_ID: Final = "run.id".join(MARKS)


def ask_for_plan(
    workflow: Workflow, given: GivenParams, *, at: datetime, env: Mapping[str, str], is_start: bool = False
) -> Asked:
    """Return the request to plan a run at this time.

    `is_start` is True if the run is about to be started.

    Raises `InvalidParams` with every problem.
    """
    run = provisional_run(workflow, labels={}, run_id=_RUN_ID, now=at)
    values = checked_params(given, workflow, run)
    bound = bind_values(workflow, values, run) if workflow.params else {}
    return Asked(workflow=workflow, given=values, start=Start(params=bound, at=at, env=env), is_start=is_start)


def price_of_run(content: bytes, asked: Asked, plan: Plan, settings: Settings) -> float | None:
    """Return the cost of the planned run in dollars.

    Returns None if it cannot be estimated, or if estimating it would take too long.
    """
    # Only estimates need this module.
    from atom_client.cost.model import count_instances  # noqa: PLC0415 (see above)

    if count_instances(plan) > MOST_PRICED:
        return None
    from atom_client.cost.estimate import estimate, usual_job  # noqa: PLC0415 (only for small files)
    from atom_client.cost.usage import Assumptions, NotEstimated  # noqa: PLC0415 (see above)

    given = Assumptions(job=usual_job(asked.workflow), settings=settings)
    try:
        return estimate(content, given, known=asked.start.known(asked.workflow)).run.usd
    except (NotEstimated, ModuleNotFoundError):
        return None


def planned_lines(asked: Asked, plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan."""
    yield from heading_lines(asked)
    in_full = len(plan.steps) <= MOST_IN_FULL
    width = id_width([one.step for one in plan.steps])
    for title, in_finally in (("STEPS", False), ("FINALLY", True)):
        part = [one for one in plan.steps if one.in_finally is in_finally]
        if part:
            yield f"\n{title}{count_verdicts([str(one.fate) for one in part])}"
        for one in part:
            yield from step_lines(one.step, width, _verdict(one), one.job, in_full=in_full)
            yield from planned_item_lines(one, width) if in_full and one.items is not None else ()
    if plan.outputs or plan.output_error:
        yield "\nOUTPUTS"
        yield from value_lines(plan.outputs)
        yield from ([f"  {one_line(plan.output_error)}"] if plan.output_error else [])
    if asked.workflow.schedules and not asked.is_start:
        yield "\nSCHEDULES"
        lines = instant_lines(asked.workflow.schedules, asked.workflow.timezone, asked.start.at)
        yield from (f"  {line}" for line in lines)
    has_marks = bool(plan.unknown_outputs) or any(one.has_unknown for one in plan.steps)
    marks = f" Values that are not known before the run are shown as {'…'.join(MARKS)}." if has_marks else ""
    yield f"\nThis is what happens if every job succeeds; nothing was started.{marks}"


def _verdict(one: PlannedStep) -> str:
    step, verdict = one.step, one_line(one.because)
    work = "" if one.items is None else planned_items_text(one.items, one.step)
    match one.fate:
        case Fate.RUNS:
            verdict = f"runs: {verdict}" if verdict else "runs"
            verdict = f"{verdict}; {work}" if verdict != "runs" and work else f"runs {work}".rstrip()
        case Fate.DEPENDS:
            verdict = f"{verdict}; {work}" if work else verdict
        case Fate.SKIPPED:
            verdict = f"skipped: {verdict}"
        case Fate.FAILS:
            verdict = f"FAILS: {verdict}"
    trigger = "" if step.trigger is Trigger.NO_FAILURE else f" (trigger {step.trigger})"
    return f"{verdict}; after {listing(step.depends_on, most=3)}{trigger}" if step.depends_on else verdict


def planned_object(asked: Asked, plan: Plan) -> dict[str, Any]:
    """Return a plan as an object for JSON output."""
    return {
        **heading_object(asked),
        "steps": [
            {
                **step_fields(one.step, in_finally=one.in_finally),
                "verdict": one.fate.value,
                "because": one.because or None,
                "job": one.job,
                "unknown": list(one.unknown),
                "items": None if one.items is None else planned_items_object(one.step, one.items),
            }
            for one in plan.steps
        ],
        "outputs": dict(plan.outputs),
        "unknown_outputs": list(plan.unknown_outputs),
        "output_error": plan.output_error or None,
        "schedules": instant_objects(asked.workflow.schedules or (), asked.workflow.timezone, asked.start.at),
    }
