"""The history of a workflow: its runs by its steps."""

from __future__ import annotations

import json
import re
from datetime import timedelta

from playwright.sync_api import expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import chain, script

NAME = "load / <b>day</b>"


def history(count: int = 3) -> World:
    """Return a world with runs of a workflow whose second step fails once."""
    world = World(script(s0={"duration": 10}, s1={"duration": 10, "fail_times": 1}))
    definition = json.dumps({**json.loads(chain(3)), "name": NAME})
    for number in range(count):
        world.run_to_end(world.start(definition, run_key=str(number)))
        world.clock.move(timedelta(minutes=5))
    return world


def test_a_history_is_a_grid_of_runs_by_steps(open_console: OpenConsole) -> None:
    """Each run is a column with its state and duration, each step a row, and each cell leads to the step."""
    page = open_console(history().services)
    page.get_by_role("table", name="Runs").get_by_role("link", name=NAME).first.click()
    grid = page.get_by_role("table", name="Runs by steps")
    expect(grid.locator("thead a")).to_have_count(3)
    expect(grid.get_by_role("row").filter(has_text="The run")).to_contain_text("FAILED")
    cell = grid.get_by_role("row").filter(has=page.get_by_role("rowheader", name="s0")).get_by_role("link").first
    expect(cell).to_have_text("✔ 10 s")
    expect(cell).to_have_accessible_name(re.compile("^s0 in flow-.*: SUCCEEDED, 10 s$"))
    expect(page.get_by_text("read from Firestore.")).to_be_visible()
    cell.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("s0")


def test_rows_are_searched_and_filtered_in_the_address(open_console: OpenConsole) -> None:
    """Steps are searched by name, and those that succeed in each run can be left out."""
    world = history()
    page = open_console(world.services)
    page.evaluate("name => { location.hash = `/workflows/${encodeURIComponent(name)}`; }", NAME)
    rows = page.get_by_role("table", name="Runs by steps").locator("tbody tr:not(.totals)")
    expect(rows).to_have_count(3)
    before = world.store.reads
    page.get_by_label("hide steps that succeeded in every run").check()
    expect(rows).to_have_count(2)
    page.get_by_label("Search steps").fill("s1")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile("failed=1&q=s1$"))
    assert world.store.reads == before


def test_a_workflow_without_runs_says_so(open_console: OpenConsole) -> None:
    """A workflow that has never run is a sentence."""
    page = open_console(World().services, path="/workflows/none")
    expect(page.get_by_text("none has no runs.")).to_be_visible()
