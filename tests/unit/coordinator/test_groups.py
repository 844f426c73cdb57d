"""Only so many runs of a group are at work, and each of the others waits, begins or is skipped as its file says."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.preparation import Refusal
from atom_workflows.coordinator.repair import examine
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import SCHEMA_OF_LOOP_RUNS, group_path, run_path, step_path
from atom_workflows.errors import RunStateError
from atom_workflows.messages.start import read_start_event
from support import groups
from support.commands import cancel_run, retry_run
from support.groups import PATH, at_work, in_state, limited, runs_of
from support.workflows import chain

SLOW = "rules: [{step: s0, duration: 100}]"
FOREVER = "rules: [{step: s0, duration: 1000000}]"
HOUR = timedelta(hours=1)


def start(world: World, definition: str, number: int, **body: Any) -> str:
    """Start a run a second after the one before, and deliver what it published."""
    world.clock.move(timedelta(seconds=1))
    run_id = groups.start(world, definition, f"key-{number}", **body)
    world.settle_down()
    return run_id


def pass_time(world: World, by: timedelta, *, every: timedelta = timedelta(seconds=10)) -> None:
    """Let time pass with a tick now and then."""
    ends_at = world.clock.now() + by
    while world.clock.now() < ends_at:
        world.clock.move(every)
        world.tick()


def reports_of(world: World, run_id: str) -> list[str]:
    """Return the states of a run in the order in which they were published."""
    changes = [change for message in world.changes() for change in message.body["changes"]]
    return [change["state"] for change in changes if change.get("run") == run_id]


def test_runs_begin_one_after_the_other_in_the_order_of_their_starts() -> None:
    """With a limit of one, the next run in line begins as soon as one has ended, and all of them run."""
    world = World(SLOW)
    ids = [start(world, limited(2), number) for number in range(4)]
    assert [world.run(run_id).state for run_id in ids] == [RunState.RUNNING, *[RunState.QUEUED] * 3]
    most = 0
    for _ in range(60):
        pass_time(world, timedelta(seconds=10))
        most = max(most, len(at_work(runs_of(world).values())))
    runs = [world.run(run_id) for run_id in ids]
    assert [run.state for run in runs] == [RunState.SUCCEEDED] * 4
    assert most == 1
    for before, after in pairwise(runs):
        assert before.finished_at is not None
        assert after.started_at is not None
        assert timedelta(0) <= after.started_at - before.finished_at < timedelta(seconds=10)
    assert all(run.schema == SCHEMA_OF_LOOP_RUNS for run in runs)
    assert reports_of(world, ids[1]) == ["QUEUED", "SEEDING", "RUNNING", "SUCCEEDED"]


def test_as_many_runs_as_the_limit_are_at_work() -> None:
    """With a limit of three, three of five runs are at work."""
    world = World(SLOW)
    for number in range(5):
        start(world, limited(limit=3), number)
    assert len(in_state(world, RunState.RUNNING)) == 3
    assert len(in_state(world, RunState.QUEUED)) == 2


def test_groups_and_files_are_counted_apart() -> None:
    """Runs of another group, or of another file with the same group, do not wait for each other."""
    world = World(SLOW)
    text = json.loads(limited(group="${{ params.region }}")) | {"params": {"region": "eu"}}
    definition = json.dumps(text)
    first = start(world, definition, 1)
    assert world.run(first).group is not None
    other = start(world, definition, 2, params={"region": "us"})
    same = start(world, definition, 3, params={"region": "eu"})
    elsewhere = start(world, definition, 4, workflow_path="gs://b/other.yaml")
    states = [world.run(run_id).state for run_id in (first, other, same, elsewhere)]
    assert states == [RunState.RUNNING, RunState.RUNNING, RunState.QUEUED, RunState.RUNNING]


def test_a_run_beyond_max_queued_is_skipped_with_the_reason() -> None:
    """A full queue skips the newest run, which never has any steps."""
    world = World(SLOW)
    ids = [start(world, limited(maxQueued=2), number) for number in range(4)]
    skipped = world.run(ids[-1])
    assert skipped.state is RunState.SKIPPED
    assert skipped.because == (
        "1 run in its group was in progress, the most that `limit` allows, "
        "and 2 were waiting, the most that `maxQueued` allows"
    )
    assert world.steps(ids[-1]) == {}
    assert skipped.finished_at is not None
    assert len(in_state(world, RunState.QUEUED)) == 2
    reported = [change for message in world.changes() for change in message.body["changes"]]
    assert [one["because"] for one in reported if one.get("run") == ids[-1]] == [skipped.because]


def test_a_run_that_waits_too_long_is_skipped() -> None:
    """After `maxWait`, the checker skips a waiting run, and the others wait on."""
    world = World(FOREVER)
    start(world, limited(maxWait="1h"), 1)
    waiting = start(world, limited(maxWait="1h"), 2)
    later = start(world, limited(maxWait="3h"), 3)
    pass_time(world, HOUR + timedelta(minutes=1), every=timedelta(minutes=1))
    run = world.run(waiting)
    assert (run.state, run.because) == (RunState.SKIPPED, "it waited for 1h, the longest that `maxWait` allows")
    assert run.queued_at is not None
    assert run.finished_at is not None
    assert HOUR <= run.finished_at - run.queued_at <= HOUR + timedelta(minutes=1)
    assert world.run(later).state is RunState.QUEUED
    assert {step.state for step in world.steps(waiting).values()} == {StepState.SKIPPED}
    assert all(step.due_at is None for step in world.steps(waiting).values())


def test_only_the_latest_run_waits() -> None:
    """Under `latest`, a newer run takes the place of the one that waits, which is skipped and names it."""
    world = World(SLOW)
    ids = [start(world, limited(whenFull="latest"), number) for number in range(4)]
    assert [world.run(run_id).state for run_id in ids] == [
        RunState.RUNNING,
        RunState.SKIPPED,
        RunState.SKIPPED,
        RunState.QUEUED,
    ]
    assert world.run(ids[1]).because == f"replaced by {ids[2]}"
    assert world.run(ids[2]).because == f"replaced by {ids[3]}"
    pass_time(world, timedelta(seconds=240))
    assert world.run(ids[3]).state is RunState.SUCCEEDED


def test_a_full_group_skips_new_runs() -> None:
    """Under `skip`, a run that finds no place is skipped, and a later one finds the place again."""
    world = World(SLOW)
    first, second = (start(world, limited(whenFull="skip", limit=1), number) for number in range(2))
    assert world.run(second).because == "1 run in its group was in progress, the most that `limit` allows"
    pass_time(world, timedelta(seconds=120))
    assert world.run(first).state is RunState.SUCCEEDED
    third = start(world, limited(whenFull="skip"), 3)
    assert world.run(third).state is RunState.RUNNING


def test_cancelling_a_waiting_run_ends_it_at_once() -> None:
    """A cancelled run leaves the line without having started, and those behind it move up."""
    world = World(SLOW)
    _, second, third = (start(world, limited(), number) for number in range(3))
    cancel_run(world.services, second)
    assert world.run(second).state is RunState.CANCELLED
    assert world.run(second).started_at is None
    pass_time(world, timedelta(seconds=110))
    assert world.run(third).state is RunState.RUNNING
    assert world.submissions() == ["s0/1", "s0/1"]


def test_cancelling_the_run_at_work_lets_the_next_one_begin() -> None:
    """The commit that cancels a run gives its place to the first in line."""
    world = World(FOREVER)
    first, second, third = (start(world, limited(), number) for number in range(3))
    cancel_run(world.services, first)
    world.settle_down()
    states = [world.run(run_id).state for run_id in (first, second, third)]
    assert states == [RunState.CANCELLED, RunState.RUNNING, RunState.QUEUED]


def test_a_timeout_counts_from_the_real_start() -> None:
    """A run may wait for longer than its timeout, and then has all of it."""
    world = World(FOREVER)
    definition = json.dumps(json.loads(limited()) | {"timeout": "10m"})
    first, second = (start(world, definition, number) for number in range(2))
    assert world.run(second).deadline is None
    pass_time(world, timedelta(minutes=11))
    waited = world.run(second)
    assert (world.run(first).state, waited.state) == (RunState.FAILED, RunState.RUNNING)
    assert waited.started_at is not None
    assert waited.deadline is not None
    assert timedelta(minutes=9) < waited.deadline - waited.started_at <= timedelta(minutes=10)
    pass_time(world, timedelta(minutes=8))
    assert world.run(second).state is RunState.RUNNING
    pass_time(world, timedelta(minutes=3))
    assert world.run(second).state is RunState.FAILED


def test_a_waiting_run_starts_from_its_own_copy_of_the_file() -> None:
    """A run begins as it was asked for, though its file has been deleted while it waited."""
    world = World(SLOW)
    ids = [start(world, limited(), number) for number in range(2)]
    world.files.content.clear()
    pass_time(world, timedelta(seconds=300))
    assert [world.run(run_id).state for run_id in ids] == [RunState.SUCCEEDED] * 2


def test_a_large_run_waits_and_is_seeded_in_stages() -> None:
    """A run of more steps than fit into a commit takes a place like any other."""
    world = World(SLOW)
    first, second = (start(world, limited(300), number) for number in range(2))
    assert world.run(second).state is RunState.QUEUED
    assert len(world.steps(second)) == 1
    cancel_run(world.services, first)
    world.settle_down()
    assert world.run(second).state is RunState.RUNNING
    assert len(world.states(second)) == 300


def test_a_redelivered_start_gets_the_same_answer_and_no_second_place() -> None:
    """Whatever has become of a run, its start message starts nothing else when it comes again."""
    world = World(SLOW)
    for number in (0, 1, 2, 0, 1, 2):
        start(world, limited(maxQueued=1), number)
    assert sorted(run.state for run in runs_of(world).values()) == [
        RunState.QUEUED,
        RunState.RUNNING,
        RunState.SKIPPED,
    ]
    pass_time(world, timedelta(seconds=300))
    for number in (0, 1, 2):
        start(world, limited(maxQueued=1), number)
    assert len(in_state(world, RunState.SUCCEEDED)) == 2
    assert len(world.submissions()) == 2


def test_an_invalid_run_takes_no_place() -> None:
    """A run whose group cannot be computed is INVALID, and others begin beside it."""
    world = World(SLOW)
    text = json.loads(limited(group="${{ params.region[0] }}")) | {"params": {"region": {"type": ["text"]}}}
    asked = {"definition": json.dumps(text), "workflow_path": PATH, "run_key": "bad", "params": {"region": []}}
    started = handle_start(world.services, read_start_event(asked, event_id="bad"))
    assert started.refusal is Refusal.INVALID
    assert "`concurrency.group` (line 1) cannot be evaluated" in started.problems[0]["message"]
    assert world.run(start(world, limited(), 1)).state is RunState.RUNNING
    text["params"] = {"region": {"type": "text"}}
    text["concurrency"] = {"group": "${{ params.region }}"}
    asked |= {"definition": json.dumps(text), "params": {"region": "x" * 201}}
    problem = handle_start(world.services, read_start_event(asked, event_id="bad")).problems[0]["message"]
    assert problem == "the value of `concurrency.group` has 201 characters, more than the 200 allowed"


def test_a_run_that_need_not_queue_begins_beside_the_others() -> None:
    """With `no_queue`, a run begins though the group is full, and others wait for it as well."""
    world = World(SLOW)
    start(world, limited(), 1)
    urgent = start(world, limited(), 2, no_queue=True)
    waiting = start(world, limited(), 3)
    assert (world.run(urgent).state, world.run(urgent).no_queue) == (RunState.RUNNING, True)
    assert world.run(waiting).state is RunState.QUEUED
    again = read_start_event({"workflow_path": PATH, "run_key": "key-2"}, event_id="again")
    answer = handle_start(world.services, again)
    assert answer.refusal is Refusal.KEY_IN_USE
    assert "no_queue" in answer.problems[0]["message"]
    pass_time(world, timedelta(seconds=250))
    assert len(in_state(world, RunState.SUCCEEDED)) == 3


def test_no_queue_without_a_limit_is_a_warning() -> None:
    """A run of a file without a limit says that `no_queue` has no effect."""
    world = World()
    run = world.run(start(world, chain(1), 1, no_queue=True))
    assert run.warnings == ("no_queue was given, but the file does not limit its runs, so none of them waits",)
    assert run.group is None


def failed_then_full(policy: str, **concurrency: Any) -> tuple[World, str, str]:
    """Return a world in which one run has failed and another is at work."""
    world = World("rules: [{step: s0, fail_times: 1, duration: 30}]")
    failed = start(world, limited(whenFull=policy, **concurrency), 1)
    pass_time(world, timedelta(seconds=60))
    assert world.run(failed).state is RunState.FAILED
    return world, failed, start(world, limited(whenFull=policy, **concurrency), 2)


def test_a_retry_waits_in_the_queue() -> None:
    """Under `queue`, a retry waits for its place like a start, and then goes on from what failed."""
    world, failed, other = failed_then_full("queue")
    retry_run(world.services, failed)
    world.settle_down()
    assert world.run(failed).state is RunState.QUEUED
    assert world.run(other).state is RunState.RUNNING
    pass_time(world, timedelta(seconds=120))
    assert world.run(failed).state is RunState.SUCCEEDED
    assert world.run(failed).retries == 1


@pytest.mark.parametrize("policy", ["latest", "skip"])
def test_a_retry_is_refused_while_its_group_is_full(policy: str) -> None:
    """Under `latest` and `skip`, a retry says why it cannot begin, and changes nothing."""
    world, failed, _ = failed_then_full(policy)
    with pytest.raises(RunStateError, match="cannot be retried now: 1 run in its group was in progress"):
        retry_run(world.services, failed)
    assert world.run(failed).state is RunState.FAILED
    assert world.run(failed).retries == 0
    pass_time(world, timedelta(seconds=120))
    retry_run(world.services, failed)
    assert world.run(failed).state is RunState.RUNNING


def test_a_retry_is_refused_if_the_queue_is_full() -> None:
    """A retry takes no place in line that a start would not get."""
    world, failed, _ = failed_then_full("queue", maxQueued=1)
    start(world, limited(maxQueued=1), 3)
    with pytest.raises(RunStateError, match="and 1 was waiting, the most"):
        retry_run(world.services, failed)


def test_a_retry_that_waited_too_long_leaves_the_run_failed() -> None:
    """A run that has run before is not SKIPPED; it is FAILED with the reason, and can be retried again."""
    world, failed, other = failed_then_full("queue", maxWait="2m")
    world.task_runner.jobs.script = World(FOREVER).task_runner.jobs.script
    cancel_run(world.services, other)
    blocking = start(world, limited(maxWait="2m"), 3)
    retry_run(world.services, failed)
    assert world.run(failed).state is RunState.QUEUED
    pass_time(world, timedelta(minutes=4))
    run = world.run(failed)
    assert run.state is RunState.FAILED
    assert run.errors[0]["message"] == ("its retry did not begin: it waited for 2m, the longest that `maxWait` allows")
    cancel_run(world.services, blocking)
    retry_run(world.services, failed)
    world.settle_down()
    assert world.run(failed).state is RunState.RUNNING


def test_a_cancelled_waiting_run_can_be_retried() -> None:
    """A run that was cancelled in line is started by a retry, from its own copy of the file."""
    world = World(SLOW)
    first, second = (start(world, limited(2), number) for number in range(2))
    cancel_run(world.services, second)
    retry_run(world.services, second)
    assert world.run(second).state is RunState.QUEUED
    pass_time(world, timedelta(seconds=400))
    assert [world.run(one).state for one in (first, second)] == [RunState.SUCCEEDED] * 2


def test_a_skipped_run_cannot_be_retried() -> None:
    """A retry of a run that never started says what to do instead."""
    world = World(SLOW)
    _, second = (start(world, limited(whenFull="skip"), number) for number in range(2))
    with pytest.raises(RunStateError, match=r"is SKIPPED.*start its workflow again"):
        retry_run(world.services, second)


def test_deleting_the_run_at_work_gives_its_place_back() -> None:
    """A run whose documents someone has deleted holds up no one."""
    world = World(FOREVER)
    first, second = (start(world, limited(), number) for number in range(2))
    world.store.inner.delete(run_path(first), *(step_path(first, name) for name in world.steps(first)))
    pass_time(world, timedelta(minutes=2))
    assert world.run(second).state is RunState.RUNNING


def test_deleting_the_guard_of_a_group_changes_nothing() -> None:
    """If the group's own document expires, places are kept, and the next to give one away creates it again."""
    world = World(SLOW)
    first, second = (start(world, limited(), number) for number in range(2))
    group = world.run(first).group
    assert group is not None
    world.store.inner.delete(group_path(group.id))
    third = start(world, limited(), 3)
    assert [world.run(one).state for one in (second, third)] == [RunState.QUEUED] * 2
    pass_time(world, timedelta(seconds=350))
    assert len(in_state(world, RunState.SUCCEEDED)) == 3


def test_a_run_without_its_end_does_not_hold_up_the_line() -> None:
    """A waiting run whose documents are incomplete is skipped when its turn comes."""
    world = World(SLOW)
    _, second, third = (start(world, limited(), number) for number in range(3))
    world.store.inner.delete(step_path(second, "~end"))
    assert examine(world.services, second, fixing=False).open_work == (
        "its end node is missing, so the checker cannot find it"
    )
    pass_time(world, timedelta(seconds=130))
    assert world.run(second).state is RunState.SKIPPED
    assert "incomplete" in world.run(second).because
    assert world.run(third).state is RunState.RUNNING


def test_a_lower_limit_of_a_newer_file_is_that_of_its_own_runs() -> None:
    """Each run begins while fewer runs than its own file allows are at work, and none overtakes another."""
    world = World(FOREVER)
    first, second = (start(world, limited(limit=2), number) for number in range(2))
    third = start(world, limited(limit=1), 3)
    fourth = start(world, limited(limit=9), 4)
    assert [world.run(one).state for one in (third, fourth)] == [RunState.QUEUED] * 2
    cancel_run(world.services, first)
    world.settle_down()
    assert [world.run(one).state for one in (third, fourth)] == [RunState.QUEUED] * 2
    cancel_run(world.services, second)
    pass_time(world, timedelta(minutes=6))
    assert [world.run(one).state for one in (third, fourth)] == [RunState.RUNNING] * 2


def test_the_doctor_gives_a_free_place_away() -> None:
    """A run that waits beside a free place is found by the doctor, who lets it begin."""
    world = World(FOREVER)
    first, second = (start(world, limited(), number) for number in range(2))
    world.store.inner.delete(run_path(first), *(step_path(first, name) for name in world.steps(first)))
    world.clock.move(timedelta(minutes=3))
    found = examine(world.services, second, fixing=True)
    assert found.open_work == "there is a free place in its group, but no run has been given it"
    world.settle_down()
    assert world.run(second).state is RunState.RUNNING
