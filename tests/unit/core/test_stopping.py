"""How long a step waits for a job to stop, and what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_workflows.core.changes import MAX_LEFTOVERS, MAX_UNSTOPPED, StepChange, apply_change, jobs_to_stop
from atom_workflows.core.counts import Counts
from atom_workflows.core.endings import reset, stop_step
from atom_workflows.core.hints import Verdict, judge_hint, take_hint
from atom_workflows.core.outcomes import NOT_STOPPED, Outcome, OutcomeKind
from atom_workflows.core.polling import HINT_GAP, MISSING_GRACE, NOTIFIED_POLL, next_look, with_next_look
from atom_workflows.core.records import StepRecord, Stop, StopFor, StopKind, StopStage
from atom_workflows.core.states import StepState
from atom_workflows.core.stopping import (
    RUN_WAIT,
    JobFate,
    StopReport,
    judge_leftover,
    judge_stop,
    judge_unresolved,
    record_orphan,
    stop_after_timeout,
    stop_with_run,
    waits_for_stop,
)
from atom_workflows.core.transitions import apply_outcome, claim
from unit.core.test_transitions import NOW, step

LIMIT: Final = timedelta(minutes=10)
SECOND: Final = timedelta(seconds=1)
CANCEL: Final = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=NOW)
STILL: Final = StopReport(fate=JobFate.ACCEPTED, job_state="CANCELLING")
SILENT: Final = StopReport(fate=JobFate.UNANSWERED)


def stopping(why: StopFor = StopFor.TIMEOUT, stage: StopStage = StopStage.REQUESTED, **more: Any) -> StepRecord:
    """Return a step whose job is being stopped."""
    return step(stop_for=why.value, stop_attempt=1, stop_stage=stage.value, stop_since=NOW, **more)


def ended(kind: OutcomeKind, state: str) -> StopReport:
    """Return the report of a job that has ended."""
    outcome = Outcome(step_id="s", attempt=1, kind=kind, job_id="j", job_state=state)
    return StopReport(fate=JobFate.ENDED, outcome=outcome, job_state=state)


def test_a_mark_belongs_to_its_attempt() -> None:
    """What an earlier attempt left in the document means nothing for the next one."""
    marked = apply_change(step(), stop_after_timeout(step(), now=NOW))
    assert marked.being_stopped_for == StopFor.TIMEOUT
    later = apply_change(
        step(StepState.RETRYING, stop_for=marked.stop_for, stop_attempt=marked.stop_attempt, job_state="CANCELLED"),
        claim(step(StepState.RETRYING), now=NOW, lease=LIMIT),
    )
    assert later.being_stopped_for == ""


def test_the_acceptance_of_a_request_begins_the_wait() -> None:
    """A request that is accepted late still has all its time."""
    late = NOW + 2 * LIMIT
    found = judge_stop(stopping(), STILL, now=late, stop_timeout=LIMIT)
    assert isinstance(found, StepChange)
    assert (found.fields["stop_stage"], found.fields["stop_since"]) == (StopStage.ACCEPTED, late)
    again = apply_change(stopping(), found)
    assert judge_stop(again, STILL, now=late + LIMIT - SECOND, stop_timeout=LIMIT) is None
    outcome = judge_stop(again, STILL, now=late + LIMIT, stop_timeout=LIMIT)
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.reason, outcome.may_run) == (OutcomeKind.TIMED_OUT, NOT_STOPPED, True)


@pytest.mark.parametrize("kind", [OutcomeKind.CANCELLED, OutcomeKind.FAILED])
def test_the_end_of_a_stopped_job_is_a_timeout(kind: OutcomeKind) -> None:
    """Whoever reports how the job ended, an older checker too, the attempt has timed out."""
    report = ended(kind, kind.value.upper())
    outcome = judge_stop(stopping(), report, now=NOW, stop_timeout=LIMIT)
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.may_run, outcome.job_state) == (OutcomeKind.TIMED_OUT, False, kind.value.upper())
    assert report.outcome is not None
    applied = apply_outcome(stopping(), report.outcome, now=NOW)
    assert applied is not None
    assert "timed out" in applied.fields["message"]


@pytest.mark.parametrize("why", list(StopFor))
def test_a_success_counts_in_any_case(why: StopFor) -> None:
    """A job that succeeded while it was stopped has succeeded."""
    report = ended(OutcomeKind.SUCCEEDED, "SUCCEEDED")
    assert judge_stop(stopping(why), report, now=NOW + 2 * LIMIT, stop_timeout=LIMIT) is report.outcome
    assert report.outcome is not None
    applied = apply_outcome(stopping(why), report.outcome, now=NOW)
    assert applied is not None
    assert applied.state is StepState.SUCCEEDED


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind is not OutcomeKind.SUCCEEDED])
def test_closing_the_run_ends_a_step_that_it_stops(kind: OutcomeKind) -> None:
    """No other outcome ends the step, or begins another attempt."""
    outcome = Outcome(step_id="s", attempt=1, kind=kind, job_id="j", job_state="X", missing_since=NOW)
    assert apply_outcome(stopping(StopFor.RUN), outcome, now=NOW) is None


@pytest.mark.parametrize("fate", [JobFate.GONE, JobFate.CANNOT])
def test_a_run_need_not_wait_any_longer(fate: JobFate) -> None:
    """A job that is gone or cannot be stopped lets closing the run go on, and only the latter is listed."""
    found = judge_stop(stopping(StopFor.RUN), StopReport(fate=fate), now=NOW, stop_timeout=LIMIT)
    assert isinstance(found, StepChange)
    over = apply_change(stopping(StopFor.RUN), found)
    assert over.is_stop_over
    assert not waits_for_stop(over, now=NOW)
    assert stop_with_run(over, CANCEL, now=NOW) is None
    assert bool(over.unstopped) is (fate is JobFate.CANNOT)


def test_a_run_waits_for_half_a_minute() -> None:
    """The wait ends by itself, also if the clock that began it is wrong."""
    begun = stop_with_run(step(), CANCEL, now=NOW)
    assert begun is not None
    waiting = apply_change(step(), begun)
    assert waits_for_stop(waiting, now=NOW + RUN_WAIT - SECOND)
    assert not waits_for_stop(waiting, now=NOW + RUN_WAIT)
    assert not waits_for_stop(waiting, now=NOW - RUN_WAIT)
    assert judge_stop(waiting, SILENT, now=NOW + 9 * LIMIT, stop_timeout=LIMIT) is None
    assert stop_step(waiting, CANCEL, now=NOW).fields["unstopped"] == ("j",)


def test_a_run_takes_over_a_stop_that_has_begun() -> None:
    """A job that is stopped because of a timeout is waited for as long as any other, and not asked again."""
    begun = stop_with_run(stopping(stage=StopStage.ACCEPTED), CANCEL, now=NOW + LIMIT)
    assert begun is not None
    taken = apply_change(stopping(), begun)
    assert (taken.being_stopped_for, taken.stop_stage, taken.stop_since) == (
        StopFor.RUN,
        StopStage.ACCEPTED,
        NOW + LIMIT,
    )


def test_only_a_job_that_may_run_is_left_to_the_next_attempt() -> None:
    """What is known to have ended costs the next attempt nothing."""
    for state, left in [("RUNNING", "j"), ("CANCELLED", None), ("JOB_STATE_FAILED", None), ("", "j"), ("odd", "j")]:
        assert jobs_to_stop(step(job_state=state)) == (() if left is None else (left,))
    assert jobs_to_stop(step(job_id="", leftovers=("old",))) == ("old",)
    claimed = claim(step(StepState.RETRYING, job_state="RUNNING", stop_for="run"), now=NOW, lease=LIMIT)
    assert (claimed.fields["leftovers"], claimed.fields["stop_for"]) == (("j",), "")
    plain = claim(step(StepState.RETRYING, job_state="FAILED"), now=NOW, lease=LIMIT)
    assert not {"leftovers", "unresolved", "stop_attempt", "stop_since"} & set(plain.fields)
    again = reset(step(StepState.CANCELLED), remaining=0, kept=Counts(), retries=1, expire_at=None)
    assert again.fields["leftovers"] == ("j",)


def waiting_for(*old: str, **more: Any) -> StepRecord:
    """Return a claimed step that an earlier attempt left a job."""
    fields = {"job_id": "", "job_state": "", "leftovers": old or ("old",), "stop_attempt": 1, "stop_since": NOW, **more}
    return step(StepState.DISPATCHING, **fields)


def judge(one: StepRecord, report: StopReport, after: timedelta) -> StepChange | dict[str, Any]:
    """Judge a look at the job that was left."""
    return judge_leftover(one, report, now=NOW + after, stop_timeout=LIMIT, check_interval=10 * SECOND)


@pytest.mark.parametrize("fate", [JobFate.ENDED, JobFate.GONE, JobFate.CANNOT])
def test_an_attempt_begins_when_nothing_holds_it_back(fate: JobFate) -> None:
    """Its time begins then, and only a job that goes on stays in the list."""
    settled = judge(waiting_for(unstopped=("older", "old")), StopReport(fate=fate), LIMIT / 2)
    assert isinstance(settled, dict)
    assert (settled["leftovers"], settled["claimed_at"]) == ((), NOW + LIMIT / 2)
    assert settled.get("unstopped", ("older", "old")) == (("older", "old") if fate is JobFate.CANNOT else ("older",))


def test_an_attempt_is_put_off_while_an_earlier_job_stops() -> None:
    """It is no dispatcher's and has no deadline meanwhile."""
    waiting = judge(waiting_for(), STILL, timedelta(minutes=9))
    assert isinstance(waiting, StepChange)
    later = apply_change(waiting_for(), waiting)
    assert (later.state, later.answered, later.attempt_deadline) == (StepState.DISPATCHING, True, None)
    assert later.due_at is not None
    assert NOW + timedelta(minutes=9) < later.due_at <= NOW + timedelta(minutes=10)
    failed = judge(later, STILL, timedelta(minutes=19))
    assert isinstance(failed, StepChange)
    assert (failed.state, failed.fields["reason"], failed.fields["unstopped"]) == (
        StepState.FAILED,
        NOT_STOPPED,
        ("old",),
    )


def test_an_attempt_goes_on_if_no_one_answers() -> None:
    """After the stop timeout it is submitted, and the job is listed."""
    assert isinstance(judge(waiting_for(), SILENT, LIMIT - SECOND), StepChange)
    settled = judge(waiting_for(), SILENT, LIMIT)
    assert isinstance(settled, dict)
    assert (settled["leftovers"], settled["unstopped"]) == ((), ("old",))


def test_a_job_that_is_unknown_for_a_minute_is_gone() -> None:
    """A Task Runner may be slow to list a new job, so its word is not taken at once, unless it accepted the stop."""
    unknown = StopReport(fate=JobFate.UNKNOWN)
    waiting = judge(waiting_for(), unknown, SECOND)
    assert isinstance(waiting, StepChange)
    later = apply_change(waiting_for(), waiting)
    assert later.missing_since == NOW + SECOND
    assert isinstance(judge(later, unknown, MISSING_GRACE), StepChange)
    gone = judge(later, unknown, MISSING_GRACE + SECOND)
    assert isinstance(gone, dict)
    assert (gone["leftovers"], gone["missing_since"]) == ((), None)
    listed = judge(later, STILL, MISSING_GRACE)
    assert isinstance(listed, StepChange)
    assert listed.fields["missing_since"] is None


def test_a_new_job_that_is_unknown_holds_its_run_back() -> None:
    """When a run is closed, only a job that had time to be listed is gone if it is unknown."""
    unknown = StopReport(fate=JobFate.UNKNOWN)
    for age, held in [(timedelta(0), True), (timedelta(minutes=1), True), (timedelta(minutes=2), False)]:
        one = replace(stopping(StopFor.RUN), claimed_at=NOW - age)
        found = judge_stop(one, unknown, now=NOW, stop_timeout=LIMIT)
        assert (found is None) is held
    late = replace(stopping(StopFor.RUN), claimed_at=NOW - timedelta(hours=1), deferrals=3)
    assert judge_stop(late, unknown, now=NOW, stop_timeout=LIMIT) is None
    assert judge_stop(late, StopReport(fate=JobFate.GONE), now=NOW, stop_timeout=LIMIT) is not None


def test_several_jobs_may_be_left_and_end_one_after_the_other() -> None:
    """Each has the whole stop timeout, and the attempt is not submitted before the last of them has ended."""
    one = waiting_for("first", "second", stop_stage="accepted")
    settled = judge(one, StopReport(fate=JobFate.ENDED), timedelta(minutes=9))
    assert isinstance(settled, dict)
    later = replace(one, **settled)
    assert (later.leftovers, later.stop_stage, later.stop_since) == (("second",), "", NOW + timedelta(minutes=9))
    assert later.attempt_deadline is None
    assert jobs_to_stop(step(StepState.FAILED, leftovers=("old",), job_state="RUNNING")) == ("old", "j")
    many = tuple(f"j{i}" for i in range(MAX_LEFTOVERS))
    assert jobs_to_stop(step(StepState.FAILED, leftovers=many, job_id="new", job_state="RUNNING")) == (*many[1:], "new")


@pytest.mark.parametrize("state", [StepState.FAILED, StepState.CANCELLED])
def test_an_attempt_that_may_have_a_job_is_remembered_by_a_retry(state: StepState) -> None:
    """A reset and each later claim keep it until its job is known."""
    ended = step(state, job_id="", job_state="", unsure_attempt=1)
    again = apply_change(ended, reset(ended, remaining=0, kept=Counts(), retries=1, expire_at=None))
    assert (again.unresolved, again.unsure_attempt) == ((1,), 0)
    claimed = apply_change(again, claim(again, now=NOW, lease=LIMIT))
    assert (claimed.unresolved, claimed.awaits_earlier, claimed.attempt_deadline) == ((1,), True, None)
    known = replace(ended, job_id="j", job_state="FAILED")
    assert reset(known, remaining=0, kept=Counts(), retries=1, expire_at=None).fields.get("unresolved") is None


def test_the_job_that_an_attempt_failed_beside_is_not_its_own() -> None:
    """An attempt that may have been submitted before is remembered, although the step names the job it waited for."""
    since = NOW - LIMIT
    waiting = waiting_for(attempt=2, unsure_attempt=2, stop_attempt=2, stop_since=since, stop_stage="accepted")
    failed = judge(waiting, STILL, timedelta(0))
    assert isinstance(failed, StepChange)
    beside = apply_change(waiting, failed)
    assert (beside.state, beside.reason, beside.job_id) == (StepState.FAILED, NOT_STOPPED, "old")
    again = apply_change(beside, reset(beside, remaining=0, kept=Counts(), retries=1, expire_at=None))
    assert (again.leftovers, again.unresolved) == (("old",), (2,))


@pytest.mark.parametrize(("job_id", "left"), [("found", ("found",)), ("", ())])
def test_the_wait_for_what_was_found_begins_anew(job_id: str, left: tuple[str, ...]) -> None:
    """A job that was found late has the whole stop timeout, and so has the next attempt that is looked for."""
    one = waiting_for(leftovers=(), unresolved=(1, 2), stop_attempt=3, attempt=3)
    late = NOW + LIMIT - SECOND
    settled = judge_unresolved(one, job_id=job_id, now=late, longest=LIMIT, check_interval=10 * SECOND)
    assert isinstance(settled, dict)
    assert (settled.get("leftovers", ()), settled["unresolved"], settled["stop_since"]) == (left, (2,), late)


@pytest.mark.parametrize("job_id", ["found", "", None])
def test_looking_for_a_job_does_not_delay_later_submissions(job_id: str | None) -> None:
    """Only submissions that failed count towards the wait before the next one."""
    one = waiting_for(leftovers=(), unresolved=(1,), deferrals=9)
    settled = judge_unresolved(one, job_id=job_id, now=NOW + LIMIT, longest=LIMIT, check_interval=10 * SECOND)
    assert isinstance(settled, dict)
    assert settled["deferrals"] == 0


def test_silence_delays_an_attempt_once() -> None:
    """Attempts that could not be looked for in time are given up together, also with `onLost: fail`."""
    one = waiting_for(leftovers=(), unresolved=(1, 2))
    settled = judge_unresolved(one, job_id=None, now=NOW + LIMIT, longest=LIMIT, check_interval=10 * SECOND)
    assert isinstance(settled, dict)
    given_up = judge_unresolved(
        replace(one, **settled), job_id=None, now=NOW + LIMIT, longest=LIMIT, check_interval=10 * SECOND
    )
    assert isinstance(given_up, dict)
    assert given_up["unresolved"] == ()


def test_an_attempt_is_looked_for_as_long_after_the_last_known_job() -> None:
    """The time that a known job took is not taken from the time to look for another."""
    one = waiting_for(unresolved=(1,), stop_stage="accepted")
    settled = judge(one, StopReport(fate=JobFate.ENDED), timedelta(minutes=9))
    assert isinstance(settled, dict)
    later = replace(one, **settled)
    assert (later.leftovers, later.unresolved) == ((), (1,))
    assert (later.stop_stage, later.stop_since) == ("", NOW + timedelta(minutes=9))


def test_a_job_that_is_reported_late_is_left_beside_others() -> None:
    """A step may have left two jobs: its last one, and one of an earlier attempt whose answer came late."""
    one = step(StepState.CANCELLED, attempt=3, job_state="RUNNING", unresolved=(1, 2))
    late = replace(one, **record_orphan(one, 1, "late"))
    assert (jobs_to_stop(late), late.unresolved) == (("late", "j"), (2,))
    assert record_orphan(late, 1, "late")["leftovers"] == ("late",)
    unsure = step(StepState.CANCELLED, job_id="", unsure_attempt=1)
    assert record_orphan(unsure, 1, "late")["unsure_attempt"] == 0


def test_a_step_that_is_stopped_while_it_is_submitted_may_have_a_job() -> None:
    """Only if a dispatcher is at it, or died before it could record an answer."""
    for answered, unsure in [(False, 1), (True, None)]:
        stopped = stop_step(step(StepState.DISPATCHING, job_id="", answered=answered), CANCEL, now=NOW)
        assert stopped.fields.get("unsure_attempt") == unsure


def test_the_list_of_jobs_that_did_not_stop_is_bounded() -> None:
    """The latest ten are kept, each once."""
    many = tuple(f"j{i}" for i in range(MAX_UNSTOPPED))
    settled = judge(waiting_for(unstopped=many), StopReport(fate=JobFate.CANNOT), SECOND)
    assert isinstance(settled, dict)
    assert settled["unstopped"] == (*many[1:], "old")
    settled = judge(waiting_for(unstopped=("old",)), StopReport(fate=JobFate.CANNOT), SECOND)
    assert isinstance(settled, dict)
    assert "unstopped" not in settled


# -- hints -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "attempt", "verdict"),
    [
        (step(), 1, Verdict.ASK),
        (step(), 2, Verdict.IGNORE),
        (step(hinted_at=NOW - HINT_GAP), 1, Verdict.ASK),
        (step(hinted_at=NOW - HINT_GAP + SECOND), 1, Verdict.IGNORE),
        (step(hinted_at=NOW + HINT_GAP - SECOND), 1, Verdict.IGNORE),
        (step(hinted_at=NOW + HINT_GAP), 1, Verdict.ASK),
        (step(StepState.DISPATCHING, answered=False, due_at=NOW + SECOND), 1, Verdict.COME_AGAIN),
        (step(StepState.DISPATCHING, answered=True, due_at=NOW + SECOND), 1, Verdict.IGNORE),
        (step(StepState.DISPATCHING, answered=False, due_at=NOW), 1, Verdict.IGNORE),
        *((step(state), 1, Verdict.IGNORE) for state in StepState if state.is_terminal),
        (step(StepState.RETRYING), 1, Verdict.IGNORE),
        (step(StepState.PENDING), 1, Verdict.IGNORE),
    ],
)
def test_what_a_hint_is_worth(one: StepRecord, attempt: int, verdict: Verdict) -> None:
    """Only a hint about a running job is acted on, and only now and then."""
    assert judge_hint(one, attempt, now=NOW) is verdict


def test_the_look_after_a_hint_stays() -> None:
    """Neither the hint's own poll nor another one puts it off; the look itself does, for five minutes."""
    taken = apply_change(step(notifies=True, claimed_at=NOW + timedelta(minutes=1)), take_hint(step(), now=NOW))
    interval = timedelta(seconds=10)
    assert next_look(taken, now=NOW + SECOND, check_interval=interval) == NOW + HINT_GAP
    assert with_next_look(taken, None, now=NOW + SECOND, check_interval=interval) is None
    later = with_next_look(taken, None, now=NOW + HINT_GAP, check_interval=interval)
    assert later is not None
    assert later.fields["due_at"] == NOW + HINT_GAP + NOTIFIED_POLL
