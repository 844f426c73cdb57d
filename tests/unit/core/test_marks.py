"""What a person may decide about the end of a step, in each state of the step and of its run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from atom_workflows.core.changes import apply_change
from atom_workflows.core.counts import Counts, count_end
from atom_workflows.core.endings import end_without_job, reset
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.marks import Effect, Mark, judge_mark, put_mark, read_mark, require_markable
from atom_workflows.core.records import RunRecord, StepRecord, Stop, StopKind
from atom_workflows.core.states import RunState, StepEvent, StepState
from atom_workflows.core.user_changes import UserChange
from atom_workflows.errors import MarkError, RunContended, RunStateError
from compatibility.written import PLAIN_STEP

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
BY_ANA: Final = UserChange(at=NOW, actor="ana", what="mark s succeeded", why="by hand")
STEP: Final = replace(PLAIN_STEP, id="s", kind=NodeKind.JOB, remaining=0, depends_on=("a",), job_id="j", attempt=1)
RUN: Final = RunRecord(id="r", workflow="w", state=RunState.RUNNING, created_at=NOW, started_at=NOW)


def step(state: StepState = StepState.PENDING, **fields: Any) -> StepRecord:
    """Return a step."""
    return replace(STEP, state=state, **fields)


def judge(run: RunRecord, of_step: StepRecord, state: StepState) -> Effect:
    """Determine a mark's immediate effect, as the coordinator does."""
    require_markable(run, now=NOW)
    return judge_mark(run, of_step, state, expander=None)


@pytest.mark.parametrize(
    ("of_run", "of_step", "effect"),
    [
        (RunState.RUNNING, step(remaining=1), Effect.WAITS),
        (RunState.RUNNING, step(), Effect.ENDS),
        (RunState.RUNNING, step(StepState.RETRYING), Effect.ENDS),
        (RunState.RUNNING, step(StepState.DISPATCHING, answered=True), Effect.ENDS),
        (RunState.RUNNING, step(StepState.DISPATCHING), RunContended),
        (RunState.RUNNING, step(StepState.RUNNING), Effect.STOPS_JOB),
        *[(RunState.RUNNING, step(state), MarkError) for state in StepState if state.is_terminal],
        (RunState.FAILED, step(StepState.FAILED), Effect.REOPENS),
        (RunState.CANCELLED, step(StepState.CANCELLED), Effect.REOPENS),
        (RunState.FAILED, step(StepState.SKIPPED), Effect.REOPENS),
        (RunState.SUCCEEDED, step(StepState.SKIPPED, by_choice=True), Effect.REOPENS),
        (RunState.FAILED, step(StepState.SUCCEEDED), MarkError),
        (RunState.QUEUED, step(), RunStateError),
        (RunState.SEEDING, step(), RunStateError),
        (RunState.INVALID, step(), RunStateError),
    ],
)
def test_what_a_mark_does_first(of_run: RunState, of_step: StepRecord, effect: Effect | type[Exception]) -> None:
    """That depends on the states of the run and of the step alone."""
    run = replace(RUN, state=of_run)
    if isinstance(effect, Effect):
        assert judge(run, of_step, StepState.SUCCEEDED) is effect
        return
    with pytest.raises(effect):
        judge(run, of_step, StepState.SUCCEEDED)


def test_what_is_refused_for_other_reasons() -> None:
    """A run that is being ended or never began, and a step that is skipped already."""
    stop = Stop(kind=StopKind.CANCEL, reason="enough", requested_at=NOW)
    for run in (replace(RUN, stop=stop), replace(RUN, state=RunState.CANCELLED, started_at=None)):
        with pytest.raises(RunStateError):
            judge(run, step(StepState.PENDING), StepState.SKIPPED)
    with pytest.raises(MarkError, match="already SKIPPED"):
        judge(RUN, step(StepState.SKIPPED, by_choice=True), StepState.SKIPPED)


@pytest.mark.parametrize("state", [StepState.SUCCEEDED, StepState.SKIPPED])
def test_a_mark_decides_before_trigger_and_counters(state: StepState) -> None:
    """Even behind a failure, which stays a stain on the run."""
    waiting = step(remaining=1)
    marked = apply_change(waiting, put_mark(waiting, Mark.of(state, BY_ANA), now=NOW))
    assert (marked.state, end_without_job(marked, now=NOW)) == (StepState.PENDING, None)
    released = replace(marked, remaining=0, unsuccessful=1, cause="a")
    change = end_without_job(released, now=NOW)
    assert change is not None
    ended = apply_change(released, change)
    assert (ended.state, ended.by_choice, ended.cause) == (state, state is StepState.SKIPPED, None)
    counts = count_end(ended)
    assert (counts.unsuccessful, counts.skipped, counts.stained) == (0, int(state is StepState.SKIPPED), 1)


def test_a_mark_holds_in_its_round_only() -> None:
    """A reset for that round keeps it, and any other forgets it once it has taken effect."""
    mark = Mark.of(StepState.SUCCEEDED, BY_ANA)._replace(retries=2)
    failed = step(StepState.FAILED, mark=mark.stored(), retries=1)
    assert read_mark(failed) is None
    for retries, kept in ((2, mark), (3, mark._replace(retries=3))):
        change = reset(failed, remaining=0, kept=Counts(), retries=retries, expire_at=None)
        assert read_mark(apply_change(failed, change)) == kept
    ended = step(StepState.SUCCEEDED, mark=mark.stored(), retries=2)
    assert apply_change(ended, reset(ended, remaining=0, kept=Counts(), retries=3, expire_at=None)).mark is None


def test_the_texts_of_a_mark_are_cut() -> None:
    """As those of any change that a person made."""
    long = UserChange(at=NOW, actor="a" * 900, what="mark", why="b\n" * 900)
    mark = Mark.of(StepState.SKIPPED, long)
    assert (len(mark.actor), len(mark.why)) == (200, 500)
    assert mark.is_same(mark._replace(at=NOW.replace(year=2027), outputs="{}"))
    assert not mark.is_same(mark._replace(why=""))


def test_a_running_step_is_marked_and_its_job_is_to_be_stopped() -> None:
    """It stays RUNNING until then."""
    change = put_mark(step(StepState.RUNNING), Mark.of(StepState.SUCCEEDED, BY_ANA), now=NOW)
    assert (change.event, change.state) == (StepEvent.MARK, StepState.RUNNING)
    assert (change.fields["stop_for"], change.fields["due_at"]) == ("mark", NOW)
