"""Bugs on purpose: what parts of the coordinator would look like if their authors had not thought of something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from atom_workflows.coordinator import close, commits, dispatch
from atom_workflows.coordinator import retry as reset
from atom_workflows.coordinator.advance import Advance
from atom_workflows.coordinator.commits import Decision, Saved
from atom_workflows.coordinator.loading import StoredRun, StoredStep, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core import polling, transitions
from atom_workflows.core.graph import END_ID
from atom_workflows.core.records import StepRecord, Stop
from atom_workflows.core.states import RunState, StepEvent, StepState
from atom_workflows.core.transitions import Outcome, OutcomeKind, StepChange
from atom_workflows.documents import BURST_LEASE_PATH, run_path, step_path
from atom_workflows.errors import AtomWorkflowsError, JobUnknown, TaskRunnerUnavailable
from atom_workflows.messages.internal import ReadyStep, StepsEvent, tick_message
from atom_workflows.ports import Message, Update

_AGES: Final = timedelta(days=3650)

# What is replaced here, as it was.
_save_and_go_on = Advance._save_and_go_on
_guarded_write = commits._guarded_write
_republish_below_ended = dispatch._republish_below_ended
_claim = transitions.claim
_retry = transitions._retry
_apply_outcome = transitions.apply_outcome
_record_job = transitions.record_job
_reset = transitions.reset
_dependents_first = reset._dependents_first
_result_of = commits._result_of
_handle_steps = dispatch.handle_steps
_count_dependents = commits._count_dependents


# -- publishing ------------------------------------------------------------------------------------------------------


def publish_first(self: Advance, decisions: Sequence[Decision], following: list[StoredStep], *, may_keep: bool) -> None:
    """Publish what a commit will release, then commit.

    See `go_on_in_silence`.
    """
    ended = [one.step for one in decisions if one.change.state is StepState.SUCCEEDED]
    released = [name for step in ended for name in step.dependents if name not in step.barriers]
    self.outbox.add_ready(self.run_id, [ReadyStep(step_id=name) for name in released])
    self.outbox.flush_ready()
    _save_and_go_on(self, decisions, following, may_keep=may_keep)


def go_on_in_silence(self: Advance, saved: Saved, room: int) -> list[StoredStep]:
    """Go on with some released steps, and publish none of the rest."""
    kept = self._release(saved)[:room]
    return self._claim(
        [stored for stored in self._load(kept) if stored.step.is_released and not stored.step.unsuccessful]
    )


def nothing(*_arguments: object, **_named: object) -> None:
    """Do nothing."""


def no_events(*_arguments: object, **_named: object) -> int:
    """Publish nothing."""
    return 0


def acknowledge_anyway(services: Services, event: StepsEvent) -> None:
    """Answer 200 whatever happened."""
    with suppress(AtomWorkflowsError):
        _handle_steps(services, event)


# -- guards and counters ---------------------------------------------------------------------------------------------


def unguarded_claim(decision: Decision) -> Update:
    """Let a claim overwrite another one."""
    write = _guarded_write(decision)
    return replace(write, guard=None) if decision.change.event is StepEvent.CLAIM else write


def unguarded_outcome(decision: Decision) -> Update:
    """Count an outcome again when it comes again."""
    write = _guarded_write(decision)
    ends = decision.change.is_terminal or decision.change.event is StepEvent.RETRY
    return replace(write, guard=None) if ends else write


def count_again(outbox: Outbox, run_id: str, stored: Sequence[StoredStep]) -> None:
    """Count down the dependents of steps that had ended before."""
    for one in stored:
        names = one.step.dependents if one.step.state.is_terminal else ()
        waiting = [dependent.step for dependent in load_steps(outbox.services, run_id, names)]
        writes = [
            Update(path=step_path(run_id, step.id), increments={"remaining": -1})
            for step in waiting
            if step.state is StepState.PENDING and step.remaining > 0
        ]
        if writes:
            outbox.services.store.commit(writes)
    _republish_below_ended(outbox, run_id, stored)


def commit_twice(
    outbox: Outbox, decisions: Sequence[Decision], claims: Sequence[Decision], *, counting: bool = True
) -> Saved:
    """Commit the states first, and then the counters."""
    counts = _count_dependents(decisions, {claim.step.id for claim in claims}) if counting else {}
    guarded = [*decisions, *claims]
    run_id = decisions[0].step.run_id
    results = outbox.services.store.commit([_guarded_write(decision) for decision in guarded])
    for decision in guarded:
        outbox.report_step(decision.step, decision.change)
    if counts:
        results = results + outbox.services.store.commit([one.write(run_id, name) for name, one in counts.items()])
    return _result_of(guarded, counts, results)


def count_failed_only(decisions: Iterable[Decision], claimed: set[str]) -> dict[str, Any]:
    """Count a dependency that was skipped as one that succeeded."""
    decisions = list(decisions)
    counts = _count_dependents(decisions, claimed)
    for decision in decisions:
        for name in decision.step.dependents:
            if decision.change.state is StepState.SKIPPED and name in counts:
                counts[name].unsuccessful = 0
    return counts


def claims_without_counting(self: Advance, decisions: Sequence[Decision]) -> list[Decision]:
    """Claim in the releasing commit, but leave the counter as it was."""
    sole = [one.step.hands_over_to for one in decisions if one.change.state is StepState.SUCCEEDED]
    waiting = self._load([name for name in sole if name is not None])
    return [self._claim_of(one) for one in waiting if one.step.state is StepState.PENDING and one.step.remaining == 1]


def unguarded_barrier(decision: Decision) -> Update:
    """Let a barrier count again when it is passed again."""
    write = _guarded_write(decision)
    passes = decision.change.event is StepEvent.SUCCEED and decision.step.state is StepState.PENDING
    return replace(write, guard=None) if passes else write


# -- attempts --------------------------------------------------------------------------------------------------------


def claim_for_ages(step: StepRecord, *, now: datetime, lease: timedelta) -> StepChange:
    """Claim with a lease that is never over."""
    return _claim(step, now=now, lease=lease + _AGES)


def claim_anew(step: StepRecord, *, now: datetime, lease: timedelta) -> StepChange:
    """Begin another attempt, though the earlier one has no outcome."""
    change = _claim(step, now=now, lease=lease)
    return replace(change, fields={**change.fields, "attempt": step.attempt + 1})


def losses_are_tries(step: StepRecord, outcome: Outcome, now: datetime, learnt: Any) -> StepChange | None:
    """Let a lost job use up one of the step's tries."""
    change = _retry(step, outcome, now, learnt)
    if change is None:
        return None
    return replace(change, fields={name: value for name, value in change.fields.items() if name != "first_attempt"})


def one_try_more(step: StepRecord, outcome: Outcome, now: datetime, learnt: Any) -> StepChange | None:
    """Allow one attempt more than the policy does."""
    retry = replace(step.policies.retry, max_attempts=step.policies.retry.max_attempts + 1)
    return _retry(replace(step, policies=replace(step.policies, retry=retry)), outcome, now, learnt)


def no_back_off(step: StepRecord, outcome: Outcome, now: datetime, learnt: Any) -> StepChange | None:
    """Make the next attempt due at once."""
    change = _retry(step, outcome, now, learnt)
    return None if change is None else replace(change, fields={**change.fields, "due_at": now})


def claim_what_may_be_lost(step: StepRecord, *, now: datetime, attempt: int | None) -> bool:
    """Claim a step after its lease whatever `onLost` says."""
    return transitions.may_claim(replace(step, answered=True), now=now, attempt=attempt)


def settle_whatever_comes(step: StepRecord, outcome: Outcome, *, now: datetime) -> StepChange | None:
    """Take an outcome for the current attempt's, whichever it is of."""
    return _apply_outcome(step, replace(outcome, attempt=step.attempt), now=now)


def settle_what_was_stopped(step: StepRecord, outcome: Outcome, *, now: datetime) -> StepChange | None:
    """Let a late outcome undo what a stop made of a step."""
    was_stopped = step.state is StepState.CANCELLED and outcome.attempt == step.attempt
    return _apply_outcome(replace(step, state=StepState.RUNNING) if was_stopped else step, outcome, now=now)


def submitted_unwatched(step: StepRecord, **named: Any) -> StepChange:
    """Forget to say when the job is first looked at."""
    change = _record_job(step, **named)
    return replace(change, fields={**change.fields, "due_at": None})


def another_key(step: StepRecord) -> str:
    """Return a new key when an attempt is submitted again."""
    return f"{step.run_id}/{step.id}/{step.attempt + step.deferrals}"


def poll_strictly(services: Services, step: StepRecord) -> StepChange | Outcome | None:
    """Take a status call without an answer for a failed job."""
    try:
        answer = services.task_runner.status(step.task_runner_url, step.job_id)
    except JobUnknown:
        return polling.unknown_job(step, now=services.clock.now())
    except TaskRunnerUnavailable as error:
        return Outcome(step_id=step.id, attempt=step.attempt, kind=OutcomeKind.FAILED, message=error.reason)
    outcome = transitions.outcome_of(step, job_id=step.job_id, job_state=answer.state, message=answer.message)
    now = services.clock.now()
    return outcome or polling.still_running(step, job_state=answer.state, message=answer.message, now=now)


# -- runs ------------------------------------------------------------------------------------------------------------


def finish_early(outbox: Outbox, run_id: str) -> None:
    """Close the run without checking what its end waits for."""
    stored = load_run(outbox.services, run_id)
    ends = load_steps(outbox.services, run_id, [END_ID])
    if stored is not None and stored.run.state is RunState.RUNNING and ends:
        close.close(outbox, stored, ends[0])


def end_with_any_leaf(guarded: Any, counts: dict[str, Any], results: Any) -> Saved:
    """Take the end for released when the first leaf has ended."""
    saved = _result_of(guarded, counts, results)
    if END_ID in counts and END_ID not in saved.released + saved.to_skip:
        saved.released.append(END_ID)
        saved.barriers.add(END_ID)
    return saved


def roots_first(stored: Sequence[StoredStep]) -> list[StoredStep]:
    """Reset steps before those that wait for them."""
    return _dependents_first(stored)[::-1]


def reset_without_counters(step: StepRecord, **named: Any) -> StepChange:
    """Leave the counters of the earlier round."""
    change = _reset(step, **named)
    kept = {name: value for name, value in change.fields.items() if name not in {"remaining", "unsuccessful"}}
    return replace(change, fields=kept)


def reset_without_first_attempt(step: StepRecord, **named: Any) -> StepChange:
    """Count the attempts of earlier rounds, too."""
    change = _reset(step, **named)
    return replace(change, fields={name: value for name, value in change.fields.items() if name != "first_attempt"})


def forget_the_stop(_outbox: Outbox, _stored: StoredRun, _stop: Stop) -> bool:
    """Say that the stop was recorded."""
    return True


def set_running_anyway(outbox: Outbox, stored: StoredRun) -> bool:
    """Make the run RUNNING, whatever became of it meanwhile."""
    now = outbox.services.clock.now()
    fields = {"state": RunState.RUNNING.value, "started_at": stored.run.started_at or now}
    outbox.services.store.commit([Update(path=run_path(stored.run.id), fields=fields)])
    return True


def no_seed(_run_id: str) -> Message:
    """Send a plain tick instead of the message that resumes seeding."""
    return tick_message("no one")


def take_for_ages(self: Any) -> bool:
    """Take the right to sweep until it is given back."""
    document = self.services.store.get([BURST_LEASE_PATH])[0]
    now = self.services.clock.now()
    if document is not None and document.fields["until"] > now:
        return False
    fields = {"holder": f"{now}", "until": now + _AGES}
    self._lease = commits.save_document(self.services, BURST_LEASE_PATH, document, fields)
    return self._lease is not None


def found_as_it_is(_step: StepRecord, found: object, **_named: object) -> object:
    """Let a job go on, however long it takes."""
    return found
