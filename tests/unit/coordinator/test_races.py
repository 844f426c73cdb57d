"""What another instance, or a user, does between two calls of a handler."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import START, CallsInTurn, World
from atom_workflows.coordinator import commits
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.core.states import RunState
from atom_workflows.errors import StoreUnavailable
from atom_workflows.messages.internal import ReadyStep, StepsReady, ready_messages
from atom_workflows.ports import Create, JobAnswer, StopAnswer, Update
from support.commands import cancel_run, retry_run
from support.meanwhile import meanwhile
from support.mortal import Died, Fate, make_mortal
from support.workflows import chain, definition


def ready(run_id: str, *steps: str) -> StepsReady:
    """Return an event that asks for steps."""
    return StepsReady(run_id=run_id, steps=tuple(ReadyStep(step_id=step) for step in steps))


def reads(step: str) -> Any:
    """Return a condition that holds when a step is read."""
    return lambda name, argument: name == "get" and any(path.endswith(f"/{step}") for path in argument)


def test_a_run_that_was_closed_and_retried_meanwhile_is_not_closed_again() -> None:
    """A late invocation does not close a run that was retried."""
    world = World("default: {duration: 30}\nrules: [{step: a, synchronous: true, fail_times: 1}]")
    run_id = world.start(definition({"a": [], "b": ["a"]}))

    def other() -> None:
        handle_steps(world.services, ready(run_id, "~end"))
        retry_run(world.services, run_id)

    store = meanwhile(world, lambda name, paths: name == "get" and f"runs/{run_id}" in paths, other)
    world.settle_down()
    assert store.happened
    assert world.run(run_id).state is RunState.RUNNING
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert set(world.states(run_id).values()) == {"SUCCEEDED"}


def test_a_cancel_that_is_slow_leaves_a_retried_run_alone() -> None:
    """A slow cancel ends no step of a run that was retried."""
    world = World("default: {duration: 30}")
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.settle_down()

    def other() -> None:
        cancel_run(world.services, run_id)
        retry_run(world.services, run_id)

    store = meanwhile(world, lambda name, _: name == "query", other)
    cancel_run(world.services, run_id)
    assert store.happened
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


def test_a_retry_that_died_can_be_cancelled() -> None:
    """A run that is stopped before its reset ends CANCELLED."""
    world = World("rules: [{step: s0, fail_times: 1}]")
    run_id = world.start(chain(2))
    world.settle_down()
    services = world.services
    make_mortal(world, Fate(fatal=3))
    with pytest.raises(Died):
        retry_run(world.services, run_id)
    world.services = services
    cancel_run(world.services, run_id)
    assert world.run(run_id).state is RunState.CANCELLED
    world.clock.move(timedelta(minutes=10))
    read = world.store.reads
    world.tick()
    assert world.store.reads - read == 1


def test_an_old_event_during_a_retry_finds_dependents_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that runs during a reset counts down dependents of its own round."""
    monkeypatch.setattr(commits, "MAX_WRITES", 2)
    world = World("rules: [{step: a, fail_times: 2}]")
    run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"], "d": ["c"]}))
    world.settle_down()
    assert world.run(run_id).state is RunState.FAILED

    def is_reset(name: str, _: object) -> bool:
        return name in {"get", "query"} and world.steps(run_id)["a"].state == "PENDING"

    store = meanwhile(world, is_reset, lambda: handle_steps(world.services, ready(run_id, "a")))
    retry_run(world.services, run_id)
    assert store.happened
    run = world.run_to_end(run_id)
    assert run.state is RunState.FAILED
    assert set(world.states(run_id).values()) == {"FAILED", "SKIPPED"}


def test_a_retry_does_not_start_the_round_of_a_later_one() -> None:
    """A slow retry does not start the round of a later one."""
    world = World("rules: [{step: s0, fail_times: 1}]")
    run_id = world.start(chain(2))
    world.settle_down()
    calls: list[str] = []

    def after_the_reset(name: str, writes: Any) -> bool:
        calls.append(name)
        return name == "commit" and [write.path for write in writes] == [f"runs/{run_id}"]

    def other() -> None:
        plain = world.services
        cancel_run(world.services, run_id)
        make_mortal(world, Fate(fatal=3))
        with pytest.raises(Died):
            retry_run(world.services, run_id)
        world.services = plain

    store = meanwhile(world, after_the_reset, other)
    retry_run(world.services, run_id)
    assert store.happened
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


@pytest.mark.parametrize("ends", [False, True])
def test_a_step_that_another_took_is_not_taken_from_it(*, ends: bool) -> None:
    """A step that another instance claimed is submitted by that one alone."""
    rules = "[{step: a, synchronous: true}, {step: b, synchronous: true}"
    world = World(
        f"default: {{duration: 30}}\nrules: {rules}, {{step: c, synchronous: true}}]"
        if ends
        else f"default: {{duration: 30}}\nrules: {rules}]"
    )
    run_id = world.start(definition({"a": [], "b": [], "c": ["a", "b"]}))
    store = meanwhile(world, reads("c"), lambda: handle_steps(world.services, ready(run_id, "c")))
    world.settle_down()
    assert store.happened
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert sorted(world.submissions()) == ["a/1", "b/1", "c/1"]


def test_a_document_that_nobody_can_read_keeps_no_run_waiting() -> None:
    """A burst passes over a step that it cannot read."""
    world = World("default: {duration: 15}")
    run_id = world.start(chain(1))
    world.settle_down()
    world.store.commit(
        [
            Create(path="runs/x/steps/y", fields={"schema": 1, "state": "PAUSED", "due_at": START}),
            Create(path="runs/x/steps/z", fields={"schema": 1, "due_at": START}),
        ]
    )
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


def test_a_run_that_cannot_be_looked_after_keeps_no_other_waiting() -> None:
    """An audit that fails is logged, and other audits go on."""
    world = World("default: {duration: 15}")
    broken = world.start(chain(1), run_key="broken")
    run_id = world.start(chain(1), run_key="good")
    world.bus.take_all("steps")
    world.store.commit([Update(path=f"runs/{broken}/steps/~end", fields={"state": "RUNNING"})])
    world.store.commit([Update(path=f"runs/{broken}", fields={"deadline": START})])
    world.clock.move(timedelta(seconds=70))
    world.tick()
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


class OneByOne:
    """Workers whose answers come in waves of one, slow ones last."""

    def __init__(self, slow: str) -> None:
        self.slow = slow

    def calls(self, call: Callable[[Any], Any], *, lane: object = None) -> OneCallAWave:  # noqa: ARG002 (there are no threads)
        """See `ports.Workers.calls`."""
        return OneCallAWave(self.slow, call)


class OneCallAWave(CallsInTurn[Any, Any]):
    """The calls of such workers."""

    def __init__(self, slow: str, call: Callable[[Any], Any]) -> None:
        super().__init__(call, at_a_time=1)
        self.slow = slow

    def begin(self, items: Sequence[Any]) -> None:
        """See `ports.Calls.begin`."""
        super().begin(sorted(items, key=lambda item: f"id='{self.slow}'" in str(item)))


class SlowTaskRunner:
    """A Task Runner that takes 55 s for one of the steps."""

    def __init__(self, world: World, slow: str) -> None:
        self.world, self.inner, self.slow = world, world.services.task_runner, slow

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str, timeout: timedelta) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        if f"/{self.slow}/" in idempotency_key:
            self.world.clock.move(timedelta(seconds=55))
        return self.inner.submit(base_url, body, idempotency_key=idempotency_key, timeout=timeout)

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        return self.inner.status(base_url, job_id)

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        return self.inner.stop(base_url, job_id)

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        return self.inner.look_up(base_url, idempotency_key)


def test_a_slow_submission_delays_no_other_step() -> None:
    """Steps released by a quick answer are published before a slow one comes."""
    world = World()
    world.services = replace(world.services, workers=OneByOne("slow"), task_runner=SlowTaskRunner(world, "slow"))
    run_id = world.start(definition({"fast": [], "slow": [], "next": ["fast"]}, next={"onLost": "fail"}))
    told: list[object] = []
    meanwhile(
        world,
        lambda name, _: name == "commit" and "slow/1" in world.submissions(),
        lambda: told.append([message.body for message in world.bus.take_all("steps")]),
    )
    [first] = world.bus.take_all("steps")
    world.deliver(first)
    assert told
    assert '"next"' in str(told).replace("'", '"')
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


def test_a_wave_that_cannot_be_saved_takes_no_other_with_it() -> None:
    """Other answers are saved though one commit fails."""
    world = World("default: {duration: 5}")
    run_id = world.start(definition({step: [] for step in "abcd"}))

    def outage() -> None:
        raise StoreUnavailable("503")

    plain = world.services
    world.services = replace(plain, workers=OneByOne(""))
    meanwhile(world, lambda name, writes: name == "commit" and "RUNNING" in str(writes), outage)
    [first] = world.bus.take_all("steps")
    with pytest.raises(StoreUnavailable):
        world.deliver(first)
    world.services = plain
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    submissions = world.submissions()
    assert len(submissions) == 5
    assert len(set(submissions)) == 4


def test_an_event_that_names_a_step_twice_submits_it_once() -> None:
    """Nothing is read, claimed or submitted twice for it."""
    world = World()
    run_id = world.start(chain(1))
    world.bus.take_all("steps")
    world.bus.publish(ready_messages(run_id, [ReadyStep(step_id="s0")] * 2))
    world.settle_down()
    assert world.submissions() == ["s0/1"]


def test_many_roots_are_all_published_at_once() -> None:
    """Three thousand steps without dependencies do not wait for audits."""
    world = World()
    run_id = world.start(definition({f"s{i}": [] for i in range(3_000)}))
    world.settle_down()
    assert world.run(run_id).state is RunState.SUCCEEDED
    assert len(world.submissions()) == 3_000


def test_a_retried_step_is_kept_as_long_as_its_run() -> None:
    """A retried run's documents do not expire before it."""
    world = World("rules: [{step: s0, fail_times: 1}]")
    run_id = world.start(chain(1))
    world.settle_down()
    world.clock.move(timedelta(days=89))
    retry_run(world.services, run_id)
    assert {step.expire_at for step in world.steps(run_id).values()} == {world.run(run_id).expire_at}


def test_a_definition_that_cannot_be_kept_is_an_invalid_run() -> None:
    """A large file that does not compress becomes an INVALID run."""
    noise = random.Random(1)  # noqa: S311 (noise that does not compress, not a secret)
    edges: dict[str, Sequence[str]] = {f"s{i}": [] for i in range(60)}
    tasks = {step: {"task": {"imageUri": "i", "args": [noise.randbytes(15_000).hex()]}} for step in edges}
    world = World()
    run = world.run(world.start(definition(edges, **tasks)))
    assert run.state is RunState.INVALID
    assert "even when compressed" in run.errors[0]["message"]
    assert world.steps(run.id) == {}
