"""The list of runs."""

from __future__ import annotations

from playwright.sync_api import expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import chain


def test_list_shows_each_run_with_its_state(open_console: OpenConsole) -> None:
    """A row of the list names a run and the state that it is in."""
    world = World()
    run_id = world.start(chain(2))
    row = open_console(world.services).get_by_role("row").filter(has_text=run_id)
    expect(row).to_contain_text("RUNNING")


def test_list_without_runs_says_so(open_console: OpenConsole) -> None:
    """An empty list is a sentence, not an empty table."""
    expect(open_console(World().services).get_by_text("There are no runs yet.")).to_be_visible()
