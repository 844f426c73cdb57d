"""What a page that shows runs live listens to, and how many documents it pays for."""

from __future__ import annotations

from typing import Any

from atom_client.views.live_queries import (
    listen_to_items,
    listen_to_run,
    listen_to_runs,
    listen_to_schedule_names,
    listen_to_schedules,
    listen_to_steps,
)
from atom_client.views.queries import in_order, read_nodes_of_steps, read_outlines_without_items, read_run
from atom_client.views.run_list import RunFilter
from atom_emulator.firestore.memory import MemoryListener
from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import run_path
from atom_workflows.listening import Batch, Listening
from atom_workflows.run_documents import run_record
from atom_workflows.schedule_documents import read_tick
from atom_workflows.step_documents import step_record
from unit.client.test_runs_with_items import loop
from unit.client.test_schedules import FLOW

SLOW = "default: {duration: 100000}"
SMALL = '{"steps": [{"id": "a", "task": {"imageUri": "image"}}]}'


def taken(listening: Listening) -> Batch:
    """Return what is there to be taken."""
    batch = listening.take(0)
    assert batch is not None
    return batch


def fields_of(listening: Listening) -> dict[str, Any]:
    """Return the fields of the documents that were added or changed, by id."""
    batch = taken(listening)
    return {one.id: one.fields for one in (*batch.added, *batch.changed)}


def test_the_newest_runs_come_and_go() -> None:
    """A list of the newest runs drops the oldest one when another is started."""
    world = World(SLOW)
    runs = [world.start(SMALL, run_key=key) for key in "ab"]
    listening = listen_to_runs(MemoryListener(world.store.inner), RunFilter(), most=2)
    assert fields_of(listening).keys() == set(runs)
    newest = world.start(SMALL, run_key="c")
    batch = taken(listening)
    assert ([one.id for one in batch.added], list(batch.removed)) == ([newest], [f"runs/{runs[0]}"])


def test_open_runs_are_found_among_many() -> None:
    """Of many runs that have ended, none is read if only open ones are wanted."""
    world = World()
    for key in "abc":
        world.run_to_end(world.start(SMALL, run_key=key))
    run_id = world.start(SMALL, run_key="open")
    wanted = RunFilter(states=[RunState.RUNNING])
    listening = listen_to_runs(MemoryListener(world.store.inner), wanted, most=2)
    assert fields_of(listening).keys() == {run_id}
    assert listening.documents_read == 1


def test_runs_of_a_workflow_are_among_the_newest() -> None:
    """Without an index for it, a workflow's runs are chosen from the newest ones."""
    world = World(SLOW)
    run_id = world.start(SMALL)
    wanted = RunFilter(workflow="other")
    assert fields_of(listen_to_runs(MemoryListener(world.store.inner), wanted)).keys() == {run_id}
    (document,) = world.store.get([run_path(run_id)])
    assert document is not None
    assert not wanted.matches(document)


def test_a_run_and_its_steps_are_followed_to_the_end() -> None:
    """The documents that were listened to become the records that commands show."""
    world = World()
    run_id = world.start(loop(3))
    listener = MemoryListener(world.store.inner)
    run = read_run(world.store, run_id)
    assert run is not None
    ours, steps = listen_to_run(listener, run_id), listen_to_steps(listener, run)
    nodes = {one.id: step_record(one) for one in taken(steps).added}
    assert run_record(taken(ours).added[0]).state is RunState.RUNNING
    world.run_to_end(run_id)
    later = taken(steps)
    nodes |= {one.id: step_record(one) for one in (*later.added, *later.changed)}
    assert nodes == read_outlines_without_items(world.store, world.run(run_id))
    assert {step.id: step.state for step in in_order(nodes.values())}["train"] is StepState.SUCCEEDED
    assert run_record(taken(ours).changed[0]).state is RunState.SUCCEEDED


def test_items_are_read_only_where_they_are_shown() -> None:
    """A page of items costs its own documents, and none of the other ones."""
    world = World()
    run_id = world.start(loop(50))
    world.run_to_end(run_id)
    run = read_run(world.store, run_id)
    assert run is not None
    expander = read_nodes_of_steps(world.store, run)["~each.train"]
    listening = listen_to_items(MemoryListener(world.store.inner), expander, range(10, 15))
    assert fields_of(listening).keys() == {f"train[{index}]" for index in range(10, 15)}
    assert listening.documents_read == 5


def test_schedules_are_found_by_their_names() -> None:
    """The files that have schedules lead to what is scheduled."""
    world = World(SLOW)
    listener = MemoryListener(world.store.inner)
    names = listen_to_schedule_names(listener)
    assert fields_of(names) == {}
    world.upload(FLOW)
    found = fields_of(names)
    (document,) = taken(listen_to_schedules(listener, found)).added
    assert [one.cron for one in read_tick(document).entries] == ["30 2 * * *", "0 12 * * 1"]


def test_a_page_that_comes_back_reads_what_has_changed() -> None:
    """A bookmark of the steps of a large run costs no more than the steps that went on."""
    world = World(SLOW)
    run_id = world.start(loop(3))
    run = read_run(world.store, run_id)
    assert run is not None
    listener = MemoryListener(world.store.inner)
    before = listen_to_steps(listener, run)
    taken(before)
    after = listen_to_steps(listener, run, since=before.bookmark())
    assert taken(after).is_current
    assert after.documents_read == 0
