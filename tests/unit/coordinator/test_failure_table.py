"""ARCHITECTURE.md's table of what a death leaves behind, row by row.

Every handler here dies at one place and its event is never delivered again, unless the test says otherwise: that is
the worst case, in which the checker has to find what was left. It looks every ten seconds, as its bursts do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from atom_emulator.testing.world import START, World
from atom_workflows.coordinator import batches
from atom_workflows.coordinator.checker import due_steps
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.hints import handle_hint
from atom_workflows.coordinator.checker.rounds import begin_round, load_round
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.core.records import RunRecord
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState
from atom_workflows.documents import BURST_LEASE_PATH, RUNS, run_path, step_path
from atom_workflows.expressions.types import INT
from atom_workflows.messages.internal import JobEnded, Tick, read_steps_event, seed_message
from atom_workflows.ports import Query
from atom_workflows.run_documents import run_record
from support import groups, loops
from support.commands import cancel_run, mark_step, retry_run
from support.gauge import lose
from support.meanwhile import refuse
from support.mortal import Died, Fate, make_mortal
from support.retention import expiries
from support.workflows import chain, definition, fan

T = TypeVar("T")

LOOK = timedelta(seconds=10)
NEXT_LOOK = timedelta(seconds=20)
FIRST_AUDIT = timedelta(seconds=60) + LOOK
LEASE = timedelta(seconds=180) + LOOK
AUDIT = timedelta(minutes=5) + LOOK
SLOW = "default: {duration: 1000}"
PAGE = Path(__file__).parents[3] / "ARCHITECTURE.md"


@dataclass(slots=True)
class At(Fate):
    """Kills at the `nth` call of that name, after it took effect unless `after` is False."""

    name: str = ""
    nth: int = 1

    def live(self, name: str, call: Callable[[], T]) -> T:
        """See `Fate.live`."""
        is_it = name == self.name and self.calls.count(name) == self.nth - 1
        self.fatal = len(self.calls) + 1 if is_it else 0
        return super(At, self).live(name, call)


def dies(world: World, work: Callable[[], object], name: str, nth: int = 1, *, after: bool = True) -> None:
    """Do the work until that call kills it."""
    services = world.services
    make_mortal(world, At(name=name, nth=nth, after=after))
    with pytest.raises(Died):
        work()
    world.services = services


def delivered(world: World) -> Callable[[], object]:
    """Return the delivery of the one event of topic `steps`, which never comes again."""
    (taken,) = world.bus.take_all("steps")
    world.bus.ack(taken)
    return lambda: handle_steps(world.services, read_steps_event(taken.body))


def time_until(world: World, is_reached: Callable[[], bool]) -> timedelta:
    """Return the time until the checker gets there, at most half an hour."""
    began = world.clock.now()
    while not is_reached() and world.clock.now() - began < timedelta(minutes=30):
        world.clock.move(LOOK)
        world.tick()
    return world.clock.now() - began


def has_ended(world: World, run_id: str, state: RunState = RunState.SUCCEEDED) -> Callable[[], bool]:
    """Return True if the run has come to that end."""
    return lambda: world.run(run_id).state is state


def seeded_in_batches(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a workflow that takes several commits to seed."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 3)
    return definition({f"s{number}": [] for number in range(10)})


def id_of_run() -> str:
    """Return the id of the run that `World.start` starts."""
    return run_id_for("flow.yaml", "key", "test")


def test_start_dies_before_it_wrote_anything() -> None:
    """Nothing is left, and the redelivered event starts the run."""
    world = World()
    dies(world, lambda: world.start(chain(1)), "commit", after=False)
    run_id = world.start(chain(1))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize("commits", [1, 2, 3, 4])
def test_start_dies_while_a_large_run_is_seeded(commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first audit has a half-seeded run finished."""
    world = World()
    workflow = seeded_in_batches(monkeypatch)
    dies(world, lambda: world.start(workflow), "commit", commits)
    run_id = id_of_run()
    assert world.run(run_id).state is RunState.SEEDING
    assert 1 <= len(world.steps(run_id)) < 12
    assert time_until(world, has_ended(world, run_id)) <= FIRST_AUDIT + LOOK
    assert sorted(world.submissions()) == [f"s{number}/1" for number in range(10)]


def test_start_dies_before_it_published_the_roots() -> None:
    """The first audit publishes roots that were not published."""
    world = World()
    dies(world, lambda: world.start(chain(2)), "publish", after=False)
    run_id = id_of_run()
    assert world.run(run_id).state is RunState.RUNNING
    assert time_until(world, has_ended(world, run_id)) <= FIRST_AUDIT


@pytest.mark.parametrize(("call", "submissions"), [("commit", 1), ("submit", 2)])
def test_dispatch_dies_after_the_claim_or_the_submission(call: str, submissions: int) -> None:
    """After its lease the attempt is submitted with the same key."""
    world = World()
    run_id = world.start(chain(1))
    dies(world, delivered(world), call)
    assert world.states(run_id) == {"s0": "DISPATCHING"}
    assert time_until(world, has_ended(world, run_id)) <= LEASE
    assert world.submissions() == ["s0/1"] * submissions


@pytest.mark.parametrize("call", ["commit", "submit"])
def test_dispatch_dies_and_on_lost_is_fail(call: str) -> None:
    """With `onLost: fail` the step fails when the lease is over."""
    world = World()
    run_id = world.start(definition({"a": []}, a={"onLost": "fail"}))
    dies(world, delivered(world), call)
    assert time_until(world, has_ended(world, run_id, RunState.FAILED)) <= LEASE
    assert len(world.submissions()) <= 1


def test_dispatch_dies_after_it_recorded_the_job() -> None:
    """A RUNNING step is polled by the next look."""
    world = World("default: {duration: 1}")
    run_id = world.start(chain(1))
    dies(world, delivered(world), "commit", 2)
    assert world.states(run_id) == {"s0": "RUNNING"}
    assert time_until(world, has_ended(world, run_id)) <= NEXT_LOOK
    assert world.submissions() == ["s0/1"]


def outcome_of_root(workflow: str) -> tuple[World, str]:
    """Return a world with an undelivered outcome of the only root."""
    world = World("default: {duration: 1}")
    run_id = world.start(workflow)
    world.settle_down()
    world.clock.move(LOOK)
    handle_tick(world.services, Tick())
    return world, run_id


def test_settle_dies_after_the_commit() -> None:
    """Redelivery publishes released dependents at once."""
    world, run_id = outcome_of_root(definition({"a": [], "b": ["a"], "c": ["a"]}))
    (taken,) = world.bus.take_all("steps")
    dies(world, lambda: world.deliver(taken), "commit")
    assert world.states(run_id) == {"a": "SUCCEEDED", "b": "PENDING", "c": "PENDING"}
    world.deliver(taken)
    world.settle_down()
    assert world.states(run_id) == {"a": "SUCCEEDED", "b": "RUNNING", "c": "RUNNING"}


def test_settle_dies_after_the_commit_and_its_event_is_lost() -> None:
    """Without a redelivery the audit publishes them."""
    world, run_id = outcome_of_root(definition({"a": [], "b": ["a"], "c": ["a"]}))
    dies(world, delivered(world), "commit")
    assert time_until(world, has_ended(world, run_id)) <= AUDIT
    assert sorted(world.submissions()) == ["a/1", "b/1", "c/1"]


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_settle_dies_among_levels_of_barriers(commits: int) -> None:
    """A released barrier is ended by the next invocation."""
    world, run_id = outcome_of_root(fan(300))
    dies(world, delivered(world), "commit", commits)
    assert set(world.states(run_id).values()) == {"SUCCEEDED", "PENDING"} or commits > 1
    assert time_until(world, has_ended(world, run_id)) <= AUDIT * 2
    assert len(world.submissions()) == len(set(world.submissions())) == 302


@pytest.mark.parametrize("commits", [1, 2])
def test_settle_dies_among_levels_of_skips(commits: int) -> None:
    """A step that is to be skipped is skipped by the next invocation."""
    world = World("rules: [{step: s0, fail_times: 1, duration: 1}]")
    run_id = world.start(chain(5))
    world.settle_down()
    world.clock.move(LOOK)
    handle_tick(world.services, Tick())
    dies(world, delivered(world), "commit", commits)
    assert "PENDING" in world.states(run_id).values()
    assert time_until(world, has_ended(world, run_id, RunState.FAILED)) <= AUDIT
    assert list(world.states(run_id).values()) == ["FAILED", *["SKIPPED"] * 4]


@pytest.mark.parametrize("after", [False, True])
def test_settle_dies_when_it_hands_a_cascade_on(*, after: bool) -> None:
    """The audit continues a cascade of skips."""
    world = World("rules: [{step: s0, fail_times: 1, duration: 1}]", inline_budget=timedelta(0))
    run_id = world.start(chain(5))
    world.settle_down()
    world.clock.move(LOOK)
    handle_tick(world.services, Tick())
    dies(world, delivered(world), "publish", after=after)
    assert list(world.states(run_id).values()) == ["FAILED", *["PENDING"] * 4]
    assert time_until(world, has_ended(world, run_id, RunState.FAILED)) <= AUDIT
    assert list(world.states(run_id).values()) == ["FAILED", *["SKIPPED"] * 4]


@pytest.mark.parametrize(("name", "nth"), [("commit", 3), ("publish", 1)])
def test_close_dies_before_it_hands_the_rest_on(name: str, nth: int) -> None:
    """A run that was closed in part is closed after a minute."""
    world = World(SLOW)
    text = definition({f"s{number}": [] for number in range(120)})
    run_id = world.start(text.replace('"name"', '"timeout": "60s", "name"'))
    lose(world, "steps")
    world.clock.move(timedelta(seconds=61))
    dies(world, lambda: handle_tick(world.services, Tick()), name, nth, after=False)
    assert world.run(run_id).stop is not None
    world.clock.move(timedelta(seconds=1))
    assert time_until(world, has_ended(world, run_id, RunState.FAILED)) <= FIRST_AUDIT + LOOK
    assert set(world.states(run_id).values()) == {"SKIPPED"}


def test_finish_dies_after_the_commit() -> None:
    """A finished run is terminal, and nothing is left in flight."""
    world = World()
    run_id = world.start(chain(1))
    dies(world, delivered(world), "commit", 3)
    assert world.run(run_id).state is RunState.SUCCEEDED
    world.clock.move(AUDIT)
    reads = world.store.reads
    world.tick()
    assert world.store.reads - reads == 1


@pytest.mark.parametrize("polls", [1, 2, 3])
def test_check_dies_among_its_polls(polls: int) -> None:
    """Jobs whose outcome was not published are polled again."""
    world = World("default: {duration: 1}")
    run_id = world.start(definition({"a": [], "b": [], "c": []}))
    world.settle_down()
    world.clock.move(LOOK)
    dies(world, lambda: handle_tick(world.services, Tick()), "status", polls)
    world.clock.move(timedelta(seconds=60))
    assert time_until(world, has_ended(world, run_id)) <= NEXT_LOOK
    assert sorted(world.submissions()) == ["a/1", "b/1", "c/1"]


def test_check_dies_between_a_round_and_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bursts take a page that no event names, and all pages after it."""
    monkeypatch.setattr(due_steps, "PAGE", 2)
    monkeypatch.setattr(due_steps, "CAPACITY", 2)
    world = World(SLOW)
    world.start(definition({f"s{number}": [] for number in range(5)}))
    world.settle_down("steps")
    world.clock.move(FIRST_AUDIT / 2)
    dies(world, lambda: begin_round(world.services, load_round(world.services)), "commit")
    world.bus.take_all("tick")
    assert time_until(world, lambda: len(set(world.task_runner.polled)) == 5) <= 4 * LOOK


def test_check_dies_with_the_lease_of_its_burst() -> None:
    """The first tick after the lease starts a burst."""
    world = World("default: {duration: 1}", burst=timedelta(seconds=50))
    run_id = world.start(chain(1))
    world.settle_down()
    world.clock.move(LOOK)
    dies(world, lambda: handle_tick(world.services, Tick()), "status")
    assert world.store.inner.get([BURST_LEASE_PATH])[0] is not None
    world.tick()
    assert world.states(run_id) == {"s0": "RUNNING"}
    world.clock.move(timedelta(seconds=50))
    world.tick()
    world.settle_down()
    assert world.run(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize(("call", "nth"), [("commit", 3), ("stop", 1)])
def test_check_dies_while_it_stops_a_job(call: str, nth: int) -> None:
    """A job is asked to stop by the next look, and its attempt times out once."""
    world = World("default: {duration: 1000, stop: {after: 3}}")
    run_id = world.start(definition({"a": []}, a={"timeout": "60s"}))
    world.settle_down()
    world.clock.move(timedelta(seconds=61))
    if call == "stop":
        world.tick()
        world.clock.move(LOOK)
    dies(world, lambda: handle_tick(world.services, Tick()), call, nth)
    assert world.steps(run_id)["a"].stop_for == "timeout"
    assert time_until(world, has_ended(world, run_id, RunState.FAILED)) <= FIRST_AUDIT
    assert "timed out after 1m" in world.steps(run_id)["a"].message


@pytest.mark.parametrize("call", ["commit", "status"])
def test_check_dies_with_a_hint(call: str) -> None:
    """A job whose hint was taken is looked at with the next tick."""
    world = World("default: {duration: 30, notifies: true}")
    run_id = world.start(chain(1))
    world.settle_down()
    world.clock.move(timedelta(seconds=31))
    world.task_runner.jobs.take_ended(world.clock.now().timestamp())
    dies(world, lambda: handle_hint(world.services, JobEnded(idempotency_key=f"{run_id}/s0/1")), call)
    assert time_until(world, has_ended(world, run_id)) <= NEXT_LOOK


LATE = "deadline: {after: 5m}\nsteps: [{id: s0, task: {imageUri: image}}]"
SCHEDULED = f"schedules: [{{cron: 10 0 * * *}}]\n{LATE}"


def scheduled_runs(world: World) -> list[RunRecord]:
    """Return the runs that schedules have started."""
    return [run_record(document) for document in world.store.inner.query(Query(collection=RUNS))]


def test_upload_dies_after_it_registered_schedules() -> None:
    """The schedules are those of the upload, and start their run."""
    world = World()
    dies(world, lambda: world.upload(SCHEDULED), "commit")
    assert time_until(world, lambda: bool(scheduled_runs(world))) <= timedelta(minutes=10) + LOOK


@pytest.mark.parametrize(("call", "nth"), [("commit", 2), ("publish", 1), ("commit", 3)])
def test_check_dies_while_it_starts_an_instant(call: str, nth: int) -> None:
    """An instant that is pinned is published, perhaps again, and starts one run."""
    world = World()
    world.upload(SCHEDULED)
    world.clock.move(timedelta(minutes=10, seconds=1))
    dies(world, lambda: handle_tick(world.services, Tick()), call, nth)
    assert time_until(world, lambda: bool(scheduled_runs(world))) <= NEXT_LOOK
    world.settle_down()
    world.clock.move(timedelta(minutes=2))
    world.tick()
    (run,) = scheduled_runs(world)
    assert run.scheduled_at == START + timedelta(minutes=10)


def test_check_dies_after_it_reported_a_late_run() -> None:
    """A run that is not marked as late is reported again, with the same id."""
    world = World(SLOW)
    run_id = world.start(LATE)
    world.settle_down()
    world.clock.move(timedelta(minutes=5, seconds=1))
    dies(world, lambda: handle_tick(world.services, Tick()), "publish")
    assert not world.run(run_id).late
    assert time_until(world, lambda: world.run(run_id).late) <= AUDIT
    reports = [one.body["id"] for one in world.changes() if one.body["type"] == "run.late"]
    assert len(reports) == 2
    assert len(set(reports)) == 1


@pytest.mark.parametrize("commits", [1, 2])
def test_cancel_dies_after_it_recorded_the_stop(commits: int) -> None:
    """A run with a stop is closed by its audit."""
    world = World(SLOW)
    run_id = world.start(definition({"a": [], "b": [], "c": ["a"]}))
    world.settle_down()
    dies(world, lambda: cancel_run(world.services, run_id), "commit", commits)
    assert world.run(run_id).stop is not None
    assert time_until(world, has_ended(world, run_id, RunState.CANCELLED)) <= AUDIT


def test_timeout_dies_after_it_recorded_the_stop() -> None:
    """A stopped run that is still open is closed by the next look."""
    world = World(SLOW)
    text = definition({"a": [], "b": ["a"]}).replace('"name"', '"timeout": "60s", "name"')
    run_id = world.start(text)
    world.settle_down()
    world.clock.move(timedelta(seconds=61))
    dies(world, lambda: handle_tick(world.services, Tick()), "commit", 2)
    assert world.run(run_id).stop is not None
    assert time_until(world, has_ended(world, run_id, RunState.FAILED)) <= AUDIT


def two_in_line() -> tuple[World, str, str]:
    """Return a run that is at work, whose job has ended, and one that waits for its place."""
    world = World("rules: [{step: s0, duration: 5}]")
    first, second = (groups.start(world, groups.limited(), f"key-{number}") for number in range(2))
    world.settle_down()
    world.clock.move(LOOK)
    return world, first, second


def test_start_dies_before_it_looked_at_the_line() -> None:
    """A run in line that no one has looked at gets a free place at its audit."""
    world = World(SLOW)
    first = groups.start(world, groups.limited(), "key-0")
    dies(world, lambda: groups.start(world, groups.limited(), "key-1"), "commit")
    (second,) = groups.runs_of(world).keys() - {first}
    assert world.run(second).state is RunState.QUEUED
    world.store.inner.delete(run_path(first), *(step_path(first, name) for name in world.steps(first)))
    assert time_until(world, has_ended(world, second, RunState.RUNNING)) <= FIRST_AUDIT


def test_an_end_dies_before_it_published_the_next_run() -> None:
    """A run that was let begin, but not seeded, is seeded at its audit."""
    world, first, second = two_in_line()
    handle_tick(world.services, Tick())
    dies(world, delivered(world), "commit", 2)
    assert (world.run(first).state, world.run(second).state) == (RunState.SUCCEEDED, RunState.SEEDING)
    assert time_until(world, has_ended(world, second, RunState.RUNNING)) <= FIRST_AUDIT


def test_an_end_dies_before_it_gave_its_place_away() -> None:
    """A place that no one gave away is given away by the audit of the first run in line."""
    world, first, second = two_in_line()
    handle_tick(world.services, Tick())
    plain = world.services
    refuse(world, lambda writes: any(write.path.startswith("groups/") for write in writes))
    dies(world, delivered(world), "commit", 3)
    world.services = plain
    assert (world.run(first).state, world.run(second).state) == (RunState.SUCCEEDED, RunState.QUEUED)
    assert time_until(world, has_ended(world, second, RunState.RUNNING)) <= AUDIT


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_renew_dies_among_its_steps(commits: int) -> None:
    """The next audit finishes a renewal, and the run outlives no document."""
    world = World("default: {duration: 100000000}", keep_runs=timedelta(days=30))
    run_id = world.start(definition({"a": [], "b": ["a"]}, a={"timeout": "7d", "retry": {"maxAttempts": 9}}))
    world.settle_down()
    for _ in range(15):
        world.clock.move(timedelta(days=1))
        world.tick()
    world.bus.publish([seed_message(run_id)])
    world.clock.move(timedelta(minutes=1))
    (taken,) = world.bus.take_all("start")
    world.bus.ack(taken)
    dies(world, lambda: world.deliver(taken), "commit", commits, after=False)
    before = expiries(world)
    assert min(before.values()) == before[f"runs/{run_id}"]
    assert time_until(world, lambda: expiries(world)[f"runs/{run_id}"] > before[f"runs/{run_id}"]) <= AUDIT
    assert len(set(expiries(world).values())) == 1


def test_mark_dies_after_it_ended_a_step() -> None:
    """The audit finds what the marked step released."""
    backoff = {"retry": {"maxAttempts": 9, "backoff": {"initial": "5m", "max": "5m"}}}
    world = World("rules: [{step: a, always_fail: true}]")
    run_id = world.start(definition({"a": [], "b": ["a"]}, a=backoff))
    world.settle_down()
    dies(world, lambda: mark_step(world.services, run_id, "a"), "commit", 1)
    assert world.states(run_id) == {"a": "SUCCEEDED", "b": "PENDING"}
    assert time_until(world, has_ended(world, run_id)) <= AUDIT


def test_mark_dies_before_it_woke_the_checker() -> None:
    """The step is due, so the next look has its job stopped."""
    world = World(SLOW)
    run_id = world.start(definition({"a": []}))
    world.settle_down()
    dies(world, lambda: mark_step(world.services, run_id, "a"), "commit", 1)
    assert time_until(world, has_ended(world, run_id)) <= NEXT_LOOK
    assert len(world.task_runner.stopped) == 1


@pytest.mark.parametrize("commits", [1, 2])
def test_retry_dies_while_steps_are_reset(commits: int) -> None:
    """The audit has a half-reset run finished."""
    world = World("rules: [{step: s1, fail_times: 1}]")
    run_id = world.start(chain(4))
    world.settle_down()
    dies(world, lambda: retry_run(world.services, run_id), "commit", commits)
    assert world.run(run_id).state is RunState.SEEDING
    assert time_until(world, has_ended(world, run_id)) <= FIRST_AUDIT + LOOK
    assert world.submissions() == ["s0/1", "s1/1", "s1/2", "s2/1", "s3/1"]


def loop(world: World, size: int = 10) -> str:
    """Start a run of which a step has that many items, created in several commits."""
    train = loops.step("train", for_each=loops.each(list(range(size))), outputs={"n": INT})
    return loops.start(world, loops.workflow(train, loops.step("last", "train", args={"n": "steps.train.outputs.n"})))


@pytest.mark.parametrize("commits", [1, 2, 3, 4, 5])
def test_dispatch_dies_while_it_creates_items(commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its lease the items that are missing are created, and each runs once."""
    monkeypatch.setattr(batches, "BATCH_DOCUMENTS", 3)
    world = World("default: {outputs: {n: 1}}")
    run_id = loop(world)
    dies(world, delivered(world), "commit", commits)
    assert world.steps(run_id)["~each.train"].written == min(3 * (commits - 1), 10)
    assert time_until(world, has_ended(world, run_id)) <= LEASE
    assert len(set(world.submissions())) == len(world.submissions()) == 11


def test_dispatch_dies_after_it_created_the_items() -> None:
    """The audit publishes items, or barriers before them, that were not published."""
    world = World("default: {outputs: {n: 1}}")
    run_id = loop(world, size=250)
    dies(world, delivered(world), "commit", 4)
    assert world.steps(run_id)["~each.train"].state == "SUCCEEDED"
    assert world.submissions() == []
    assert time_until(world, has_ended(world, run_id)) <= AUDIT
    assert len(set(world.submissions())) == len(world.submissions()) == 251


def test_dispatch_dies_while_it_gathers() -> None:
    """After its lease the step's items are gathered again."""
    world = World("default: {outputs: {n: 1}}")
    run_id = loop(world, size=2)
    # The node that creates items is claimed, creates them and ends; they are claimed and end, and the step is claimed.
    dies(world, delivered(world), "commit", 6)
    assert world.steps(run_id)["train"].state == "DISPATCHING"
    assert time_until(world, has_ended(world, run_id)) <= LEASE
    assert len(set(world.submissions())) == len(world.submissions()) == 3


def limited(world: World, *, size: int) -> str:
    """Start a run of a loop with a single place, and publish its items."""
    for_each = loops.each(list(range(size)), max_parallel=1)
    run_id = loops.start(world, loops.workflow(loops.step("train", for_each=for_each)))
    delivered(world)()
    return run_id


def test_settle_dies_after_it_handed_a_place_on() -> None:
    """The audit publishes the item that has a place and was not published."""
    world = World("default: {duration: 5}")
    run_id = limited(world, size=2)
    world.clock.move(LOOK)
    handle_tick(world.services, Tick())
    dies(world, delivered(world), "commit")
    assert world.steps(run_id)["train[0]"].state == "SUCCEEDED"
    assert len(world.submissions()) == 1
    world.clock.move(LOOK)
    assert time_until(world, lambda: len(world.submissions()) == 2) <= AUDIT
    assert time_until(world, has_ended(world, run_id)) <= LOOK * 3


@pytest.mark.parametrize("commit", [1, 2, 3])
def test_settle_dies_before_it_blocks_waiting_items(commit: int) -> None:
    """The audit has the items blocked that wait in vain."""
    world = World("default: {duration: 5, always_fail: true}")
    run_id = limited(world, size=5)
    world.clock.move(LOOK)
    handle_tick(world.services, Tick())
    if commit > 2:
        delivered(world)()
    dies(world, delivered(world), "commit", commit if commit < 3 else 1)
    assert time_until(world, has_ended(world, run_id, RunState.FAILED)) <= AUDIT + LEASE
    assert world.submissions() == ["train[0]/1"]


def rows() -> list[str]:
    """Return the names of tests in the last column of the page's table."""
    table = PAGE.read_text().split("## What a death leaves behind")[1].split("\n## ")[0]
    return [name for line in table.splitlines() if line.startswith("|") for name in re.findall(r"`(test_\w+)`", line)]


def test_the_page_names_the_test_of_every_row() -> None:
    """The table's rows name exactly the tests of this file."""
    here: dict[str, Any] = {name: one for name, one in globals().items() if re.match("test_(?!the_page)", name)}
    assert set(rows()) == set(here)
    lines = PAGE.read_text().split("## What a death leaves behind")[1].split("\n## ")[0].splitlines()
    unshown = [line for line in lines if re.match(r"\| (?!handler|-)", line) and "`test_" not in line]
    assert not unshown
