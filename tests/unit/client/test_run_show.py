"""The steps that `runs show` lists: filters, orders, pages, times so far, and how much is read for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_emulator.testing.world import CountingStore, World
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Create, Document, Query
from support import loops
from support.command_line import call_runs
from support.workflows import definition, script


def half_way() -> tuple[World, str]:
    """Return a run with steps that are ended, failed, at work and pending."""
    world = World(script(long={"duration": 600}, quick={"duration": 20}, bad={"always_fail": True}))
    run_id = world.start(definition({"quick": [], "long": [], "bad": [], "later": ["long"]}))
    world.settle_down()
    for _ in range(2):
        world.clock.move(timedelta(seconds=20))
        world.tick()
        world.settle_down()
    assert world.run(run_id).state is RunState.RUNNING
    return world, run_id


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ("", ["bad", "long", "quick", "later"]),
        ("--failed", ["bad"]),
        ("--running", ["long"]),
        ("--running --failed", ["bad", "long"]),
        ("--state pending --state SUCCEEDED", ["quick", "later"]),
        ("--sort duration", ["long", "quick", "bad", "later"]),
        ("--sort duration --limit 2 --page 2", ["bad", "later"]),
        ("--state SKIPPED", []),
    ],
)
def test_steps_are_chosen_and_sorted(options: str, ids: list[str]) -> None:
    """Text and JSON have the same steps: those in any of the states, in the order of the option."""
    world, run_id = half_way()
    shown = json.loads(call_runs(world, "show", run_id, "--json", *options.split()).stdout)
    assert [step["id"] for step in shown["steps"]] == ids
    lines = call_runs(world, "show", run_id, *options.split()).stdout.splitlines()
    assert [word for line in lines if (word := line.split(" ")[0]) in {"bad", "long", "quick", "later"}] == ids


def test_what_runs_shows_its_time_so_far() -> None:
    """An open run and its open steps show how long they have taken, and how many steps have ended."""
    world, run_id = half_way()
    text = call_runs(world, "show", run_id).stdout
    lines = {line.split(" ")[0]: line.split() for line in text.splitlines() if line}
    assert lines["long"][1:] == ["RUNNING", "1", *lines["duration"][1:3]]
    assert lines["duration"][3:] == ["so", "far"]
    assert lines["later"][1:] == ["PENDING"]
    assert "2 of 4 steps ended: 1 PENDING, 1 RUNNING, 1 SUCCEEDED, 1 FAILED." in text


def test_no_running_step_is_said_in_plain_words() -> None:
    """If nothing runs, --running says just that, without the names of the states."""
    world, run_id = half_way()
    world.run_to_end(run_id)
    assert "\nNo step is running.\n" in call_runs(world, "show", run_id, "--running").stdout


def test_what_is_not_shown_is_said() -> None:
    """A filter says how many steps it leaves, and a page which steps it has and how to see the next ones."""
    world, run_id = half_way()
    said = {
        "--failed": "1 of 4 steps shown",
        "--state SKIPPED": "No step is SKIPPED.",
        "--state SKIPPED --state CANCELLED": "No step is SKIPPED or CANCELLED.",
        "--sort duration --limit 3": (
            f"Steps 1 to 3 of 4; next: `atom-workflows runs show {run_id} --sort duration --limit 3 --page 2`"
        ),
        "--limit 3 --page 2": "Steps 4 to 4 of 4",
    }
    for options, line in said.items():
        assert f"\n{line}\n" in call_runs(world, "show", run_id, *options.split()).stdout
    ended = call_runs(world, "show", run_id, "--page", "3", "--limit", "2")
    assert (ended.exit_code, ended.stderr) == (2, "Error: --page 3 does not exist: there are 2 pages of 2 steps\n")


def test_a_run_of_ten_thousand_steps_is_shown_a_page_at_a_time() -> None:
    """Each step is read once, without its job, and the text has one page of them."""
    world = World()
    now = world.clock.now()
    run = {"schema": 1, "state": RunState.RUNNING.value, "workflow": "huge", "source": {}, "step_count": 10_000}
    step = {"schema": 1, "kind": NodeKind.JOB.value, "state": StepState.SUCCEEDED.value, "remaining": 0, "attempt": 1}
    step |= {"depends_on": [], "dependents": [], "started_at": now, "finished_at": now}
    step |= {"task": json.dumps({"task": {"imageUri": "i"}})}
    world.store.commit([Create(path=run_path("huge"), fields={**run, "created_at": now, "started_at": now})])
    for begin in range(0, 10_000, 500):
        world.store.commit(
            [Create(path=step_path("huge", f"s{number:05}"), fields=step) for number in range(begin, begin + 500)]
        )
    world.store.reads = 0
    text = call_runs(world, "show", "huge", "--sort", "duration").stdout
    assert world.store.reads <= 10_010
    assert "Steps 1 to 200 of 10,000; next: `atom-workflows runs show huge --sort duration --page 2`" in text
    assert "10,000 of 10,000 steps ended: 10,000 SUCCEEDED." in text
    assert sum(line.startswith("s0") for line in text.splitlines()) == 200


class WholeDocuments(CountingStore):
    """A store whose queries return all fields of documents, whatever they select."""

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return super().query(replace(query, fields=None))


def ended() -> tuple[World, str]:
    """Return a run that failed, with steps that were retried, tolerated, skipped and never started."""
    world = World(script(bad={"always_fail": True}, odd={"always_fail": True}))
    retried = {"retry": {"maxAttempts": 2}}
    edges = {"ok": [], "bad": ["ok"], "odd": [], "never": ["bad"], "idle": ["ok"]}
    options: dict[str, dict[str, Any]] = {
        "bad": retried,
        "odd": {"allowFailure": True},
        "idle": {"when": "params.n == 2"},
    }
    flow = json.loads(definition(edges, **options))
    job = {"task": {"imageUri": "i"}}
    flow["params"] = {"n": 1}
    flow["finally"] = [{"id": "last", **job}, {"id": "no", "when": "params.n == 2", **job}]
    run_id = world.start(json.dumps(flow))
    world.run_to_end(run_id)
    return world, run_id


def idle() -> tuple[World, str]:
    """Return a run of which nothing ran, so that there was nothing to clean up."""
    world = World()
    flow = json.loads(definition({"a": []}, a={"when": "params.n == 2"}))
    flow["params"] = {"n": 1}
    run_id = world.start(json.dumps({**flow, "finally": [{"id": "last", "task": {"imageUri": "i"}}]}))
    world.run_to_end(run_id)
    return world, run_id


def of_the_first_schema() -> tuple[World, str]:
    """Return an ended run whose file uses nothing of the language."""
    world = World(script(bad={"always_fail": True}))
    run_id = world.start(definition({"ok": [], "bad": ["ok"], "later": ["bad"]}))
    world.run_to_end(run_id)
    return world, run_id


def with_items() -> tuple[World, str]:
    """Return an ended run with a step for each item of a list, of which some failed."""
    world = World(script(train={"always_fail": True}))
    flow = loops.workflow(loops.step("train", for_each=loops.each([1, 2, 3])), loops.step("then", "train"))
    return world, loops.run(world, flow).id


def refused() -> tuple[World, str]:
    """Return an open run with a step whose submission is refused for now."""
    world = World(script(a={"submit_errors": [503]}))
    run_id = world.start(definition({"a": []}))
    world.settle_down()
    return world, run_id


@pytest.mark.parametrize("make", [half_way, ended, idle, of_the_first_schema, with_items, refused])
@pytest.mark.parametrize("options", ["", "--json"])
def test_fields_that_are_not_read_change_nothing(make: Callable[[], tuple[World, str]], options: str) -> None:
    """What is shown of a run is the same if the store returns whole documents."""
    world, run_id = make()
    usual = call_runs(world, "show", run_id, *options.split()).stdout
    world.services = replace(world.services, store=WholeDocuments(world.store.inner))
    assert call_runs(world, "show", run_id, *options.split()).stdout == usual
    assert run_id in usual
    assert "INVALID" not in usual
