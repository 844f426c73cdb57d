"""Evaluate the conditions of released steps, and the expressions in their tasks.

A condition is evaluated when its step is released, before the step is claimed or skipped. The result counts only once
that claim or skip is committed. Until then, the condition may be evaluated again, since the values that it reads no
longer change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from atom_workflows.coordinator.gathering import count_after_stop
from atom_workflows.coordinator.loading import AT_ONCE, load_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.evaluation import Past, Verdict, evaluate_condition, render_body, render_outputs, scope_of
from atom_workflows.core.gathering import COUNTED, counts_of, is_counted
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.reads import Reads, reads_of, require_readable, zone_of
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.workflow import JsonValue
from atom_workflows.documents import outputs_path, step_path
from atom_workflows.errors import ExpressionError
from atom_workflows.ports import Document
from atom_workflows.step_documents import read_outputs


def evaluate_conditions(services: Services, steps: Sequence[StepRecord]) -> dict[str, Verdict]:
    """Return the verdicts on these steps of one run, by step id.

    The values that they need are all read together. A value that cannot be read makes the steps fail; it never blocks
    them.
    """
    if not steps:
        return {}
    try:
        reads = sum_of(reads_of([step.when]) for step in steps if step.when)
        past, result = read_for(services, steps[0], reads)
        return {
            step.id: Verdict(holds=True)
            if step.when is None
            else evaluate_condition(step.when, scope_of(step, past, result), zone=zone_of(step.constants))
            for step in steps
        }
    except ExpressionError as error:
        if len(steps) == 1:
            return {steps[0].id: Verdict(error=f"`when` cannot be evaluated: {error}")}
    # Only some of them may be concerned.
    return {step_id: verdict for step in steps for step_id, verdict in evaluate_conditions(services, [step]).items()}


def read_for(services: Services, step: StepRecord, reads: Reads) -> tuple[dict[str, Past], dict[str, Any]]:
    """Read the results that a step's expressions need.

    These are the results of other steps and of the run's main part.
    """
    past = read_past(services, step.run_id, reads, zone_of(step.constants))
    return past, read_result(services, step.run_id, reads)


_FIELDS_OF_PAST: Final = ("state", "message", "kind", "last_kind", *COUNTED, "values", "types")
"""The fields that expressions read: fields of a step's document, and `values` and `types` in its outputs' document."""


def read_past(services: Services, run_id: str, reads: Reads, zone: str) -> dict[str, Past]:
    """Read the results of the steps that a run's expressions refer to.

    Raises `ExpressionError` if the outputs are too large in total.
    """
    paths = [outputs_path(run_id, one) for one in sorted(reads.outputs)]
    paths += [step_path(run_id, one) for one in sorted(reads.records)]
    found: dict[str, Document] = {}
    size = 0
    for start in range(0, len(paths), AT_ONCE):
        # A step's document also holds its task, which may be large.
        for document in services.store.get(paths[start : start + AT_ONCE], fields=_FIELDS_OF_PAST):
            if document is not None:
                found[document.path] = document
                size += len(document.fields.get("values", "").encode())
        require_readable(size)
    return {one: _past_of(services, run_id, one, found, zone) for one in {*reads.outputs, *reads.records}}


def _past_of(services: Services, run_id: str, step_id: str, found: Mapping[str, Document], zone: str) -> Past:
    step = found.get(step_path(run_id, step_id))
    fields = {} if step is None else step.fields
    outputs = read_outputs(found.get(outputs_path(run_id, step_id)), zone=zone)
    counts = counts_of(fields) if fields.get("kind") == NodeKind.GATHER.value else None
    if counts and counts["total"] and not is_counted(fields):
        counts |= count_after_stop(services, run_id, step_id)
    state, message = str(fields.get("state", "")), str(fields.get("message", ""))
    return Past(state=state, message=message, outputs=outputs, counts=counts)


def read_result(services: Services, run_id: str, reads: Reads) -> dict[str, Any]:
    """Read the result of the run's main part if expressions need it."""
    stored = load_run(services, run_id) if reads.run else None
    if stored is None:
        return {}
    state = "" if stored.run.main_state is None else stored.run.main_state.value
    return {"state": state, "failures": list(stored.run.failures), "failureCount": stored.run.failure_count}


def sum_of(wanted: Iterable[Reads]) -> Reads:
    """Return the union of the given reads."""
    total = Reads()
    for reads in wanted:
        total |= reads
    return total


def body_of_job(services: Services, step: StepRecord) -> dict[str, JsonValue]:
    """Return the body of a step's job, with its expressions evaluated.

    The body is the same for every submission of an attempt. Raises `ExpressionError`, or a `StoreError` if the values
    that the expressions need cannot be read at the moment.
    """
    past, result = read_for(services, step, reads_of(step.templates))
    return render_body(step, scope_of(step, past, result))


def outputs_of_run(services: Services, run: RunRecord) -> dict[str, JsonValue]:
    """Return a run's own outputs.

    Raises `ExpressionError` if they cannot be evaluated.
    """
    past = read_past(services, run.id, reads_of(run.output_templates), zone_of(run.constants))
    return render_outputs(run.output_templates, run.constants, past)
