"""What the console answers about runs and steps, and how many documents it reads for that."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_client.views import workflow_history
from atom_client.views.items import MOST_LOOPS
from atom_emulator.testing.world import World
from atom_workflows.coordinator.commands import retry_run
from support.asked import ask
from support.workflows import chain, definition, fan, script
from unit.client.explained import said

LOOP: Final = "name: flow\nsteps:\n- {id: train, forEach: [1, 2, 3], tolerate: 3, task: {imageUri: i}}\n"


def named(name: str) -> str:
    """Return a workflow of this name with two steps."""
    return json.dumps({**json.loads(chain(2)), "name": name})


@pytest.fixture
def three() -> World:
    """Return a world with three runs: a, which SUCCEEDED, b, which FAILED, and c, which is RUNNING."""
    world = World(script(s0={"duration": 5}, s1={"duration": 5, "fail_times": 1}))
    for name, run_key in (("good", "a"), ("bad", "b"), ("good", "c")):
        world.start(named(name), run_key=run_key)
        world.clock.move(timedelta(minutes=1))
    return world


def listed(world: World, **args: Any) -> list[str]:
    """Return the workflows of the runs on a page."""
    return [run["workflow"] for run in ask(world, "/runs", **args).body["runs"]]


def test_runs_are_filtered_by_each_condition(three: World) -> None:
    """Each condition leaves out the runs that do not meet it, and several must be met together."""
    assert listed(three) == ["good", "bad", "good"]
    assert listed(three, workflow="good") == ["good", "good"]
    assert listed(three, state="running") == ["good", "bad", "good"]
    assert listed(three, state=["failed", "invalid"]) == []
    assert listed(three, since="90s") == ["good"]
    assert listed(three, workflow="bad", since="90s") == []


def test_runs_are_found_by_the_beginning_of_their_id(three: World) -> None:
    """The list has all runs whose ids begin with the text, and only those."""
    every = [run["id"] for run in ask(three, "/runs").body["runs"]]
    for text in (every[0], every[1][:-1]):
        found = [run["id"] for run in ask(three, "/runs", id=text).body["runs"]]
        assert found == [one for one in every if one.startswith(text)]
    assert ask(three, "/runs", id="No/such id").body["runs"] == []


def test_a_retried_run_says_how_long_it_took_since_then_and_in_all(three: World) -> None:
    """A list and a history have both times, and what the shorter one counts from."""
    [run] = ask(three, "/runs", workflow="bad").body["runs"]
    three.run_to_end(run["id"])
    [run] = ask(three, "/runs", workflow="bad").body["runs"]
    assert (run["taken_since"], run["in_all_s"]) == (None, None)
    retry_run(three.services, run["id"], actor="me@example.com")
    three.run_to_end(run["id"])
    [run] = ask(three, "/runs", workflow="bad").body["runs"]
    [same] = ask(three, "/history", workflow="bad").body["runs"]
    for found in (run, same):
        assert found["taken_since"] == "its retry"
        assert found["taken_s"] < 60 < found["in_all_s"]


def test_an_empty_list_says_what_was_searched(three: World) -> None:
    """A list without runs has a sentence with every condition."""
    text = ask(three, "/runs", state="FAILED", workflow="good", label="team=a", id="flow").body["text"]
    assert (
        text
        == "No run has an id that begins with flow and is FAILED and is of the workflow good and has the label team=a."
    )


@pytest.mark.parametrize(
    "args",
    [
        {"state": "GONE"},
        {"sort": "name"},
        {"label": "team"},
        {"label": " =x"},
        {"page": "0"},
        {"page": "9" * 5_000},
        {"page": "x"},
        {"since": "tomorrow"},
    ],
    ids=str,
)
def test_conditions_that_mean_nothing_are_refused(three: World, args: dict[str, str]) -> None:
    """A wrong condition is answered with a sentence that names no option of the command line."""
    answer = ask(three, "/runs", **args)
    assert answer.status == 400
    assert "--" not in answer.body["error"]


def test_a_page_behind_the_last_one_is_the_last_one(three: World) -> None:
    """A list that has become shorter still shows its last page."""
    assert ask(three, "/runs", page=7).body["page"] == 1


def test_open_runs_are_shown_with_their_progress(three: World) -> None:
    """An open run has the number of steps that have ended, as `runs list` counts them."""
    three.settle_down()
    three.clock.move(timedelta(seconds=30))
    three.tick()
    [first, *_] = ask(three, "/runs").body["runs"]
    assert first["progress"] == {"steps": 1, "items": None}
    assert "1 of 2" in said(three, "runs", "list")


def test_a_page_of_runs_reads_few_documents() -> None:
    """A list reads its page, and two counts for each of at most 20 open runs, however many runs there are."""
    world = World()
    for number in range(120):
        world.start(chain(1), run_key=str(number))
    assert ask(world, "/runs").reads <= 1 + 50 + 20
    assert ask(world, "/runs", page=2).reads <= 1 + 50 + 50 + 20


def test_a_run_is_explained_as_on_the_command_line(three: World) -> None:
    """The verdict and the reasons are those of `runs show` and `why`."""
    run_id = ask(three, "/runs", workflow="bad").body["runs"][0]["id"]
    three.run_to_end(run_id)
    answer = ask(three, f"/runs/{run_id}").body
    shown, why = said(three, "runs", "show", run_id), said(three, "why", run_id)
    assert answer["why"]["text"] in why
    assert all(sentence in shown for sentence in answer["verdict"])
    assert all(reason["text"] in why for reason in answer["why"]["reasons"])
    assert ["state", "FAILED"] in answer["facts"]
    assert [step["id"] for step in answer["steps"]] == ["s0", "s1"]


def test_a_run_reads_each_of_its_nodes_once() -> None:
    """A run with its steps and reasons reads every node once, and few other documents."""
    world = World()
    run_id = world.start(fan(300))
    world.settle_down()
    nodes = len(world.steps(run_id))
    assert ask(world, f"/runs/{run_id}").reads <= nodes + 5


def test_a_run_does_not_read_its_items() -> None:
    """Of a step with many items, only a few are read; the store counts the others."""
    many = LOOP.replace("[1, 2, 3]", str(list(range(400))))
    world = World(script(train={"duration": 600}))
    run_id = world.start(many)
    world.settle_down()
    answer = ask(world, f"/runs/{run_id}")
    [step] = answer.body["steps"]
    assert step["items"]["text"] == "0 of 400 ended, 400 running"
    assert answer.reads < 80
    assert ask(world, f"/runs/{run_id}/steps/train").reads < 60
    assert MOST_LOOPS == 20


def test_items_are_paged() -> None:
    """A step's items come in pages, with their values."""
    world = World(script(train={"duration": 600}))
    run_id = world.start(LOOP)
    world.settle_down()
    answer = ask(world, f"/runs/{run_id}/steps/train/items", page=9)
    assert (answer.body["page"], answer.body["pages"]) == (1, 1)
    assert [(one["id"], one["item"]) for one in answer.body["items"]] == [
        ("train[0]", 1),
        ("train[1]", 2),
        ("train[2]", 3),
    ]
    assert answer.reads < 30
    item = ask(world, f"/runs/{run_id}/steps/train[1]").body
    assert item["item"] == {"of": "train", "index": 1, "value": 2}


def test_a_step_is_explained_as_on_the_command_line() -> None:
    """A step has the facts of `why`, the attempts of `runs show --step`, and what was sent."""
    world = World(script(a={"duration": 5, "fail_times": 1, "message": "no memory", "logsUrl": "https://logs/a"}))
    run_id = world.start(definition({"a": [], "b": ["a"]}, a={"retry": {"maxAttempts": 2}}))
    world.run_to_end(run_id)
    answer = ask(world, f"/runs/{run_id}/steps/a").body
    assert answer["text"] in said(world, "why", run_id, "a")
    assert all(value in said(world, "why", run_id, "a") for _, value in answer["facts"])
    assert [one["kind"] for one in answer["attempts"]] == ["failed", "succeeded"]
    assert answer["sent"]["imageUri"] == "image"
    assert ask(world, f"/runs/{run_id}/steps/b").body["dependencies"][0]["step"] == "a"


def test_what_does_not_exist_is_answered_with_a_sentence(three: World) -> None:
    """A run, a step and a loop that do not exist are errors with words."""
    run_id = ask(three, "/runs").body["runs"][0]["id"]
    for path in ("/runs/none-such", f"/runs/{run_id}/steps/none", f"/runs/{run_id}/steps/s0/items"):
        answer = ask(three, path)
        assert answer.status in {404, 409}
        assert answer.body["error"]


def test_a_history_has_a_cell_for_each_step_of_each_run() -> None:
    """Each run of a workflow has the state and the duration of its steps, and the number of documents is told."""
    world = World(script(s0={"duration": 5}))
    for key in "ab":
        world.run_to_end(world.start(named("wanted/this"), run_key=key))
        world.clock.move(timedelta(minutes=1))
    world.start(named("other"), run_key="c")
    answer = ask(world, "/history", workflow="wanted/this")
    assert answer.body["steps"] == ["s0", "s1"]
    assert [run["cells"]["s0"][0] for run in answer.body["runs"]] == ["SUCCEEDED", "SUCCEEDED"]
    assert answer.body["documents"] == answer.reads


def test_a_history_reads_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the limit is reached, older runs are listed without their steps, and a sentence says so."""
    monkeypatch.setattr(workflow_history, "MOST_STEPS_READ", 25)
    world = World()
    for number in range(4):
        world.start(chain(10), run_key=str(number))
        world.clock.move(timedelta(minutes=1))
    answer = ask(world, "/history", workflow="flow")
    assert [run["cells"] is None for run in answer.body["runs"]] == [False, False, True, True]
    assert "steps of 2 of its runs are not shown" in answer.body["text"]
    assert answer.reads <= 4 + 4 + 25 + 2


def test_a_history_of_too_large_runs_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with more steps than the limit is listed, but its steps are not read."""
    monkeypatch.setattr(workflow_history, "MOST_STEPS_READ", 8)
    world = World()
    world.start(chain(10))
    answer = ask(world, "/history", workflow="flow")
    assert answer.body["runs"][0]["cells"] is None
    assert answer.body["text"].startswith("The steps of its runs are not shown")
    assert answer.reads == 2


def test_a_history_finds_old_runs_behind_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the newest runs are others, those of the workflow are searched; too many of them are not."""
    monkeypatch.setattr(workflow_history, "MOST_RUNS_SEARCHED", 3)
    world = World()
    for number, name in enumerate(["rare", "often", "often", "often", "often"]):
        world.start(named(name), run_key=str(number))
        world.clock.move(timedelta(minutes=1))
    rare = ask(world, "/history", workflow="rare").body
    assert (len(rare["runs"]), rare["is_complete"]) == (1, True)
    often = ask(world, "/history", workflow="often", runs=30).body
    assert (len(often["runs"]), often["is_complete"]) == (3, False)
    assert "more than 3 runs" in often["text"]
