"""What runs next: the run's page says it, and its table lists the nearest steps first."""

from __future__ import annotations

from playwright.sync_api import expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.workflows import definition, script


def test_steps_that_have_not_begun_are_listed_nearest_first(open_console: OpenConsole) -> None:
    """Each with what it waits for, instead of by its name."""
    world = World(script(x={"duration": 900}, y={"duration": 900}))
    run_id = world.start(definition({"x": [], "y": [], "a": ["d"], "b": ["a"], "c": ["x", "y"], "d": ["x"]}))
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}")
    rows = page.get_by_role("table", name="Steps").locator("tbody th")
    expect(rows).to_have_text(["x", "y", "d", "c", "a", "b"])
    expect(page.get_by_role("row", name="c PENDING")).to_contain_text("waits for x and y")
    why = page.get_by_label("Why it is where it is")
    expect(why).to_contain_text("Next: d waits for x; c waits for x and y; a waits for d; and 1 more.")
    page.get_by_role("button", name="Step", exact=True).click()
    expect(rows).to_have_text(["a", "b", "c", "d", "x", "y"])
