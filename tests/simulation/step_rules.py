"""Rules for each change of a step, which is checked against the evidence for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from atom_emulator.testing.world import START
from atom_workflows.core.kinds import Release
from atom_workflows.core.records import StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.transitions import OutcomeKind
from atom_workflows.core.workflow import OnLost
from simulation.evidence import Reply, Try
from simulation.findings import Rule
from simulation.oracle import SCRIPTED, Tally, after

if TYPE_CHECKING:
    from simulation.watch import Watch

Change: TypeAlias = Callable[[StepRecord, StepRecord], None]
"""Checks a step that went from the first to the second."""

_WORDS: Final = {
    "SUCCEEDED": OutcomeKind.SUCCEEDED,
    "FAILED": OutcomeKind.FAILED,
    "CANCELLED": OutcomeKind.CANCELLED,
    "REFUSED": OutcomeKind.REFUSED,
}
_GRACE_S: Final = 60.0
_UNHEARD_S: Final = 60.0
"""For so long nothing is heard of a job before it counts as timed out all the same."""

_ROUNDING_S: Final = 0.01
_LEAST_SHARE: Final = 0.9
"""The least share of a back-off that jitter leaves."""

_NOTICED_S: Final = 300.0
"""A tick, the lease of a burst that died, the longest wait after status calls that failed, and the event's way."""

_AT_WORK: Final = frozenset({StepState.DISPATCHING, StepState.RUNNING})


class StepRules:
    """Checks each change of a step.

    `overtaken` are attempts that ended while a dispatcher may still be submitting them. `excused` are steps of which
    faults rightly decided an attempt that the script would have let end otherwise.
    """

    def __init__(self, watch: Watch) -> None:
        self.overtaken: set[Try] = set()
        self.excused: set[str] = set()
        self._watch = watch
        self._ended: set[Try] = set()
        self._tallies: dict[str, set[Tally]] = defaultdict(lambda: {Tally()})
        self._changes = self._checks_by_change()

    def check(self, before: StepRecord | None, step: StepRecord) -> None:
        """Check one change of a step."""
        if before is None:
            self._require(step.state is StepState.PENDING and not step.attempt, step, None)
        elif step.state is StepState.DISPATCHING and not step.answered and step.due_at != before.due_at:
            self._check_claim(before, step)
        elif step.attempt != before.attempt:
            self._watch.report(Rule.STEP_STATE, f"{step.id} went from attempt {before.attempt} to {step.attempt}")
        elif step.state is not before.state:
            self._changes.get((before.state, step.state), self._report_change)(before, step)

    def _checks_by_change(self) -> dict[tuple[StepState, StepState], Change]:
        changes: dict[tuple[StepState, StepState], Change] = {
            (StepState.DISPATCHING, StepState.RUNNING): self._check_submission,
            (StepState.PENDING, StepState.SUCCEEDED): self._check_barrier,
            (StepState.PENDING, StepState.SKIPPED): self._check_skip,
            (StepState.PENDING, StepState.CANCELLED): self._check_stop,
            (StepState.RETRYING, StepState.CANCELLED): self._check_stop,
            (StepState.RETRYING, StepState.FAILED): self._check_stop,
        }
        for at_work in _AT_WORK:
            for end in (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.RETRYING):
                changes[at_work, end] = self._check_outcome
        for end in (StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED):
            changes[end, StepState.PENDING] = self._check_reset
        return changes

    # -- one kind of change each -----------------------------------------------------------------------------------

    def _check_claim(self, before: StepRecord, step: StepRecord) -> None:
        watch = self._watch
        assert step.due_at is not None
        again = before.state is StepState.DISPATCHING
        self._require(before.state in {StepState.PENDING, StepState.RETRYING, StepState.DISPATCHING}, step, before)
        self._require(step.attempt == before.attempt + (not again), step, before)
        if watch.run is None or watch.run.state.is_terminal:
            watch.report(Rule.STOP, f"{step.id} was claimed for a run that has ended")
        needs = self._dependency_states(step)
        if any(state is not StepState.SUCCEEDED for state in needs):
            watch.report(Rule.DEPENDENCIES, f"{step.id} was claimed while {needs}")
        if before.state is not StepState.PENDING and before.due_at and before.due_at > watch.latest_now:
            left = before.due_at - watch.now
            watch.report(Rule.LEASE, f"{step.id} was claimed while {before.state}, {left} before it was due")
        if before.state is StepState.RETRYING:
            self._check_back_off(before)
        watch.evidence.record_claim(step, step.due_at)

    def _check_back_off(self, before: StepRecord) -> None:
        watch = self._watch
        failed_at = watch.evidence.said[Try(before.run_id, before.id, before.attempt)].get("FAILED")
        back_off_s = watch.scenario.by_id[before.id].backoff_s * _LEAST_SHARE - 2 * watch.skew.total_seconds()
        if failed_at is not None and watch.evidence.scheduler.now < failed_at + back_off_s:
            watch.report(Rule.BACK_OFF, f"attempt {before.attempt} of {before.id} failed at {failed_at:.2f}")

    def _check_submission(self, before: StepRecord, step: StepRecord) -> None:
        if step.idempotency_key not in self._watch.evidence.submissions:
            self._report_change(before, step)

    def _check_barrier(self, before: StepRecord, step: StepRecord) -> None:
        states = self._dependency_states(step)
        needs_no_job = step.rules.released is not Release.CLAIM
        self._require(needs_no_job and all(state is StepState.SUCCEEDED for state in states), step, before)

    def _check_skip(self, before: StepRecord, step: StepRecord) -> None:
        needs = self._dependency_states(step)
        if not any(state.is_terminal and state is not StepState.SUCCEEDED for state in needs):
            self._check_stop(before, step)
        elif not all(state.is_terminal for state in needs) and not self._fits_stop(before, step):
            self._watch.report(Rule.DEPENDENCIES, f"{step.id} was skipped while {needs}")

    def _check_stop(self, before: StepRecord, step: StepRecord) -> None:
        if not self._fits_stop(before, step):
            self._report_change(before, step)

    def _check_reset(self, before: StepRecord, step: StepRecord) -> None:
        run = self._watch.run
        # Who goes on with a retry may not know yet that the run was stopped, or that and retried: this is done over.
        is_open = run is not None and (run.state is RunState.SEEDING or run.stop is not None)
        self._require(is_open and run is not None and before.retries < step.retries <= run.retries, step, before)
        self._tallies[step.id] = {Tally()}

    def _check_outcome(self, before: StepRecord, step: StepRecord) -> None:
        of = Try(step.run_id, step.id, before.attempt)
        if of in self._ended:
            self._watch.report(Rule.ONE_OUTCOME, f"attempt {of.attempt} of {of.step} ended again: {step.state}")
        self._ended.add(of)
        plan = self._watch.scenario.by_id[step.id]
        allowed = self._allowed_outcomes(before, of)
        ways = [(kind, *after(plan, tally, kind)) for kind in allowed for tally in self._tallies[step.id]]
        led_here = [(kind, tally) for kind, state, tally in ways if state is step.state]
        if led_here:
            self._tallies[step.id] = {tally for _, tally in led_here}
            if {kind for kind, _ in led_here} != {SCRIPTED[plan.ending(of.attempt)]}:
                self.excused.add(step.id)
        elif not self._fits_stop(before, step):
            actual = f"{step.state} ({step.message}); allowed: {sorted(allowed)}, tally {self._tallies[step.id]}"
            self._watch.report(Rule.OUTCOME, f"attempt {of.attempt} of {of.step} is {actual}")
        if OutcomeKind.TIMED_OUT in allowed or self._fits_stop(before, step):
            self.overtaken.add(of)
        noticed_s = _NOTICED_S * self._watch.pace
        is_late = before.state is StepState.RUNNING and self._watch.evidence.is_late_for(before.job_id, noticed_s)
        if is_late and not self._fits_stop(before, step) and step.id not in self._watch.forgotten:
            self._watch.report(Rule.NOTICED, f"{step.id} is {step.state} long after its {before.job_id} had ended")

    # -- evidence --------------------------------------------------------------------------------------------------

    def _allowed_outcomes(self, step: StepRecord, of: Try) -> set[OutcomeKind]:
        """Return the outcomes for which there is evidence."""
        watch = self._watch
        allowed = {_WORDS[word] for word in watch.evidence.said[of] if word in _WORDS}
        if self._may_have_timed_out(step):
            allowed.add(OutcomeKind.TIMED_OUT)
        if self._may_be_lost(step):
            allowed.add(OutcomeKind.LOST)
        return allowed

    def _may_have_timed_out(self, step: StepRecord) -> bool:
        """Return True if the attempt may end by its timeout.

        Its time is over. If it has a job, a poll since then found it in progress, or nothing was heard of it.
        """
        watch, deadline = self._watch, step.attempt_deadline
        if deadline is None or deadline > watch.latest_now:
            return False
        since = (deadline - watch.skew - START).total_seconds() - _ROUNDING_S
        return step.state is not StepState.RUNNING or watch.evidence.was_running_since(step.job_id, since, _UNHEARD_S)

    def _dependency_states(self, step: StepRecord) -> list[StepState]:
        """Return the states of the step's dependencies.

        What a stop left unwritten never ran.
        """
        steps = self._watch.steps
        return [steps[need].state if need in steps else StepState.PENDING for need in step.depends_on]

    def _may_be_lost(self, step: StepRecord) -> bool:
        watch = self._watch
        if step.state is StepState.RUNNING:
            return watch.evidence.unknown_for_s(step.job_id) >= _GRACE_S - 2 * watch.skew.total_seconds() - _ROUNDING_S
        if watch.scenario.by_id[step.id].on_lost is OnLost.RETRY:
            return False
        if any(one.reply is Reply.LOST for one in watch.evidence.submissions.get(step.idempotency_key, ())):
            return True
        return not step.answered and step.due_at is not None and step.due_at <= watch.latest_now

    def _fits_stop(self, before: StepRecord, step: StepRecord) -> bool:
        run = self._watch.run
        if run is not None and run.state is RunState.SEEDING and before.retries < run.retries:
            # Who stopped the round before may not know yet of the retry, which resets the step next.
            return before.state is StepState.PENDING and step.state.is_terminal
        if run is None or run.stop is None:
            return False
        if run.stop.kind is StopKind.CANCEL:
            return step.state is StepState.CANCELLED
        return step.state is (StepState.SKIPPED if before.state is StepState.PENDING else StepState.FAILED)

    def _require(self, holds: bool, step: StepRecord, before: StepRecord | None) -> None:  # noqa: FBT001 - a condition
        if not holds:
            self._report_change(before, step)

    def _report_change(self, before: StepRecord | None, step: StepRecord) -> None:
        old = "nothing" if before is None else f"{before.state} at {before.attempt}"
        self._watch.report(Rule.STEP_STATE, f"{step.id} went from {old} to {step.state} at {step.attempt}")
