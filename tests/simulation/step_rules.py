"""Rules for each change of a step, which is checked against the evidence for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from atom_emulator.testing.world import START
from atom_workflows.core.graph import END_ID, MAIN_END_ID
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, NodeKind
from atom_workflows.core.outcomes import NOT_STOPPED, OutcomeKind
from atom_workflows.core.polling import HINT_GAP
from atom_workflows.core.records import StepRecord, StopFor, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import OnLost
from simulation.evidence import GARBAGE, UNHEARD, UNKNOWN, Reply, Try
from simulation.findings import Rule
from simulation.kept import KeptAttempts
from simulation.oracle import SCRIPTED, Fate, Tally, after, failure, is_tolerated, values
from simulation.scenario import STOP_TIMEOUT_S, Ending, StepPlan, Stops

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

_NOTIFIED_S: Final = 300.0
"""The wait between two polls of a job whose end is reported."""

_AT_WORK: Final = frozenset({StepState.DISPATCHING, StepState.RUNNING})


class StepRules:
    """Checks each change of a step.

    `overtaken` are attempts that ended while a dispatcher may still be submitting them. `excused` are steps of which
    faults rightly decided an attempt that the script would have let end otherwise. `lasts` are the ways in which the
    last attempt of a step in this round may have failed, and why, by step. `_timed_out` are attempts whose jobs were
    being stopped since they had timed out: what is heard of them afterwards changes nothing, but that they succeeded.
    """

    def __init__(self, watch: Watch) -> None:
        self.overtaken: set[Try] = set()
        self.excused: set[str] = set()
        self.lasts: dict[str, set[tuple[str, str] | None]] = defaultdict(lambda: {None})
        self._watch = watch
        self._kept = KeptAttempts(watch)
        self._ended: set[Try] = set()
        self._timed_out: set[Try] = set()
        self._hints: Counter[Try] = Counter()
        self._tallies: dict[str, set[Tally]] = defaultdict(lambda: {Tally()})
        self._changes = self._checks_by_change()

    def on_hint_poll(self, of: Try) -> None:
        """Check that a status call which a hint has caused was announced."""
        self._hints[of] -= 1
        if self._hints[of] < 0:
            self._watch.report(Rule.HINTED, f"{of.step} was asked about on a hint, which was not written down first")

    def _check_hint(self, before: StepRecord, step: StepRecord) -> None:
        if step.hinted_at is None or step.hinted_at == before.hinted_at:
            return
        self._hints[Try(step.run_id, step.id, step.attempt)] += 1
        apart = HINT_GAP - 2 * self._watch.skew
        if before.hinted_at is not None and abs(step.hinted_at - before.hinted_at) < apart:
            self._watch.report(Rule.HINTED, f"{step.id} was asked about at {before.hinted_at} and {step.hinted_at}")

    def check(self, before: StepRecord | None, step: StepRecord) -> None:
        """Check one change of a step."""
        self._kept.check(before, step)
        if before is not None:
            self._check_hint(before, step)
            self._note_timeout(before, step)
            self._check_list_is_open(before, step)
            self._check_mark(before, step)
        if before is None and self._watch.is_kept(step):
            return
        if before is None:
            begins = StepState.SUCCEEDED if step.kind is NodeKind.PLACES else StepState.PENDING
            self._require(step.state is begins and not step.attempt, step, None)
        elif before.written < step.written:
            self._check_batch(before, step)
        elif step.state is StepState.DISPATCHING and not step.answered and step.due_at != before.due_at:
            self._check_claim(before, step)
        elif step.attempt != before.attempt:
            self._watch.report(Rule.STEP_STATE, f"{step.id} went from attempt {before.attempt} to {step.attempt}")
        elif step.state is not before.state and self._ends_as_marked(step):
            self._check_marked(before, step)
        elif step.state is not before.state:
            self._changes.get((before.state, step.state), self._report_change)(before, step)

    def _checks_by_change(self) -> dict[tuple[StepState, StepState], Change]:
        changes: dict[tuple[StepState, StepState], Change] = {
            (StepState.DISPATCHING, StepState.RUNNING): self._check_submission,
            (StepState.PENDING, StepState.SUCCEEDED): self._check_without_job,
            (StepState.PENDING, StepState.SKIPPED): self._check_without_job,
            (StepState.PENDING, StepState.FAILED): self._check_without_job,
            (StepState.PENDING, StepState.CANCELLED): self._check_stop,
            (StepState.RETRYING, StepState.CANCELLED): self._check_stop,
            (StepState.RETRYING, StepState.FAILED): self._check_stop,
        }
        for at_work in _AT_WORK:
            for end in (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.RETRYING):
                changes[at_work, end] = self._check_outcome
        for end in (StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED):
            changes[end, StepState.PENDING] = self._check_reset
        return changes

    def _plan(self, name: str) -> StepPlan:
        plan = self._watch.plan_of(name)
        assert plan is not None
        return plan

    # -- marks -----------------------------------------------------------------------------------------------------

    def _check_mark(self, before: StepRecord, step: StepRecord) -> None:
        """Check that someone asked for a mark that a step now has."""
        if not step.is_marked or step.mark == before.mark:
            return
        assert step.mark is not None
        name, state = step.each if step.kind is NodeKind.EXPAND else shown_id(step.id), step.mark["state"]
        if not any((wish.step, wish.state.value) == (name, state) for wish in self._watch.marks):
            self._watch.report(Rule.MARKED, f"{step.id} is marked as {state}, for which no one asked")

    def _ends_as_marked(self, step: StepRecord) -> bool:
        if not step.is_marked or step.state not in {StepState.SUCCEEDED, StepState.SKIPPED}:
            return False
        skips = self._watch.ends_skipped(step)
        return step.by_choice is skips and (step.state is StepState.SKIPPED) is skips

    def _check_marked(self, before: StepRecord, step: StepRecord) -> None:
        """Check the end of a step that a person marked: what it waits for has ended, and so has its job."""
        watch, of = self._watch, Try(step.run_id, step.id, before.attempt)
        self._require(before.state is not StepState.DISPATCHING or before.answered, step, before)
        owner = step.each or step.id
        if before.state is StepState.PENDING and not watch.gone and watch.fate_of(step.id) is None:
            watch.report(Rule.MARKED, f"{step.id} ended as marked, and {self._fate_in_words(step)}")
        if before.state is StepState.PENDING and owner in watch.scenario.finally_ids:
            self._require(watch.run is not None and watch.run.main_state is not None, step, before)
        if before.state in _AT_WORK:
            self._ended.add(of)
            self.overtaken.add(of)
        self.excused.add(step.id)
        if before.state is not StepState.RUNNING:
            return
        words = {one.word for one in watch.evidence.looks.get(step.job_id, ())}
        has_ended = bool(words & {"SUCCEEDED", "FAILED", "CANCELLED", UNKNOWN})
        waited_s = (watch.latest_now - (before.stop_since or watch.latest_now) + watch.skew).total_seconds()
        may_go_on = watch.scenario.stops is Stops.CANNOT or waited_s >= STOP_TIMEOUT_S - _ROUNDING_S
        if not has_ended and not may_go_on:
            watch.report(Rule.MARKED, f"{step.id} ended as marked after {waited_s:.0f} s, while {step.job_id} runs")
        if not has_ended and step.job_id not in step.unstopped:
            watch.report(Rule.MARKED, f"{step.id} ended as marked, and does not say that {step.job_id} may run")

    # -- one kind of change each -----------------------------------------------------------------------------------

    def _check_claim(self, before: StepRecord, step: StepRecord) -> None:
        watch = self._watch
        assert step.due_at is not None
        again = before.state is StepState.DISPATCHING
        self._require(before.state in {StepState.PENDING, StepState.RETRYING, StepState.DISPATCHING}, step, before)
        self._require(step.attempt == before.attempt + (not again), step, before)
        if before.is_marked:
            watch.report(Rule.MARKED, f"{step.id} was claimed, though it is marked")
        if watch.run is None or watch.run.state.is_terminal:
            watch.report(Rule.STOP, f"{step.id} was claimed for a run that has ended")
        # A loop whose condition has no answer fails as any other whose list has none.
        if not self._has_fate(step, Fate.RUNS) and not (
            step.kind is NodeKind.GATHER and self._has_fate(step, Fate.FAILS)
        ):
            watch.report(Rule.DEPENDENCIES, f"{step.id} was claimed, and {self._fate_in_words(step)}")
        if before.state is not StepState.PENDING and before.due_at and before.due_at > watch.latest_now:
            left = before.due_at - watch.now
            watch.report(Rule.LEASE, f"{step.id} was claimed while {before.state}, {left} before it was due")
        if before.state is StepState.RETRYING:
            self._check_back_off(before)
        watch.evidence.record_claim(step, step.due_at)

    def _check_batch(self, before: StepRecord, step: StepRecord) -> None:
        """Check that whoever created items has claimed that, and no one else since."""
        watch = self._watch
        self._require(step.state is before.state is StepState.DISPATCHING, step, before)
        if watch.evidence.last_claims.get(step.idempotency_key) is not watch.evidence.scheduler.current.root:
            watch.report(Rule.HELD, f"items of {step.each} were created by one that no longer holds {step.id}")

    def _check_list_is_open(self, before: StepRecord, step: StepRecord) -> None:
        """Check that what is left of a list is only ended, if that."""
        watch = self._watch
        if watch.is_current(step) or step.state is before.state:
            return
        if not step.state.is_terminal or not self._fits_stop(before, step):
            watch.report(Rule.ITEMS, f"{step.id} is of a list that is over or not known, and is now {step.state}")

    def _check_gathering(self, before: StepRecord, step: StepRecord) -> None:
        """Check the end of a loop."""
        due, end = self._watch.end_due(step.id), self._watch.end_of(step.id)
        is_right = end is not None and (end.state, end.is_tolerated) == (due.state, due.is_tolerated)
        if not is_right and not self._fits_stop(before, step) and not self._watch.gone:
            self._watch.report(Rule.ENDS, f"{step.id} is {step.state} ({step.message}); it should be {due}")

    def _check_back_off(self, before: StepRecord) -> None:
        watch = self._watch
        failed_at = watch.evidence.said[Try(before.run_id, before.id, before.attempt)].get("FAILED")
        back_off_s = self._plan(before.id).backoff_s * _LEAST_SHARE - 2 * watch.skew.total_seconds()
        if failed_at is not None and watch.evidence.scheduler.now < failed_at + back_off_s:
            watch.report(Rule.BACK_OFF, f"attempt {before.attempt} of {before.id} failed at {failed_at:.2f}")

    def _check_submission(self, before: StepRecord, step: StepRecord) -> None:
        if step.idempotency_key not in self._watch.evidence.submissions:
            self._report_change(before, step)

    def _check_without_job(self, before: StepRecord, step: StepRecord) -> None:
        """Check a step that ended before it was claimed, or a node that the compiler added."""
        if self._fits_stop(before, step):
            return
        if step.kind in {NodeKind.INTERNAL, NodeKind.MAIN_END, NodeKind.END}:
            self._check_node(before, step)
        elif self._watch.is_unstarted(step):
            self._require(bool(before.waits_at), step, before)
        elif not self._has_fate(step, _fate_of_end(step)):
            how = f"{step.state}{' by choice' if step.by_choice else ''}{' and tolerated' if step.tolerated else ''}"
            self._watch.report(Rule.DEPENDENCIES, f"{step.id} is {how}, and {self._fate_in_words(step)}")

    def _check_node(self, before: StepRecord, step: StepRecord) -> None:
        watch = self._watch
        if step.id == MAIN_END_ID:
            # In the same commit, a stop is over.
            self._require(step.state is StepState.SUCCEEDED, step, before)
            if step.by_choice is not watch.is_nothing_started:
                watch.report(Rule.FINALLY, f"{step.id} says {step.by_choice} of whether no step was started")
            return
        if step.id == END_ID and watch.run is not None and watch.run.state is RunState.SKIPPED:
            # It has waited for a place, and none of its steps was ever written.
            return
        ended = [watch.end_of(need) for need in step.depends_on]
        if any(end is None for end in ended):
            watch.report(Rule.DEPENDENCIES, f"{step.id} is {step.state} before what it depends on has ended")
        elif step.id != END_ID:
            has_failure = bool(watch.implied(step)["unsuccessful"])
            # In the first schema, a barrier is a step like any other.
            is_skipped = step.schema == 1 and all(end is not None and end.by_choice for end in ended) and bool(ended)
            is_blocked = has_failure or is_skipped
            self._require(step.state is (StepState.SKIPPED if is_blocked else StepState.SUCCEEDED), step, before)

    def _check_stop(self, before: StepRecord, step: StepRecord) -> None:
        if not self._fits_stop(before, step):
            self._report_change(before, step)

    def _check_reset(self, before: StepRecord, step: StepRecord) -> None:
        run = self._watch.run
        # Who goes on with a retry may not know yet that the run was stopped, or that and retried: this is done over.
        is_open = run is not None and (run.state is RunState.SEEDING or run.stop is not None)
        self._require(is_open and run is not None and before.retries < step.retries <= run.retries, step, before)
        self._tallies[step.id] = {Tally()}
        self.lasts[step.id] = {None}
        watch = self._watch
        is_barrier = step.kind in {NodeKind.INTERNAL, NodeKind.MAIN_END, NodeKind.END}
        if not is_barrier and step.id not in watch.reruns.get(step.retries, ()):
            watch.report(Rule.RERUN, f"{step.id} was reset by retry {step.retries}, and nothing before it failed")
        if step.by_choice or step.tolerated or step.because or step.last_kind:
            watch.report(Rule.RERUN, f"{step.id} was reset, and remembers how it ended")
        self._check_mark_of_reset(before, step)

    def _check_mark_of_reset(self, before: StepRecord, step: StepRecord) -> None:
        """Check that a reset keeps a mark of its own round, and one that a stop left without effect."""
        watch, names = self._watch, self._watch.names
        owner = step.each if step.kind is NodeKind.EXPAND else shown_id(step.id)
        is_named = names is not None and owner in {*names.first, *names.only}
        expected: Mapping[str, object] | None = None
        if before.mark is not None and before.mark["retries"] == step.retries:
            expected = before.mark
        elif before.mark is not None and not is_named and before.mark["retries"] >= before.retries:
            has_ended = before.state is StepState.SUCCEEDED or before.by_choice
            expected = None if has_ended else {**before.mark, "retries": step.retries}
        if step.mark != expected:
            watch.report(Rule.MARKED, f"{step.id} was reset with the mark {step.mark}, not {expected}")

    def _check_outcome(self, before: StepRecord, step: StepRecord) -> None:
        of = Try(step.run_id, step.id, before.attempt)
        if of in self._ended:
            self._watch.report(Rule.ONE_OUTCOME, f"attempt {of.attempt} of {of.step} ended again: {step.state}")
        self._ended.add(of)
        if step.kind is NodeKind.EXPAND:
            self._require(step.state is StepState.SUCCEEDED or self._fits_stop(before, step), step, before)
            return
        if step.kind is NodeKind.GATHER:
            self._check_gathering(before, step)
            return
        if step.state is StepState.FAILED and step.reason == NOT_STOPPED:
            self._check_not_stopped(before, step, of)
            return
        plan = self._plan(step.id)
        allowed = self._allowed_outcomes(before, of, plan)
        ways = [(kind, *after(plan, tally, kind, of.attempt)) for kind in allowed for tally in self._tallies[step.id]]
        led_here = [(kind, tally) for kind, state, tally in ways if state is step.state]
        if led_here:
            self._tallies[step.id] = {tally for _, tally in led_here}
            kinds = {kind for kind, _ in led_here}
            if kinds != {self._scripted(plan, of)}:
                self.excused.add(step.id)
            self._check_failure(before, step, plan, kinds)
        elif not self._fits_stop(before, step):
            actual = f"{step.state} ({step.message}); allowed: {sorted(allowed)}, tally {self._tallies[step.id]}"
            self._watch.report(Rule.OUTCOME, f"attempt {of.attempt} of {of.step} is {actual}")
        if OutcomeKind.TIMED_OUT in allowed or self._fits_stop(before, step):
            self.overtaken.add(of)
        noticed_s = (_NOTICED_S + _NOTIFIED_S * self._watch.scenario.notifies) * self._watch.pace
        is_late = before.state is StepState.RUNNING and self._watch.evidence.is_late_for(before.job_id, noticed_s)
        if is_late and not self._fits_stop(before, step) and step.id not in self._watch.forgotten:
            self._watch.report(Rule.NOTICED, f"{step.id} is {step.state} long after its {before.job_id} had ended")

    def _check_not_stopped(self, before: StepRecord, step: StepRecord, of: Try) -> None:
        """Check a step that failed because a job did not stop."""
        watch = self._watch
        self.excused.add(step.id)
        self.overtaken.add(of)
        self.lasts[step.id] = {("timeout", NOT_STOPPED)}
        waited = watch.latest_now - (before.stop_since or watch.latest_now) + watch.skew
        is_slow = watch.scenario.stops in {Stops.SLOWLY, Stops.NEVER}
        words = {one.word for one in watch.evidence.looks.get(step.job_id, ())}
        if not is_slow and words and not words & {UNHEARD, UNKNOWN, GARBAGE}:
            watch.report(Rule.OUTCOME, f"{step.id} failed beside {step.job_id}, which its Task Runner stops at once")
        if waited.total_seconds() < STOP_TIMEOUT_S - _ROUNDING_S:
            watch.report(Rule.OUTCOME, f"{step.id} failed beside {step.job_id} after {waited}")

    def _check_failure(self, before: StepRecord, step: StepRecord, plan: StepPlan, kinds: set[OutcomeKind]) -> None:
        """Check what a step remembers of an attempt that failed, and whether it may have."""
        if step.state is StepState.SUCCEEDED:
            self._require(not step.tolerated, step, before)
            return
        lasts = {failure(plan, kind, step.attempt) for kind in kinds}
        self.lasts[step.id] = {*lasts}
        is_stopped = self._fits_stop(before, step)
        if step.schema >= LANGUAGE_SCHEMA and (step.last_kind, step.last_reason) not in lasts and not is_stopped:
            last = (step.last_kind, step.last_reason)
            self._watch.report(Rule.OUTCOME, f"{step.id} remembers the failure {last}; it was {lasts}")
        tolerated = {step.state is not StepState.RETRYING and is_tolerated(plan, kind) for kind in kinds}
        if step.tolerated not in tolerated and not (is_stopped and not step.tolerated):
            self._watch.report(Rule.OUTCOME, f"{step.id} is {step.state}, and tolerated: {step.tolerated}")

    def _scripted(self, plan: StepPlan, of: Try) -> OutcomeKind:
        """Return the outcome of an attempt if nothing but the script decides."""
        return OutcomeKind.EXPRESSION if self._lacks_body(plan) else SCRIPTED[plan.ending(of.attempt)]

    def _lacks_body(self, plan: StepPlan) -> bool:
        """Return True if an expression of the step's task has no answer."""
        # No value that may be missing depends on the attempt.
        facts = self._watch.facts(plan)
        return bool(plan.args) and facts is not None and values(plan.args, facts) is None

    # -- evidence --------------------------------------------------------------------------------------------------

    def _allowed_outcomes(self, step: StepRecord, of: Try, plan: StepPlan) -> set[OutcomeKind]:
        """Return the outcomes for which there is evidence."""
        watch = self._watch
        allowed = {_WORDS[word] for word in watch.evidence.said[of] if word in _WORDS}
        if OutcomeKind.SUCCEEDED in allowed and plan.numbers and plan.ending(of.attempt) is Ending.BREAKS_ITS_WORD:
            allowed = {*allowed - {OutcomeKind.SUCCEEDED}, OutcomeKind.OUTPUTS}
        # What is gone has no values either.
        lacks_values = self._lacks_body(plan) or bool(plan.args and watch.gone & {*plan.reads})
        if step.state is StepState.DISPATCHING and lacks_values:
            allowed.add(OutcomeKind.EXPRESSION)
        if self._may_have_timed_out(step):
            allowed.add(OutcomeKind.TIMED_OUT)
        if self._may_be_lost(step):
            allowed.add(OutcomeKind.LOST)
        return allowed

    def _note_timeout(self, before: StepRecord, step: StepRecord) -> None:
        """Note an attempt whose job begins to be stopped since its time is over."""
        begins = step.being_stopped_for == StopFor.TIMEOUT != before.being_stopped_for
        if begins and self._may_have_timed_out(before):
            self._timed_out.add(Try.of(step.idempotency_key))

    def _may_have_timed_out(self, step: StepRecord) -> bool:
        """Return True if the attempt may end by its timeout.

        Its time is over. If it has a job, a poll since then found it in progress, or nothing was heard of it, before
        the job was stopped for that.
        """
        if Try.of(step.idempotency_key) in self._timed_out:
            return True
        watch, deadline = self._watch, step.attempt_deadline
        if deadline is None or deadline > watch.latest_now:
            return False
        since = (deadline - watch.skew - START).total_seconds() - _ROUNDING_S
        return step.state is not StepState.RUNNING or watch.evidence.was_running_since(step.job_id, since, _UNHEARD_S)

    def _has_fate(self, step: StepRecord, expected: Fate | None) -> bool:
        """Return True if that is the step's fate, or none can be told as documents are gone."""
        fate = self._watch.fate_of(step.id)
        return bool(self._watch.gone) if fate is None else fate is expected

    def _fate_in_words(self, step: StepRecord) -> str:
        watch = self._watch
        fate = watch.fate_of(step.id)
        if fate is not None:
            return f"by its file it {fate}"
        needs = watch.scenario.by_id[step.each or step.id].depends_on
        return f"it waits for {[need for need in needs if watch.end_of(need) is None] or 'the main part'}"

    def _may_be_lost(self, step: StepRecord) -> bool:
        watch = self._watch
        if step.state is StepState.RUNNING:
            return watch.evidence.unknown_for_s(step.job_id) >= _GRACE_S - 2 * watch.skew.total_seconds() - _ROUNDING_S
        if self._plan(step.id).on_lost is OnLost.RETRY:
            return False
        if any(one.reply is Reply.LOST for one in watch.evidence.submissions.get(step.idempotency_key, ())):
            return True
        return not step.answered and step.due_at is not None and step.due_at <= watch.latest_now

    def _fits_stop(self, before: StepRecord, step: StepRecord) -> bool:
        run = self._watch.run
        if run is not None and run.state in {RunState.QUEUED, RunState.SEEDING} and before.retries < run.retries:
            # Who stopped the round before may not know yet of the retry, which resets the step next or once admitted.
            return before.state is StepState.PENDING and step.state.is_terminal
        if run is None or run.stop is None:
            return False
        if run.runs_finally and (step.each or step.id) in self._watch.scenario.finally_ids:
            # These run once the stop has ended the main part.
            return False
        # A loop that waits for its items has started.
        is_unstarted = before.state is StepState.PENDING and not before.items
        unstarted = StepState.SKIPPED if is_unstarted else StepState.FAILED
        kinds = {stop.kind for stop in self._watch.stops}
        return step.state in {StepState.CANCELLED if kind is StopKind.CANCEL else unstarted for kind in kinds}

    def _require(self, holds: bool, step: StepRecord, before: StepRecord | None) -> None:  # noqa: FBT001 - a condition
        if not holds:
            self._report_change(before, step)

    def _report_change(self, before: StepRecord | None, step: StepRecord) -> None:
        old = "nothing" if before is None else f"{before.state} at {before.attempt}"
        self._watch.report(Rule.STEP_STATE, f"{step.id} went from {old} to {step.state} at {step.attempt}")


def _fate_of_end(step: StepRecord) -> Fate | None:
    """Return the fate that a step had which ended as it did, without a job."""
    if step.tolerated or (step.by_choice and step.state is not StepState.SKIPPED):
        return None
    if step.state is StepState.SKIPPED:
        return Fate.IS_SKIPPED if step.by_choice else Fate.IS_BLOCKED
    if step.state is StepState.FAILED or step.problem:
        return Fate.FAILS
    return Fate.RUNS if step.request is None else None
