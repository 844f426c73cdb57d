"""A text is searched for in ids, workflows, files and labels, among a bounded number of runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from atom_client.views import run_list
from atom_emulator.testing.world import World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.messages.start import read_start_event
from support.workflows import chain
from unit.client.console.asking import Page


def start(world: World, key: str, **members: Any) -> str:
    """Start a run a minute after the one before."""
    world.clock.move(timedelta(minutes=1))
    body = {"definition": chain(1), "run_key": key, "workflow_path": "flow.json", **members}
    return handle_start(world.services, read_start_event(body, event_id=key)).run_id


@pytest.mark.parametrize("text", ["ETL", "team=da", "daily", "/etl/", "{id}", "{end}"])
def test_text_is_found_wherever_it_may_be_known_from(text: str) -> None:
    """In the middle of a word as well, and whatever the case."""
    world = World()
    wanted = start(world, "1", workflow_path="gs://bucket/etl/daily.json", labels={"team": "Data"})
    start(world, "2", labels={"crew": "dat"})
    found = Page(world.services).get(f"/runs?q={text.format(id=wanted, end=wanted[-6:])}").body
    assert [run["id"] for run in found["runs"]] == [wanted]


def test_search_reads_a_bounded_number_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how many it read and that older ones were not searched, but an old run is found by its id."""
    monkeypatch.setattr(run_list, "MOST_TEXTS_SEARCHED", 5)
    monkeypatch.setattr(run_list, "PAGE", 3)
    world = World()
    oldest, *_ = [start(world, str(number), labels={"number": f"n{number}"}) for number in range(12)]
    page = Page(world.services)
    found = page.get("/runs?q=number=n").body
    assert (found["total"], found["is_complete"], found["most_searched"]) == (5, False, 5)
    # The newest ones, those whose ids may begin so, those that are shown, and a count for each.
    assert found["documents"] <= 6 + 3 + 1 + 5 + 5
    assert page.get("/runs?q=number=n0").body["runs"] == []
    assert [run["id"] for run in page.get(f"/runs?q={oldest}").body["runs"]] == [oldest]
