"""Values that are too large to be stored: refused before a run starts, or the failure of one step."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from atom_emulator.testing.world import CountingStore, World
from atom_workflows.coordinator.batches import MAX_STEP_BYTES
from atom_workflows.coordinator.seed import MAX_RUN_BYTES
from atom_workflows.core.outcomes import MAX_MESSAGE_LENGTH
from atom_workflows.core.states import RunState
from atom_workflows.errors import NotStorable
from atom_workflows.ports import Write, WriteResult
from support.commands import cancel_run
from support.workflows import definition, script


def nested(width: int, depth: int) -> Any:
    """Return the type of a map of maps, with long names."""
    return {f"{'x' * 80}{n}": nested(width, depth - 1) for n in range(width)} if depth else "text"


def test_a_step_that_leaves_no_room_for_its_result_is_refused() -> None:
    """The run is INVALID and says so, as a document that cannot be written any more would never end."""
    world = World("")
    flow = definition({"a": [], "b": []}, b={"outputs": {"o": nested(100, 2)}})
    run = world.run(world.start(flow))
    assert run.state is RunState.INVALID
    (error,) = run.errors
    assert error["message"].startswith("the task of step b, its expressions, and their values and types")
    assert f"at most {MAX_STEP_BYTES:,} can be stored" in error["message"]


def test_a_run_that_leaves_no_room_for_its_failures_is_refused() -> None:
    """The run is INVALID if the messages of a hundred failed steps would not fit into its document."""
    world = World("")
    flow = {**json.loads(definition({"a": []})), "outputs": {"x": "y" * MAX_RUN_BYTES + "${{ run.id }}"}}
    run = world.run(world.start(json.dumps(flow)))
    assert run.state is RunState.INVALID
    assert f"at most {MAX_RUN_BYTES:,} can be stored" in run.errors[0]["message"]


def test_the_largest_run_can_be_closed_with_its_failures() -> None:
    """The most and longest messages of failed steps fit beside the largest values of a run."""
    names = [f"s{number}" for number in range(101)]
    failing = {name: {"always_fail": True, "message": "\U0001f600" * MAX_MESSAGE_LENGTH} for name in names}
    world = World(script(**failing))
    flow = json.loads(definition(dict.fromkeys(names, ())))
    flow["outputs"] = {"x": "y" * (MAX_RUN_BYTES - 2_000) + "${{ run.id }}"}
    flow["finally"] = [{"id": "last", "task": {"imageUri": "i", "args": {"all": "${{ run.failures }}"}}}]
    run = world.run_to_end(world.start(json.dumps(flow)))
    assert (run.state, len(run.errors)) == (RunState.FAILED, 100)


def test_the_reason_of_a_cancellation_is_cut() -> None:
    """However much a user writes, it is copied to each step and to the errors of the run."""
    world = World(script(a={"duration": 100}))
    run_id = world.start(definition({"a": []}))
    world.settle_down()
    cancel_run(world.services, run_id, reason="x" * 1_000_000)
    step, run = world.steps(run_id)["a"], world.run(run_id)
    assert (run.state, len(step.message)) == (RunState.CANCELLED, MAX_MESSAGE_LENGTH)
    assert run.stop is not None
    assert len(run.stop.reason) == MAX_MESSAGE_LENGTH


class Picky(CountingStore):
    """A store that cannot store the outputs of a job if `n` is 1."""

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        if any(write.fields.get("values") == '{"n":1}' for write in writes):
            raise NotStorable("a document is too large")
        return super().commit(writes)


@pytest.mark.parametrize("synchronous", [True, False])
def test_an_attempt_whose_result_cannot_be_stored_fails(caplog: pytest.LogCaptureFixture, *, synchronous: bool) -> None:
    """It fails with the reason, is retried like one without its outputs, and keeps no other step from being saved."""
    caplog.set_level(logging.INFO)
    returned = {"outputs": [{"n": 1}, {"n": 2}], "synchronous": synchronous}
    world = World(script(a=returned, b={"synchronous": synchronous}))
    world.services = replace(world.services, store=Picky(world.store.inner))
    retry = {"maxAttempts": 2, "backoff": {"initial": "1s"}}
    flow = definition({"a": [], "b": [], "c": ["a"]}, a={"outputs": {"n": "int"}, "retry": retry})
    run_id = world.start(flow)
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert sorted(world.submissions()) == ["a/1", "a/2", "b/1", "c/1"]
    reasons = [getattr(record, "fields", {}).get("reason") for record in caplog.records]
    assert reasons.count("its result cannot be stored: a document is too large") == 1
