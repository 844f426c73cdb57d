"""Functions that stop jobs work beside functions of a version that knows nothing of that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.unstoppable import Unstoppable
from atom_workflows.core.states import RunState, StepState
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Bus, Create, Document, Message, Query, Store, Update, Upsert, Write, WriteResult
from support.commands import cancel_run
from support.workflows import definition

ADDED: Final = frozenset(
    {"logs_url", "notifies", "hinted_at", "stop_attempt", "stop_stage", "stop_since", "stop_for", "leftovers"}
    | {"unresolved", "unstopped"}
)
"""The fields that the older version does not know."""

TIMED = {"timeout": "40s", "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}}}


@dataclass(frozen=True, slots=True)
class OlderStore:
    """A store as an older version uses it: it neither reads nor writes what was added."""

    inner: Store

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return [None if one is None else _without(one) for one in self.inner.get(paths, fields=fields)]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.inner.commit([_without_added(write) for write in writes])

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return [_without(one) for one in self.inner.query(query)]

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)


@dataclass(frozen=True, slots=True)
class OlderBus:
    """A bus as an older version uses it."""

    inner: Bus

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self.inner.publish([_without_news(message) for message in messages])


class NeverAsks(Unstoppable):
    """Lets no job be stopped, as before."""

    def has(self, url: str, now: datetime) -> bool:  # noqa: ARG002 (no Task Runner could)
        """Return True."""
        return True


def _without(document: Document) -> Document:
    return document._replace(fields={name: value for name, value in document.fields.items() if name not in ADDED})


def _without_added(write: Write) -> Write:
    fields = {name: value for name, value in write.fields.items() if name not in ADDED}
    assert isinstance(write, Create | Update | Upsert)
    return replace(write, fields=fields)


def _without_news(message: Message) -> Message:
    outcomes = [
        {k: v for k, v in one.items() if k not in {"may_run", "logs_url"}} for one in message.body.get("outcomes", ())
    ]
    return replace(message, body={**message.body, "outcomes": outcomes}) if outcomes else message


class Rollout:
    """A world in which dice decide which version handles what."""

    def __init__(self, seed: int, script: str) -> None:
        self.world = World(script)
        self.newer = self.world.services
        self.older = replace(
            self.newer, store=OlderStore(self.newer.store), bus=OlderBus(self.newer.bus), unstoppable=NeverAsks()
        )
        self._chance = random.Random(seed)  # noqa: S311 (the dice of a test)

    def play(self, run_id: str, minutes: float = 15) -> None:
        """Deliver events and tick until the run has ended."""
        ends_at = self.world.clock.now() + timedelta(minutes=minutes)
        while self.world.clock.now() < ends_at:
            while taken := self.world.bus.take_all("start") + self.world.bus.take_all("steps"):
                for message in taken:
                    self.world.services = self._chance.choice([self.newer, self.older])
                    self.world.deliver(message)
            if self.world.run(run_id).state.is_terminal:
                return
            self.world.clock.move(timedelta(seconds=10))
            handle_tick(self._chance.choice([self.newer, self.older]), Tick())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("stop", ["{after: 15}", "ignore", "cannot", "500"])
def test_steps_time_out_as_often_as_they_should(seed: int, stop: str) -> None:
    """Whichever version decides, each attempt ends once, by its timeout, and no later than one that waits."""
    rollout = Rollout(seed, f"default: {{duration: 100000, stop: {stop}}}")
    run_id = rollout.world.start(definition({"a": [], "b": [], "c": ["a"]}, a=TIMED, b=TIMED))
    rollout.play(run_id, minutes=60)
    run, steps = rollout.world.run(run_id), rollout.world.steps(run_id)
    assert run.state is RunState.FAILED
    assert rollout.world.states(run_id) == {"a": "FAILED", "b": "FAILED", "c": "SKIPPED"}
    for name in ("a", "b"):
        assert "timed out" in steps[name].message or steps[name].reason == "NOT_STOPPED"
        assert steps[name].attempt == 2 or steps[name].reason == "NOT_STOPPED"


@pytest.mark.parametrize("seed", range(20))
def test_a_run_succeeds_though_an_earlier_attempt_was_stopped(seed: int) -> None:
    """What one version left in a step's document is no burden for an attempt that the other one begins.

    If older functions alone handle the end of a job that a newer one stopped, they take it for cancelled by someone
    else, as decision 36 says.
    """
    rollout = Rollout(seed, "rules: [{step: a, duration: 30, stop: {after: 5}}]")
    run_id = rollout.world.start(definition({"a": [], "b": ["a"]}, a=TIMED))
    world = rollout.world
    world.settle_down()
    # The first job hangs.
    job = world.task_runner.jobs._jobs["job-000001"]
    world.task_runner.jobs._jobs["job-000001"] = replace(job, duration_s=100_000)
    rollout.play(run_id)
    step = world.steps(run_id)["a"]
    if step.state is StepState.CANCELLED:
        assert "job-000001" in world.task_runner.stopped
    else:
        assert (world.run(run_id).state, step.attempt) == (RunState.SUCCEEDED, 2)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("by_newer", [True, False])
def test_a_run_that_is_cancelled_ends(seed: int, *, by_newer: bool) -> None:
    """A cancellation by one version is carried out though functions of both work."""
    rollout = Rollout(seed, "default: {duration: 100000, stop: {after: 5}}")
    run_id = rollout.world.start(definition({"a": [], "b": ["a"]}))
    rollout.world.settle_down()
    cancel_run(rollout.newer if by_newer else rollout.older, run_id)
    rollout.play(run_id)
    assert rollout.world.run(run_id).state is RunState.CANCELLED
