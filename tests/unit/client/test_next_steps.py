"""Which steps begin next: those that wait for nothing but their turn first, then the nearest."""

from __future__ import annotations

from typing import Any

from atom_client.views.explanations import look_at_run
from atom_client.views.next_steps import NextStep, find_next, next_sentence
from atom_emulator.testing.world import World
from support.workflows import definition, script


def next_of(flow: str, **steps: Any) -> list[NextStep]:
    """Return what begins next in a run that has gone as far as it can without time passing."""
    world = World(script(**steps))
    run_id = world.start(flow)
    world.settle_down()
    return find_next(look_at_run(world.services, world.run(run_id)))


def said(found: list[NextStep]) -> list[str]:
    """Return the steps and what they wait for."""
    return [f"{one.step.id} {one.text}" for one in found]


def test_the_nearest_steps_come_first() -> None:
    """Not those whose names come first: what waits for one running step, then for two, then for steps that wait."""
    flow = definition({"x": [], "y": [], "a": ["d"], "b": ["a"], "c": ["x", "y"], "d": ["x"]})
    found = next_of(flow, x={"duration": 99}, y={"duration": 99})
    assert said(found) == ["d waits for `x`", "c waits for `x` and `y`", "a waits for `d`", "b waits for `a`"]
    assert next_sentence(found) == (
        "Next: `d` waits for `x`; `c` waits for `x` and `y`; `a` waits for `d`; and 1 more."
    )


def test_steps_behind_many_are_counted_through_barriers() -> None:
    """A wide fan has nodes of the compiler's own between, which nobody sees."""
    wide: dict[str, list[str]] = {f"w{number:03}": [] for number in range(150)}
    found = next_of(
        definition({**wide, "all": list(wide), "one": ["w000"]}), **{name: {"duration": 9} for name in wide}
    )
    assert said(found) == ["one waits for `w000`", "all waits for `w000`, `w001`, `w002` and 147 more"]


def test_a_step_in_back_off_comes_before_what_waits_for_it() -> None:
    """It waits for nothing but the time of its next try."""
    flow = definition({"a": [], "b": ["a"]}, a={"retry": {"maxAttempts": 3, "backoff": {"initial": "5m"}}})
    world = World(script(a={"fail_times": 2}))
    run_id = world.start(flow)
    world.settle_down()
    world.tick()
    world.settle_down()
    first, second = find_next(look_at_run(world.services, world.run(run_id)))
    assert (first.step.id, first.text.startswith("waits for its back-off: next try at ")) == ("a", True)
    assert second.text == "waits for `a`"


def test_steps_under_finally_come_last() -> None:
    """They wait for the main part, however near they are otherwise."""
    flow = """
steps: [{id: z, task: {imageUri: i}}, {id: y, dependsOn: [z], task: {imageUri: i}}]
finally: [{id: a, task: {imageUri: i}}]
"""
    assert said(next_of(flow, z={"duration": 9})) == ["y waits for `z`", "a waits for the main part to end"]


def test_loops_are_steps_like_others() -> None:
    """A loop whose items run is under way, and what comes after it waits for the loop."""
    flow = """
steps:
- {id: each, forEach: [1, 2], task: {imageUri: i}}
- {id: then, dependsOn: [each], task: {imageUri: i}}
"""
    assert said(next_of(flow, **{"each[0]": {"duration": 9}, "each[1]": {"duration": 9}})) == ["then waits for `each`"]


def test_nothing_is_next_in_a_run_that_does_not_go_on() -> None:
    """A run that waits for its group, is being ended or has ended begins no step."""
    world = World(script(default={"duration": 9}))
    run_id = world.start(definition({"a": []}))
    world.run_to_end(run_id)
    assert find_next(look_at_run(world.services, world.run(run_id))) == []
    assert next_sentence([]) == ""
