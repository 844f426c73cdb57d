"""Evaluate the conditions of released steps, and the expressions in their tasks.

A condition is evaluated when its step is released, before the step is claimed or skipped. The result counts only once
that claim or skip is committed. Until then, the condition may be evaluated again, since the values that it reads no
longer change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from atom_workflows.coordinator.commits import Decision
from atom_workflows.coordinator.loading import StoredStep, load_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.evaluation import (
    Past,
    Reads,
    Verdict,
    evaluate_condition,
    reads_of,
    render_body,
    render_outputs,
    scope_of,
    zone_of,
)
from atom_workflows.core.kinds import Release
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.transitions import end_without_job
from atom_workflows.core.workflow import JsonValue
from atom_workflows.documents import outputs_path, read_outputs, step_path
from atom_workflows.errors import ExpressionError


@dataclass(slots=True)
class Judged:
    """Released steps, sorted by what happens to them.

    `ended` are decisions that end steps without a job. `to_claim` are steps that need a job, and `because` holds the
    values that decided their conditions, by step id.
    """

    ended: list[Decision] = field(default_factory=list)
    to_claim: list[StoredStep] = field(default_factory=list)
    because: dict[str, str] = field(default_factory=dict)


def judge(services: Services, steps: Sequence[StoredStep]) -> Judged:
    """Decide what happens to each released step, evaluating conditions where needed.

    Steps that are not (or no longer) released are left out.
    """
    judged = Judged()
    verdicts = evaluate_conditions(services, [one.step for one in steps if one.step.awaits_condition])
    now = services.clock.now()
    for stored in steps:
        verdict = verdicts.get(stored.step.id)
        change = end_without_job(stored.step, now=now, verdict=verdict)
        if change is not None:
            judged.ended.append(Decision(stored=stored, change=change))
        elif stored.step.release is Release.CLAIM:
            judged.to_claim.append(stored)
            if verdict is not None:
                judged.because[stored.step.id] = verdict.because
    return judged


def evaluate_conditions(services: Services, steps: Sequence[StepRecord]) -> dict[str, Verdict]:
    """Evaluate the conditions of one run's steps.

    Returns the verdicts by step id. All values that the conditions read are fetched in one call.
    """
    if not steps:
        return {}
    verdicts: dict[str, Verdict] = {}
    wanted: dict[str, Reads] = {}
    for step in steps:
        try:
            wanted[step.id] = reads_of([step.when] if step.when else [])
        except ExpressionError as error:
            verdicts[step.id] = Verdict(error=f"`when` cannot be evaluated: {error}")
    reads = sum_of(wanted.values())
    past, result = (
        read_past(services, steps[0].run_id, reads, zone_of(steps[0].constants)),
        read_result(services, steps[0].run_id, reads),
    )
    for step in steps:
        if step.when is not None and step.id in wanted:
            scope = scope_of(step, past, result)
            verdicts[step.id] = evaluate_condition(step.when, scope, zone=zone_of(step.constants))
    return verdicts


def read_past(services: Services, run_id: str, reads: Reads, zone: str) -> dict[str, Past]:
    """Read the results of the steps that a run's expressions refer to."""
    outputs, records = sorted(reads.outputs), sorted(reads.records)
    paths = [outputs_path(run_id, one) for one in outputs] + [step_path(run_id, one) for one in records]
    if not paths:
        return {}
    documents = services.store.get(paths)
    values = {one: read_outputs(document, zone=zone) for one, document in zip(outputs, documents, strict=False)}
    fields = {
        one: {} if document is None else document.fields
        for one, document in zip(records, documents[len(outputs) :], strict=True)
    }
    return {
        one: Past(
            state=str(fields.get(one, {}).get("state", "")),
            message=str(fields.get(one, {}).get("message", "")),
            outputs=values.get(one),
        )
        for one in {*outputs, *records}
    }


def read_result(services: Services, run_id: str, reads: Reads) -> dict[str, Any]:
    """Read the result of the run's main part if expressions need it."""
    stored = load_run(services, run_id) if reads.run else None
    if stored is None:
        return {}
    state = "" if stored.run.main_state is None else stored.run.main_state.value
    return {"state": state, "failures": list(stored.run.failures), "failureCount": stored.run.failure_count}


def sum_of(wanted: Iterable[Reads]) -> Reads:
    """Return the union of everything read."""
    total = Reads()
    for reads in wanted:
        total |= reads
    return total


def body_of_job(services: Services, step: StepRecord) -> dict[str, JsonValue]:
    """Return the body of a step's job, with its expressions evaluated.

    The body is the same for every submission of an attempt. Raises `ExpressionError`, or a `StoreError` if the values
    that the expressions need cannot be read at the moment.
    """
    reads = reads_of(step.templates)
    past, result = (
        read_past(services, step.run_id, reads, zone_of(step.constants)),
        read_result(services, step.run_id, reads),
    )
    return render_body(step, scope_of(step, past, result))


def outputs_of_run(services: Services, run: RunRecord) -> dict[str, JsonValue]:
    """Return a run's own outputs.

    Raises `ExpressionError` if they cannot be evaluated.
    """
    past = read_past(services, run.id, reads_of(run.output_templates), zone_of(run.constants))
    return render_outputs(run.output_templates, run.constants, past)
