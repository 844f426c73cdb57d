"""Decisions about a step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atom_workflows.core import changes, endings, outcomes, transitions
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.core.records import Policies, RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.states import RunEvent, RunState, StepEvent, StepState
from atom_workflows.core.workflow import Backoff, OnLost, RetryPolicy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BACKOFF = Backoff(initial=timedelta(seconds=10), factor=2, maximum=timedelta(seconds=50), jitter=0)


def step(state: StepState = StepState.RUNNING, *, attempts: int = 1, **fields: Any) -> StepRecord:
    """Return a step in its first attempt."""
    base = StepRecord(
        run_id="r",
        id="s",
        kind=NodeKind.JOB,
        request={},
        task_runner_url="http://tr",
        depends_on=(),
        dependents=(),
        barriers=(),
        policies=Policies(
            timeout=timedelta(minutes=5),
            retry=RetryPolicy(max_attempts=attempts, backoff=BACKOFF),
            on_lost=OnLost.RETRY,
        ),
        remaining=0,
        state=state,
        attempt=1,
        claimed_at=NOW,
        job_id="j",
        job_state="RUNNING",
    )
    return replace(base, **fields)


def outcome(kind: OutcomeKind, attempt: int = 1, *, job_id: str = "j") -> Outcome:
    """Return an outcome of that attempt."""
    return Outcome(step_id="s", attempt=attempt, kind=kind, message="what happened", job_id=job_id)


def test_a_failed_attempt_with_tries_left_waits_for_the_next() -> None:
    """A failure below maxAttempts becomes RETRYING, due after the back-off."""
    change = transitions.apply_outcome(step(attempts=2), outcome(OutcomeKind.FAILED), now=NOW)
    assert change is not None
    assert change.state is StepState.RETRYING
    assert change.fields["due_at"] == NOW + timedelta(seconds=10)


def test_the_last_attempt_fails_the_step() -> None:
    """A failure of attempt maxAttempts is the step's own."""
    change = transitions.apply_outcome(step(attempts=2, attempt=2), outcome(OutcomeKind.FAILED, 2), now=NOW)
    assert change is not None
    assert change.state is StepState.FAILED
    assert change.fields["message"] == "what happened"
    assert change.fields["due_at"] is None


@pytest.mark.parametrize("kind", [OutcomeKind.REFUSED, OutcomeKind.CANCELLED])
def test_what_would_happen_again_is_not_tried_again(kind: OutcomeKind) -> None:
    """A refused or cancelled job ends its step whatever tries are left."""
    change = transitions.apply_outcome(step(StepState.DISPATCHING, attempts=9), outcome(kind), now=NOW)
    assert change is not None
    assert change.is_terminal


def test_an_outcome_of_another_attempt_is_stale() -> None:
    """An event of attempt 1 says nothing of attempt 2."""
    assert transitions.apply_outcome(step(attempt=2), outcome(OutcomeKind.SUCCEEDED, 1), now=NOW) is None


@pytest.mark.parametrize("state", [StepState.SUCCEEDED, StepState.CANCELLED, StepState.RETRYING, StepState.PENDING])
def test_an_outcome_counts_once(state: StepState) -> None:
    """A step that has no attempt under way takes no outcome."""
    assert transitions.apply_outcome(step(state), outcome(OutcomeKind.FAILED), now=NOW) is None


def test_lost_jobs_use_up_no_attempts_but_have_a_limit() -> None:
    """A step with one attempt survives two losses; the third fails it."""
    one = step(missing_since=NOW)
    for losses in range(transitions.MAX_LOSSES - 1):
        change = transitions.apply_outcome(one, outcome(OutcomeKind.LOST, one.attempt), now=NOW)
        assert change is not None
        assert change.state is StepState.RETRYING
        assert change.fields["losses"] == losses + 1
        fields = {name: change.fields[name] for name in ("losses", "first_attempt")}
        one = replace(one, attempt=one.attempt + 1, **fields)
    change = transitions.apply_outcome(one, outcome(OutcomeKind.LOST, one.attempt), now=NOW)
    assert change is not None
    assert change.state is StepState.FAILED


def test_on_lost_fail_fails_at_the_first_loss() -> None:
    """OnLost: fail means that a lost job is never started again."""
    policies = replace(step().policies, on_lost=OnLost.FAIL)
    one = step(attempts=5, policies=policies, missing_since=NOW)
    change = transitions.apply_outcome(one, outcome(OutcomeKind.LOST), now=NOW)
    assert change is not None
    assert change.state is StepState.FAILED


def test_a_job_that_was_heard_of_since_is_not_lost() -> None:
    """A job that was found again is not lost."""
    assert transitions.apply_outcome(step(missing_since=None), outcome(OutcomeKind.LOST), now=NOW) is None


@pytest.mark.parametrize(
    ("found", "is_lost"),
    [
        ({"due_at": NOW}, True),
        ({"due_at": NOW + timedelta(seconds=1)}, False),
        ({"due_at": NOW, "answered": True}, False),
        ({"due_at": NOW, "state": StepState.RUNNING}, False),
    ],
    ids=["lease over", "taken by another since", "put off since", "submitted since"],
)
def test_a_dispatcher_is_lost_only_if_its_lease_is_still_over(found: dict[str, Any], is_lost: bool) -> None:  # noqa: FBT001 - a case
    """A dispatcher is lost only if its lease is still over."""
    policies = replace(step().policies, on_lost=OnLost.FAIL)
    one = replace(step(StepState.DISPATCHING, policies=policies), **found)
    change = transitions.apply_outcome(one, outcome(OutcomeKind.LOST, job_id=""), now=NOW)
    assert (change is not None) is is_lost


@pytest.mark.parametrize("word", ["NEW", "LOADING", "STATE_UNSPECIFIED", "CANCELLING", "SOMETHING_ELSE", ""])
def test_a_state_that_is_not_terminal_means_that_the_job_goes_on(word: str) -> None:
    """Known and unknown states of a running job have the same effect."""
    assert outcomes.outcome_of(step(), job_id="j", job_state=word, message="") is None


def test_backoff_grows_to_its_limit() -> None:
    """The back-off grows by its factor up to its maximum."""
    delays = [changes.backoff_delay(BACKOFF, tries=tries, seed="s").total_seconds() for tries in (1, 2, 3, 4, 999)]
    assert delays == [10, 20, 40, 50, 50]


def test_jitter_only_shortens_and_is_the_same_each_time() -> None:
    """Jitter only shortens a delay, and is the same each time."""
    jittered = BACKOFF._replace(jitter=0.5)
    delays = {changes.backoff_delay(jittered, tries=1, seed=str(n)).total_seconds() for n in range(50)}
    assert all(5 <= delay <= 10 for delay in delays)
    assert len(delays) > 40
    again = {changes.backoff_delay(jittered, tries=1, seed=str(n)).total_seconds() for n in range(50)}
    assert delays == again


def test_a_claim_under_a_live_lease_is_refused() -> None:
    """A step being dispatched may be claimed again only after its lease."""
    claimed = step(StepState.DISPATCHING, due_at=NOW + timedelta(seconds=1))
    assert not transitions.may_claim(claimed, now=NOW, attempt=1)
    assert transitions.may_claim(claimed, now=NOW + timedelta(seconds=1), attempt=1)
    assert not transitions.may_claim(claimed, now=NOW + timedelta(seconds=1), attempt=2)


def test_a_claim_again_keeps_the_attempt_and_its_key() -> None:
    """A claim after an expired lease keeps the attempt and its key."""
    claimed = step(StepState.DISPATCHING, due_at=NOW)
    change = transitions.claim(claimed, now=NOW, lease=timedelta(minutes=2))
    assert "attempt" not in change.fields
    assert change.fields["due_at"] == NOW + timedelta(minutes=2)


def test_a_pending_step_is_claimed_only_when_released() -> None:
    """A step is claimed only when all its dependencies succeeded."""
    assert not transitions.may_claim(step(StepState.PENDING, remaining=1), now=NOW, attempt=None)
    assert not transitions.may_claim(step(StepState.PENDING, unsuccessful=1), now=NOW, attempt=None)
    assert transitions.may_claim(step(StepState.PENDING), now=NOW, attempt=None)


PATIENT = replace(step().policies, timeout=timedelta(hours=10))
ONCE = replace(PATIENT, on_lost=OnLost.FAIL)


def test_a_submission_that_was_put_off_waits_at_least_as_long_as_it_was_asked_to() -> None:
    """Retry-After is honored, up to the longest wait of each kind."""
    one = step(StepState.DISPATCHING, policies=PATIENT)
    change = transitions.defer(one, reason="503", now=NOW, retry_after_s=60)
    assert change.fields["due_at"] == NOW + timedelta(seconds=60)
    change = transitions.defer(one, reason="503", now=NOW, retry_after_s=1e9)
    assert change.fields["due_at"] == NOW + transitions.DEFER_BACKOFF.maximum
    change = transitions.defer(one, reason="429", now=NOW, retry_after_s=1e9, is_busy=True)
    assert change.fields["due_at"] == NOW + transitions.BUSY_BACKOFF.maximum
    change = transitions.repeat_or_fail(one, reason="502", now=NOW, retry_after_s=1e9)
    assert change.fields["due_at"] == NOW + transitions.UNKNOWN_BACKOFF.maximum


def test_an_unknown_submission_is_repeated_as_the_same_attempt_and_is_no_loss() -> None:
    """With `onLost: retry` an unknown submission is repeated as the same attempt."""
    one = step(StepState.DISPATCHING, policies=PATIENT, attempts=9)
    after = changes.apply_change(one, transitions.repeat_or_fail(one, reason="HTTP 502", now=NOW, retry_after_s=None))
    assert (after.state, after.attempt, after.losses, after.deferrals) == (StepState.DISPATCHING, 1, 0, 1)
    assert after.is_unsure
    assert after.due_at is not None
    assert after.due_at - NOW >= transitions.UNKNOWN_BACKOFF.initial * (1 - transitions.UNKNOWN_BACKOFF.jitter)
    assert after.message == "its submission may have started a job: HTTP 502"
    assert transitions.may_claim(after, now=after.due_at, attempt=1)
    assert not replace(after, attempt=2).is_unsure


def test_an_unknown_submission_fails_the_step_if_a_lost_one_does() -> None:
    """With onLost: fail there is no second job, whatever attempts are left."""
    one = replace(step(StepState.DISPATCHING, policies=ONCE), due_at=NOW + timedelta(minutes=2))
    change = transitions.repeat_or_fail(one, reason="HTTP 502", now=NOW, retry_after_s=5)
    assert change.state is StepState.FAILED
    assert change.fields["due_at"] is None
    assert "may have started a job: HTTP 502; onLost is fail" in change.fields["message"]


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({}, StepState.FAILED),
        ({"answered": True}, StepState.RETRYING),
        ({"answered": True, "unsure_attempt": 1}, StepState.FAILED),
        ({"state": StepState.RUNNING}, StepState.RETRYING),
    ],
    ids=["a dispatcher may have submitted it", "not accepted", "unknown before", "its job is known"],
)
def test_no_timeout_leads_to_a_job_beside_one_that_nobody_knows_of(found: dict[str, Any], state: StepState) -> None:
    """With `onLost: fail` an attempt that may have a job is lost, not retried."""
    policies = replace(step(attempts=3).policies, on_lost=OnLost.FAIL)
    one = replace(step(StepState.DISPATCHING, policies=policies), **found)
    job_id = "j" if one.state is StepState.RUNNING else ""
    change = transitions.apply_outcome(one, outcome(OutcomeKind.TIMED_OUT, job_id=job_id), now=NOW)
    assert change is not None
    assert change.state is state
    assert ("onLost is fail" in change.fields["message"]) is (state is StepState.FAILED)


def test_who_claims_after_a_lease_is_unsure() -> None:
    """A claim after a dead dispatcher is unsure whether a job was started."""
    left = step(StepState.DISPATCHING, due_at=NOW)
    assert changes.apply_change(left, transitions.claim(left, now=NOW, lease=timedelta(minutes=2))).is_unsure
    put_off = replace(left, answered=True)
    assert not changes.apply_change(put_off, transitions.claim(put_off, now=NOW, lease=timedelta(minutes=2))).is_unsure


@pytest.mark.parametrize("word", ["Succeeded ", "\tSUCCEEDED\n", "succeeded", "JOB_STATE_SUCCEEDED", "\u00a0SUCCEEDED"])
def test_a_word_is_read_whatever_its_case_and_the_spaces_around_it(word: str) -> None:
    """So are Vertex AI's words, which are AI Platform's with a prefix."""
    found = outcomes.outcome_of(step(), job_id="j", job_state=word, message="")
    assert found is not None
    assert found.kind is OutcomeKind.SUCCEEDED


def test_the_american_spelling_is_read() -> None:
    """CANCELED is CANCELLED."""
    found = outcomes.outcome_of(step(), job_id="j", job_state="Canceled", message="")
    assert found is not None
    assert found.kind is OutcomeKind.CANCELLED


@pytest.mark.parametrize("word", ["COMPLETED", "DONE", "SUCCESS", "OK", "FAILURE", "ERROR", "SUCCEEDED_WITH_WARNINGS"])
def test_a_word_that_only_looks_like_an_end_is_none(word: str) -> None:
    """An unknown job state never ends a job."""
    assert outcomes.outcome_of(step(), job_id="j", job_state=word, message="") is None
    assert not outcomes.is_known_state(word)


@pytest.mark.parametrize(("word", "has_outputs"), [("SUCCEEDED", True), ("FAILED", False), ("CANCELLED", False)])
def test_only_an_attempt_that_succeeded_has_outputs(word: str, has_outputs: bool) -> None:  # noqa: FBT001 (a row's value)
    """An outcome has the outputs of a job that succeeded, or their problem, and the reason of any job that ended."""
    found = outcomes.outcome_of(
        step(), job_id="j", job_state=word, message="", outputs='{"a":1}', outputs_problem="too large", reason="OOM"
    )
    assert found is not None
    expected = ('{"a":1}', "too large") if has_outputs else ("", "")
    assert ((found.outputs, found.outputs_problem), found.reason) == (expected, "OOM")


@pytest.mark.parametrize(("word", "ended"), [("SUCCEEDED", True), ("job_state_canceled", True), ("RUNNING", False)])
def test_a_jobs_state_says_whether_it_has_ended(word: str, ended: bool) -> None:  # noqa: FBT001 (a row's value)
    """A job has ended in the three terminal states alone."""
    assert outcomes.has_ended(word) is ended
    assert not outcomes.has_ended("DONE")


def test_messages_are_clipped() -> None:
    """A Task Runner's novel does not fill the document."""
    assert len(outcomes.clip("x" * 10_000)) == outcomes.MAX_MESSAGE_LENGTH


@pytest.mark.parametrize(
    ("policies", "losses", "says"),
    [
        (replace(step().policies, on_lost=OnLost.FAIL), 0, "gone, and onLost is fail"),
        (step().policies, transitions.MAX_LOSSES - 1, "gone, and 2 earlier jobs were lost"),
        (step().policies, 0, "gone"),
    ],
    ids=["onLost", "too often", "goes on"],
)
def test_a_step_says_why_its_lost_job_is_not_submitted_again(policies: Policies, losses: int, says: str) -> None:
    """A step's message says why its lost job is not submitted again."""
    lost = replace(outcome(OutcomeKind.LOST), message="gone", job_id="j")
    change = transitions.apply_outcome(
        replace(step(), policies=policies, losses=losses, missing_since=NOW), lost, now=NOW
    )
    assert change is not None
    assert change.fields["message"] == says


def test_a_job_is_not_lost_by_a_word_that_was_interrupted_since() -> None:
    """A loss that rests on an interrupted silence is stale."""
    again = step(missing_since=NOW + timedelta(seconds=30))
    stale = replace(outcome(OutcomeKind.LOST), job_id="j", missing_since=NOW)
    assert transitions.apply_outcome(again, stale, now=NOW + timedelta(minutes=1)) is None
    change = transitions.apply_outcome(replace(again, missing_since=NOW), stale, now=NOW + timedelta(minutes=1))
    assert change is not None
    assert change.state is StepState.RETRYING


END = step(StepState.PENDING, kind=NodeKind.END, request=None, attempt=0, claimed_at=None)


@pytest.mark.parametrize(
    ("stop", "end", "run_event", "end_event"),
    [
        (None, END, RunEvent.SUCCEED, StepEvent.SUCCEED),
        (None, replace(END, unsuccessful=1), RunEvent.FAIL, StepEvent.SKIP),
        (StopKind.CANCEL, END, RunEvent.CANCEL, StepEvent.CANCEL),
        (StopKind.TIMEOUT, END, RunEvent.FAIL, StepEvent.SKIP),
        (StopKind.FAIL, None, RunEvent.FAIL, None),
        (StopKind.CANCEL, replace(END, state=StepState.SKIPPED), RunEvent.CANCEL, None),
        (None, None, RunEvent.FAIL, None),
    ],
    ids=["succeeded", "failed", "cancelled", "timed out", "broken", "of an earlier round", "without an end"],
)
def test_a_stop_decides_how_a_run_ends_or_else_its_end(
    stop: StopKind | None, end: StepRecord | None, run_event: RunEvent, end_event: StepEvent | None
) -> None:
    """A stop decides how a run ends, otherwise its end's counters."""
    requested = None if stop is None else Stop(kind=stop, reason="why", requested_at=NOW)
    run = RunRecord(id="r", workflow="w", state=RunState.RUNNING, created_at=NOW, stop=requested)
    event, change = endings.end_run(run, end, now=NOW)
    assert event is run_event
    assert (change and change.event) is end_event
