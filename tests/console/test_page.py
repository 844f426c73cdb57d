"""The page around the views: its addresses, its history and its token."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from console.test_runs import rows, start
from support.workflows import chain


def test_going_back_leads_to_where_one_was(open_console: OpenConsole) -> None:
    """A long list is shown from the same row, which has the focus again; a link leads to the top of a page."""
    world = World()
    for number in range(40):
        start(world, str(number))
    page = open_console(world.services)
    rows(page, 40)
    link = page.get_by_role("table", name="Runs").locator("tbody th > a").nth(35)
    link.scroll_into_view_if_needed()
    top = page.evaluate("scrollY")
    assert top > 0
    link.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("RUNNING")
    assert page.evaluate("scrollY") == 0
    page.go_back()
    rows(page, 40)
    expect(link).to_be_focused()
    assert page.evaluate("scrollY") == top


TYPE_AND_REDRAW = """text => {
  const field = document.querySelector("main input[type=search]");
  field.value = text;
  field.dispatchEvent(new Event("input"));
  [...document.querySelectorAll("main button")].find((one) => one.textContent === "Refresh").click();
  return field.value;
}"""
TYPE_AND_LEAVE = """([text, path]) => {
  const field = document.querySelector("main input[type=search]");
  field.value = text;
  field.dispatchEvent(new Event("input"));
  location.hash = path;
  // A timer that is due after that of the field.
  return new Promise((resolve) => setTimeout(resolve, 300));
}"""


def test_letters_stay_while_they_are_typed(open_console: OpenConsole) -> None:
    """Answers that come in the meantime take no letter away, and what was typed does not follow to another view."""
    world = World()
    wanted = start(world, "1", workflow="train")[:-1]
    run_id = start(world, "2", workflow="load")
    page = open_console(world.services)
    assert page.evaluate(TYPE_AND_REDRAW, f"{wanted} ") == f"{wanted} "
    rows(page, 1)
    expect(page).to_have_url(re.compile(rf"\?q={wanted}$"))
    expect(page.get_by_role("searchbox")).to_have_value(f"{wanted} ")
    page.get_by_role("link", name="Show all runs").click()
    expect(page.get_by_role("searchbox")).to_have_value("")
    page.evaluate(TYPE_AND_LEAVE, ["load", f"/runs/{run_id}"])
    expect(page).to_have_url(re.compile(rf"#/runs/{run_id}$"))
    assert page.evaluate(TYPE_AND_REDRAW, "s1 ") == "s1 "
    expect(page.get_by_role("table", name="Steps").locator("tbody tr")).to_have_count(1)
    page.evaluate(TYPE_AND_LEAVE, ["s0", "/runs"])
    expect(page).to_have_url(re.compile(r"#/runs$"))


def test_tab_that_cannot_be_read_can_be_tried_again(open_console: OpenConsole) -> None:
    """The run stays, and of tabs that are left before they are read, none comes back."""
    world = World()
    run_id = world.start(chain(2))
    page = open_console(world.services)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    page.evaluate("() => { location.hash = '/runs/flow'; }")
    expect(page).to_have_url(re.compile(rf"#/runs/{run_id}$"))
    expect(page.get_by_role("table", name="Steps")).to_be_visible()
    assert [url.rpartition("/api")[2] for url in asked] == ["/runs/flow"]
    page.route("**/api/runs/*/graph*", lambda route: route.fulfill(status=503, json={"error": "`the store` is away"}))
    page.get_by_role("link", name="Graph").click()
    expect(page.get_by_role("alert")).to_have_text("the store is away")
    expect(page.get_by_role("heading", level=1)).to_contain_text(run_id)
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("application")).to_be_visible()
    page.evaluate(
        "id => { for (const tab of ['timeline', 'graph', 'details']) location.hash = `/runs/${id}/${tab}`; }", run_id
    )
    expect(page.get_by_role("heading", name="Summary")).to_be_visible()
    expect(page.get_by_role("application")).to_have_count(0)


def test_focus_follows_its_row(open_console: OpenConsole) -> None:
    """When rows come or move, the row that has the focus keeps it."""
    world = World()
    first = start(world, "1")
    page = open_console(world.services)
    page.get_by_role("link", name=first).focus()
    start(world, "2")
    # The focus stays where it is.
    page.evaluate("[...document.querySelectorAll('main button')].find((one) => one.textContent === 'Refresh').click()")
    rows(page, 2)
    expect(page.get_by_role("link", name=first)).to_be_focused()
    page.get_by_role("link", name=first).click()
    for name in ("s1", "s0"):
        page.get_by_role("link", name=name).focus()
        page.evaluate("document.querySelector('main thead button').click()")
        expect(page.get_by_role("link", name=name)).to_be_focused()
