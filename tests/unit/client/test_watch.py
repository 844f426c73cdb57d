"""`runs watch`: the view of a run that has begun before anyone looked."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from atom_client.cli import watch
from atom_client.cli.watch import view_from_documents
from atom_client.views.items import count_anew
from atom_client.views.progress import RunView, progress_of
from atom_client.views.queries import in_order, read_outlines
from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState, StepState
from support import loops
from support.command_line import call_runs
from support.workflows import chain, definition, script
from unit.client.changes import change


def seen(world: World, run_id: str) -> RunView:
    """Return the view of a run from its documents."""
    nodes = read_outlines(world.store, run_id)
    return progress_of(world.run(run_id), nodes, in_order(nodes.values()), now=world.clock.now())


def test_a_run_under_way_is_seen_from_its_documents() -> None:
    """Counts, steps, their order and the time that the run has taken come from its documents."""
    world = World(script(a={"duration": 0}, b={"duration": 600}))
    run_id = world.start(definition({"a": [], "b": [], "c": ["b"]}))
    world.settle_down()
    world.clock.move(timedelta(seconds=40))
    view = seen(world, run_id)
    assert view.counts == {StepState.PENDING: 1, StepState.RUNNING: 1, StepState.SUCCEEDED: 1}
    assert [step.id for step in view.rows(10)] == ["a", "b", "c"]
    assert (view.state, view.total, view.ended) == (RunState.RUNNING, 3, 1)
    assert view.already_s >= 40


def test_steps_that_are_written_later_are_shown() -> None:
    """If only some of the steps were written when the run was seen, those that begin later are shown, too."""
    world = World("default: {duration: 600}")
    run_id = world.start(definition({"a": [], "b": []}))
    world.settle_down()
    nodes = read_outlines(world.store, run_id)
    [some] = [step for step in in_order(nodes.values()) if step.id == "a"]
    view = progress_of(world.run(run_id), nodes, [some], now=world.clock.now())
    assert {step.id for step in view.with_changes([change("b", "RUNNING")]).rows(10)} == {"a", "b"}


def test_later_changes_replace_what_the_documents_had() -> None:
    """A change that came before the documents were read is stale, and one that came after them counts."""
    world = World("default: {duration: 600}")
    run_id = world.start(chain(1))
    world.settle_down()
    view = seen(world, run_id)
    assert view.with_changes([change("s0", "DISPATCHING", at=-1)]).counts == {StepState.RUNNING: 1}
    assert view.with_changes([change("s0", "SUCCEEDED", at=5)]).counts == {StepState.SUCCEEDED: 1}


def test_items_under_way_are_counted_from_the_documents() -> None:
    """Items that ended before anyone watched count as ended."""
    world = World(script(train={"duration": 600}))
    run_id = loops.start(world, loops.workflow(loops.step("train", for_each=loops.each([1, 2, 3], max_parallel=2))))
    world.settle_down()
    counts = seen(world, run_id).count_items("train")
    assert counts is not None
    assert (counts.total, counts.states.get(StepState.RUNNING)) == (3, 2)


def test_very_many_items_are_counted_instead_of_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts are those of the store, however many changes were missed, and are taken again from time to time."""
    monkeypatch.setattr(watch, "MOST_ITEMS_READ", 4)
    world = World(script(train={"duration": 600}))
    run_id = loops.start(
        world, loops.workflow(loops.step("train", for_each=loops.each([1, 2, 3, 4, 5], max_parallel=2)))
    )
    world.settle_down()
    view = view_from_documents(world.services, run_id)
    assert (view.items, view.loops[0].message) == ({}, "0 of 5 ended, 2 running")
    later = view.with_changes([change("train[0]", "SUCCEEDED", at=5)])
    assert later.count_items("train") == view.count_items("train")
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert count_anew(world.store, later).loops[0].message == "5 items"


def test_a_run_that_waits_has_no_steps_yet() -> None:
    """A run whose steps are not written yet is shown by its state alone."""
    world = World()
    run_id = world.start(chain(3))
    view = progress_of(world.run(run_id), {}, [], now=world.clock.now())
    assert (view.counts, view.ended) == ({StepState.PENDING: 3}, 0)


@pytest.mark.parametrize(
    ("mock", "workflow", "code", "said"),
    [
        ("", chain(2), 0, "SUCCEEDED"),
        (script(s1={"always_fail": True}), chain(2), 1, "FAILED"),
        ("", "steps: [{id: a, dependsOn: [b]}]", 2, "INVALID"),
    ],
)
def test_a_run_that_has_ended_is_shown_with_its_result(mock: str, workflow: str, code: int, said: str) -> None:
    """The exit code is that of `start --wait`, and no one waits."""
    world = World(mock)
    run_id = world.start(workflow)
    if code != 2:
        world.run_to_end(run_id)
    result = call_runs(world, "watch", "--last")
    assert (result.exit_code, f"Run {run_id} " in result.stdout, said in result.stdout) == (code, True, True)
    as_json = call_runs(world, "watch", run_id, "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["run"]["state"]) == (code, said)
