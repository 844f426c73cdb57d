"""Sentences on the page name no option of the command line, except in whole commands to type."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from atom_client.views import run_list
from atom_emulator.testing.world import World
from support.asked import ask
from support.workflows import chain, script
from unit.client.console.asking import Page

OPTION: Final = re.compile(r"--[a-z]")


def options_in(answer: Any) -> list[str]:
    """Return the options that an answer names outside of commands."""
    text = re.sub(r"`(atom-workflows|gcloud) [^`]*`", "", json.dumps(answer))
    return [*OPTION.findall(text), *re.findall("runs show RUN", text)]


def test_reasons_name_no_options() -> None:
    """The headings of failed items do not name a command without its run."""
    world = World(script(train={"fail_times": 9}))
    run_id = world.start("name: flow\nsteps:\n- {id: train, forEach: [1, 2], tolerate: 0, task: {imageUri: i}}\n")
    world.run_to_end(run_id)
    answer = ask(world, f"/runs/{run_id}").body
    assert any(one["kind"] == "item" for one in answer["why"]["reasons"])
    assert options_in(answer) == []


def test_a_cancelled_run_is_described_without_options() -> None:
    """The page says how to end the run sooner, as its own dialog does."""
    world = World(script(s0={"duration": 600}))
    finally_ = {"finally": [{"id": "tidy", "task": {"imageUri": "i"}}]}
    run_id = world.start(json.dumps({**json.loads(chain(1)), **finally_}))
    world.settle_down()
    page = Page(world.services)
    seen = page.preview(f"/runs/{run_id}/cancel").body["seen"]
    done = page.post(f"/runs/{run_id}/cancel", seen=seen).body
    assert "can end it without them" in done["lines"][0]
    assert options_in(done) == []


def test_a_used_key_is_refused_without_options() -> None:
    """The difference to the earlier run is named, not the option that made it."""
    world = World()
    page = Page(world.services)
    text = "name: flow\nparams: {day: {type: text}}\nsteps: [{id: a, task: {imageUri: i}}]\n"
    file = {"name": "flow.yaml", "text": text}
    assert page.post("/start", file=file, key="k", params={"day": "1"}).status == 200
    world.settle_down()
    refused = page.preview("/start", file=file, key="k", params={"day": "2"}).body
    [problem] = refused["problems"]
    assert problem["message"].startswith("the key k was already used")
    assert options_in(refused["problems"]) == []


def test_a_page_too_far_away_is_refused_without_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own filters are named."""
    monkeypatch.setattr(run_list, "MOST_RUNS_LOOKED_AT", 20)
    world = World()
    for number in range(200):
        world.start(chain(1), run_key=str(number))
    refused = ask(world, "/runs", page=2).body
    assert "filter by time" in refused["error"]
    assert options_in(refused) == []


def test_a_long_item_is_shown_whole_elsewhere() -> None:
    """A long value is clipped among the facts, which say that the page shows all of it."""
    world = World(script(train={"duration": 600}))
    items = json.dumps(["x" * 5_000])
    run_id = world.start(f"name: flow\nsteps:\n- {{id: train, forEach: {items}, task: {{imageUri: i}}}}\n")
    world.settle_down()
    answer = ask(world, f"/runs/{run_id}/steps/train[0]").body
    assert any("the page shows all of it" in value for _, value in answer["facts"])
    assert options_in(answer["facts"]) == []
