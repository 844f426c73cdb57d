"""A run: why it is where it is, its steps, its loops, and what people did to it."""

from __future__ import annotations

import json
import re
from datetime import timedelta

from playwright.sync_api import Page, expect

from atom_emulator.testing.world import World
from console.conftest import OpenConsole
from support.commands import cancel_run
from support.workflows import chain, definition, fan, script

LOOP = f"name: flow\nsteps:\n- {{id: train, forEach: {list(range(120))}, maxParallel: 20, task: {{imageUri: i}}}}\n"


def rows(page: Page, count: int) -> None:
    """Expect so many steps in the table."""
    expect(page.get_by_role("table", name="Steps").locator("tbody tr")).to_have_count(count)


def failed() -> tuple[World, str]:
    """Return a world with a run in which a step failed and blocked another one."""
    world = World(script(first={"duration": 10}, bad={"always_fail": True, "message": "no memory"}))
    run_id = world.start(definition({"first": [], "bad": ["first"], "last": ["bad"]}))
    world.run_to_end(run_id)
    return world, run_id


def test_a_run_says_why_and_lists_its_steps(open_console: OpenConsole) -> None:
    """A run has the words of `why`, and each step with its state and message; a reason leads to its step."""
    world, run_id = failed()
    page = open_console(world.services, path=f"/runs/{run_id}")
    why = page.get_by_label("Why it is where it is")
    expect(why).to_contain_text("3 steps, 1 failed, 1 blocked")
    expect(why).to_contain_text("bad FAILED after 1 attempt: no memory; it blocks last")
    expect(page.get_by_role("row").filter(has_text="SKIPPED")).to_contain_text(
        "skipped because step bad did not succeed"
    )
    page.get_by_role("link", name="Step bad").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("bad.*FAILED", re.DOTALL))


def test_only_tolerated_steps_are_marked(open_console: OpenConsole) -> None:
    """A failure that the file allows is marked as tolerated, and no other step is."""
    world = World(script(bad={"always_fail": True}))
    run_id = world.start(definition({"first": [], "bad": ["first"]}, bad={"allowFailure": True}))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}")
    rows(page, 2)
    expect(page.get_by_role("row").filter(has_text="tolerated")).to_have_count(1)
    expect(page.get_by_role("row").filter(has_text="bad").locator(".tag")).to_have_text("tolerated")


def test_the_beginning_of_an_id_is_enough(open_console: OpenConsole) -> None:
    """A reference to a run opens it, and the address then has its id."""
    world, run_id = failed()
    page = open_console(world.services, path=f"/runs/{run_id[:-2]}?state=FAILED")
    rows(page, 1)
    expect(page).to_have_url(re.compile(rf"#/runs/{run_id}\?state=FAILED$"))


def test_steps_are_filtered_and_searched_without_reading(open_console: OpenConsole) -> None:
    """States, searches and orders are part of the address, and read nothing."""
    world, run_id = failed()
    page = open_console(world.services, path=f"/runs/{run_id}")
    rows(page, 3)
    before = world.store.reads
    page.get_by_role("button", name="SUCCEEDED 1").click()
    rows(page, 1)
    page.get_by_role("link", name="Show all steps").click()
    rows(page, 3)
    page.get_by_label("Search ids and messages").fill("memory")
    rows(page, 1)
    expect(page).to_have_url(re.compile(r"\?q=memory$"))
    page.get_by_label("Search ids and messages").fill("nothing like this")
    expect(page.get_by_text("No step has this text in its id or message.")).to_be_visible()
    assert world.store.reads == before


def test_steps_are_sorted(open_console: OpenConsole) -> None:
    """A column's heading sorts by it, and once more goes back to the order of the starts."""
    world, run_id = failed()
    page = open_console(world.services, path=f"/runs/{run_id}")
    first = page.get_by_role("table", name="Steps").locator("tbody th").first
    expect(first).to_have_text("first")
    page.get_by_role("button", name="Step", exact=True).click()
    expect(first).to_have_text("bad")
    expect(page.get_by_role("columnheader", name="Step")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Step", exact=True).click()
    expect(first).to_have_text("first")


def test_many_steps_are_paged_and_read_once(open_console: OpenConsole) -> None:
    """A page has 200 steps; others are shown without reading, and so is another tab."""
    world = World()
    run_id = world.start(fan(450))
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}")
    rows(page, 200)
    before = world.store.reads
    page.get_by_role("button", name="Last").click()
    rows(page, 52)
    page.get_by_role("link", name="Details").click()
    expect(page.get_by_role("heading", name="Facts")).to_be_visible()
    page.go_back()
    rows(page, 52)
    assert world.store.reads == before


def test_a_loop_is_one_row_until_it_is_opened(open_console: OpenConsole) -> None:
    """A step with `forEach` has the counts of its items, and a page of them when it is opened."""
    world = World(script(train={"duration": 600}))
    run_id = world.start(LOOP)
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}")
    rows(page, 1)
    expect(page.get_by_role("row").filter(has_text="train")).to_contain_text("0 of 120 ended, 20 running")
    button = page.get_by_role("button", name="Items of train")
    button.click()
    items = page.get_by_role("table", name="Items of train")
    expect(items.locator("tbody tr")).to_have_count(50)
    expect(button).to_have_attribute("aria-expanded", "true")
    page.get_by_label("Pages of Items of train").get_by_role("button", name="Last").click()
    expect(items.get_by_role("link", name="train[119]")).to_be_visible()
    button.click()
    expect(items).to_have_count(0)


def test_details_have_facts_outputs_and_what_people_did(open_console: OpenConsole) -> None:
    """The details say what a run is, what it was given, and who changed it, when and why."""
    world = World(script(s0={"duration": 600}))
    run_id = world.start(
        json.dumps({**json.loads(chain(2)), "params": {"day": {"type": "text", "default": "2026-03-01"}}})
    )
    world.settle_down()
    cancel_run(world.services, run_id, actor="ana@example.com", reason="the wrong day")
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}/details")
    expect(page.get_by_label("Facts")).to_contain_text("source")
    expect(page.get_by_label("Parameters")).to_contain_text('"2026-03-01" default')
    change = page.get_by_label("Changes by people").get_by_role("row").last
    expect(change).to_contain_text("ana@example.com")
    expect(change).to_contain_text("the wrong day")


def test_an_invalid_run_lists_its_problems(open_console: OpenConsole) -> None:
    """A run whose file is invalid has each problem with its place."""
    world = World()
    run_id = world.start("steps: [{id: a, dependsOn: [b]}]")
    page = open_console(world.services, path=f"/runs/{run_id}")
    expect(page.get_by_label("Why it is where it is")).to_contain_text("flow.yaml:1:29: there is no step b")
    expect(page.get_by_text("The run has no steps to show.")).to_be_visible()


def test_refresh_keeps_what_is_chosen(open_console: OpenConsole) -> None:
    """A run that is read again keeps the filters, and says as of when it is."""
    world = World(script(s0={"duration": 60}))
    run_id = world.start(chain(2))
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}?state=RUNNING")
    rows(page, 1)
    world.clock.move(timedelta(seconds=70))
    world.tick()
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("As of 2026-01-01 01:01:10")).to_be_visible()
    expect(page.get_by_role("button", name="SUCCEEDED")).to_be_visible()


def test_changes_that_are_sent_appear(open_console: OpenConsole) -> None:
    """A view that follows a run shows each change of the run and of its steps."""
    world = World(script(s0={"duration": 60}))
    run_id = world.start(chain(2))
    world.settle_down()
    page = open_console(world.services)
    lines = [
        {"run": {"state": "SUCCEEDED"}},
        {"steps": [{"id": "s0", "state": "SUCCEEDED", "duration_s": 61.0}, {"id": "s9", "state": "PENDING"}]},
    ]
    page.route("**/api/console", lambda route: route.fulfill(json={"place": "a test", "read_only": True, "live": True}))
    page.route("**/live?*", lambda route: route.fulfill(body="".join(f"{json.dumps(one)}\n" for one in lines)))
    page.reload()
    page.evaluate("path => { location.hash = path; }", f"/runs/{run_id}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("SUCCEEDED")
    rows(page, 3)
    expect(page.get_by_role("row", name="s0 SUCCEEDED")).to_contain_text("1 min 01 s")


def test_what_does_not_exist_is_a_sentence(open_console: OpenConsole) -> None:
    """A run or a page that does not exist is a sentence, and the way back is there."""
    page = open_console(World().services, path="/runs/none-such")
    expect(page.get_by_role("alert")).to_contain_text("none-such")
    page.evaluate("location.hash = '/nowhere'")
    expect(page.get_by_role("alert")).to_have_text("There is no such page.")
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(page.get_by_text("There are no runs yet.")).to_be_visible()
