"""Rules for the attempts that a step keeps, which are checked against those begun and what was said of their jobs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from simulation.evidence import Try
from simulation.findings import Rule

if TYPE_CHECKING:
    from simulation.watch import Watch

_MOST: Final = 20
_NOT_KEPT: Final = frozenset({StepState.DISPATCHING, StepState.RUNNING, StepState.SUCCEEDED})
"""The states in which a step's latest attempt is under way, or is described by the step itself."""

_WORDS: Final = {
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "refused": "REFUSED",
    "outputs": "SUCCEEDED",
    "succeeded": "SUCCEEDED",
}
"""What the Task Runner must have said if an attempt ended so."""


class KeptAttempts:
    """Checks after each change of a step that it keeps those attempts that have ended, each once and as it ended.

    `_begun` are the attempts of each step since its document was written.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._begun: dict[str, list[int]] = defaultdict(list)

    def check(self, before: StepRecord | None, step: StepRecord) -> None:
        """Check one change of a step."""
        if self._watch.plan_of(step.id) is None or not step.rules.has_job or step.kept_from:
            # What is kept of another run is that run's.
            return
        begun = self._begun[step.id]
        if not step.attempt:
            # A start that still seeds the run may write the step anew.
            begun.clear()
        elif begun[-1:] != [step.attempt]:
            begun.append(step.attempt)
        if before is not None and (before.state, before.attempts) == (step.state, step.attempts):
            return
        kept = [json.loads(line) for line in step.attempts.split("\n") if line]
        # A step that a person marked as SUCCEEDED has kept how its latest attempt ended.
        is_marked = step.state is StepState.SUCCEEDED and step.is_marked
        due = begun[:-1] if step.state in _NOT_KEPT and not is_marked else begun
        numbers = [one["number"] for one in kept]
        if numbers != due[-_MOST:]:
            self._watch.report(Rule.ATTEMPTS, f"{step.id} is {step.state} and keeps the attempts {numbers}, not {due}")
        elif kept and (before is None or before.attempts != step.attempts):
            self._check_latest(step, kept[-1])

    def _check_latest(self, step: StepRecord, kept: Mapping[str, Any]) -> None:
        """Check the attempt that was kept last: its job, and that the Task Runner said that it ended so."""
        watch, of = self._watch, Try(step.run_id, step.id, kept["number"])
        kind, job_id = kept["kind"], kept.get("job_id", "")
        what = f"{step.id} keeps attempt {of.attempt} as {kind} with the job {job_id!r}"
        if job_id and watch.evidence.jobs.get(job_id) != of:
            watch.report(Rule.ATTEMPTS, f"{what}, which is that of {watch.evidence.jobs.get(job_id)}")
        word = _WORDS.get(kind)
        if word is not None and word not in watch.evidence.said[of]:
            watch.report(Rule.ATTEMPTS, f"{what}; its Task Runner said {sorted(watch.evidence.said[of])}")
        if word is not None and not job_id and kind != "refused":
            watch.report(Rule.ATTEMPTS, f"{what}, although its Task Runner named one")
        is_latest = of.attempt == step.attempt and step.state is not StepState.PENDING
        last = (kind, kept.get("reason", ""))
        if (
            is_latest
            and step.last_kind
            and kind not in {"stopped", "succeeded"}
            and last != (step.last_kind, step.last_reason)
        ):
            watch.report(Rule.ATTEMPTS, f"{what} for {last[1]!r}; it was {(step.last_kind, step.last_reason)}")
        if kind == "stopped" and not watch.stops and not step.is_marked:
            watch.report(Rule.ATTEMPTS, f"{what}, although no one stopped the run")
