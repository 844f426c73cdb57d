"""The list of runs."""

from __future__ import annotations

import json
import re
from datetime import timedelta

from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.messages.start import read_start_event
from console.conftest import OpenConsole
from support.workflows import chain, script


def start(world: World, key: str, *, workflow: str = "flow", labels: dict[str, str] | None = None) -> str:
    """Start a run of a workflow of two steps."""
    definition = json.dumps({**json.loads(chain(2)), "name": workflow})
    body = {"definition": definition, "run_key": key, "labels": labels or {}}
    return handle_start(world.services, read_start_event(body, event_id=key)).run_id


def several() -> World:
    """Return a world with a run that FAILED and two that are RUNNING."""
    world = World(script(s0={"always_fail": True}))
    failed = start(world, "1", workflow="load", labels={"team": "data"})
    world.run_to_end(failed)
    for number in (2, 3):
        start(world, str(number), workflow="train")
        world.clock.move(timedelta(minutes=1))
    return world


def rows(page: Page, count: int) -> None:
    """Expect so many runs in the list."""
    expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(count)


def test_list_shows_each_run_with_its_state(open_console: OpenConsole) -> None:
    """A row of the list names a run and the state that it is in."""
    world = World()
    run_id = world.start(chain(2))
    row = open_console(world.services).get_by_role("row").filter(has_text=run_id)
    expect(row).to_contain_text("RUNNING")
    expect(row).to_contain_text("0 of 2")


def test_list_without_runs_says_so(open_console: OpenConsole) -> None:
    """An empty list is a sentence, not an empty table."""
    expect(open_console(World().services).get_by_text("There are no runs yet.")).to_be_visible()


def test_filters_are_part_of_the_address(open_console: OpenConsole) -> None:
    """A state that is chosen is in the address, and going back gives it up."""
    page = open_console(several().services)
    rows(page, 3)
    button = page.get_by_role("button", name="FAILED")
    button.click()
    rows(page, 1)
    expect(page).to_have_url(re.compile(r"#/runs\?state=FAILED$"))
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_be_focused()
    page.go_back()
    rows(page, 3)
    expect(button).to_have_attribute("aria-pressed", "false")


def test_an_address_with_filters_fills_the_form(open_console: OpenConsole) -> None:
    """A bookmark of a list opens it with its filters."""
    page = open_console(several().services, path="/runs?workflow=train&state=RUNNING&sort=duration&since=1h")
    rows(page, 2)
    expect(page.get_by_label("Workflow or file")).to_have_value("train")
    expect(page.get_by_label("Sorted by")).to_have_value("duration")
    expect(page.get_by_role("columnheader", name="Duration")).to_have_attribute("aria-sort", "descending")


def test_typing_searches_and_keeps_the_focus(open_console: OpenConsole) -> None:
    """Letters that are typed search while the field keeps the focus: in ids, names of workflows and labels."""
    world = several()
    wanted = start(world, "4", workflow="other")
    page = open_console(world.services)
    field = page.get_by_label("Search")
    field.press_sequentially(wanted)
    rows(page, 1)
    expect(field).to_be_focused()
    field.fill("RAI")
    rows(page, 2)
    expect(page.get_by_text("read from Firestore.")).to_be_visible()
    field.fill("am=dat")
    rows(page, 1)
    field.fill("none-such")
    expect(page.get_by_text("No run has none-such in its id, workflow, file or labels.")).to_be_visible()


def test_a_wrong_filter_is_explained_beside_the_form(open_console: OpenConsole) -> None:
    """What cannot be searched for is explained, and the form stays, with the focus in it."""
    page = open_console(World().services)
    field = page.get_by_label("Created since")
    field.fill("2999-01-01")
    expect(page.get_by_role("alert")).to_contain_text("which is in the future")
    expect(field).to_be_focused()
    field.fill("")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_label_filters_and_can_be_removed(open_console: OpenConsole) -> None:
    """A label in a row lists the runs that have it, until it is removed."""
    page = open_console(several().services)
    page.get_by_role("link", name="team=data").click()
    rows(page, 1)
    page.get_by_role("button", name="Remove the label team=data").click()
    rows(page, 3)
    page.get_by_label("Label", exact=True).fill("team=none")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No run has the label team=none.")).to_be_visible()


def test_many_runs_are_paged(open_console: OpenConsole) -> None:
    """A page has 50 runs, and the next one the others."""
    world = World()
    for number in range(53):
        start(world, str(number))
    page = open_console(world.services)
    rows(page, 50)
    page.get_by_role("button", name="Next").click()
    rows(page, 3)
    expect(page.get_by_text("51 to 53 of 53 runs")).to_be_visible()
    page.get_by_role("button", name="SUCCEEDED").click()
    expect(page.get_by_text("No run is SUCCEEDED.")).to_be_visible()


def test_arrow_keys_move_between_rows(open_console: OpenConsole) -> None:
    """Arrow keys, Home and End move between the runs, and Enter opens one."""
    page = open_console(several().services)
    links = page.get_by_role("table", name="Runs").locator("tbody th > a")
    links.first.focus()
    page.keyboard.press("ArrowDown")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(links.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("FAILED")


def test_refresh_reads_the_list_again(open_console: OpenConsole) -> None:
    """A list says as of when it is, and is read again when asked for."""
    world = several()
    page = open_console(world.services)
    expect(page.get_by_text("As of 2026-01-01")).to_be_visible()
    start(world, "9")
    page.get_by_role("button", name="Refresh").click()
    rows(page, 4)
