"""What a step costs in documents and messages."""

from __future__ import annotations

from atom_emulator.testing.world import World
from support.workflows import chain, fan

LONG, SHORT = 110, 10


def cost(script: str, definition: str) -> tuple[int, int, int]:
    """Documents written and read, and messages delivered, of one run."""
    world = World(script)
    run_id = world.start(definition)
    world.run_to_end(run_id)
    assert set(world.states(run_id).values()) == {"SUCCEEDED"}
    messages = sum(world.bus.broker.topic(topic).published for topic in ("start", "steps", "tick", "events"))
    return world.store.writes, world.store.reads, messages


def per_step(script: str) -> list[float]:
    """Return the cost that each further step of a chain adds."""
    many, few = cost(script, chain(LONG)), cost(script, chain(SHORT))
    return [(a - b) / (LONG - SHORT) for a, b in zip(many, few, strict=True)]


def test_a_chained_step_that_is_answered_at_once_costs_three_writes_and_one_read() -> None:
    """A step answered at once costs 3 writes, 1 read and at most 1 message."""
    writes, reads, messages = per_step("")
    assert writes <= 3
    assert reads <= 1
    assert messages <= 1


def test_the_cost_of_a_fan_grows_with_its_width() -> None:
    """The cost of a fan grows with its width."""
    wide, narrow = cost("", fan(1_000)), cost("", fan(50))
    for a, b in zip(wide, narrow, strict=True):
        assert a <= 22 * b


def test_a_chained_step_that_is_polled_costs_four_writes() -> None:
    """A step whose job goes on costs 4 writes."""
    world = World("default: {duration: 25}")
    run_id = world.start(chain(SHORT))
    world.run_to_end(run_id)
    assert max(world.store.written[f"runs/{run_id}/steps/s{i}"] for i in range(SHORT)) <= 4
    assert len(world.task_runner.polled) >= 2 * SHORT


def test_a_chained_step_that_is_polled_costs_two_messages() -> None:
    """A step whose job goes on costs 2 messages."""
    _, _, messages = per_step("default: {duration: 25}")
    assert messages <= 2
