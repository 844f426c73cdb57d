"""Pages stay true when a read fails, or when a read and a stream disagree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Page, Route, expect

from atom_emulator.testing.world import MovedClock, World
from atom_workflows.ports import Update
from console.conftest import OpenConsole
from console.test_history_page import NAME, history
from console.test_live import Opened
from support.workflows import chain, script

LOOP = f"name: flow\nsteps:\n- {{id: train, forEach: {list(range(150))}, task: {{imageUri: i}}}}\n"
PATH = "gs://bucket/workflows/flow.yaml"
SCHEDULED = "timezone: Europe/Paris\nschedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]\n"
# Streams that say only what the test lets them say.
HELD = """
  const real = window.fetch;
  const streams = new Set();
  window.say = (line) => streams.forEach((to) => to.enqueue(new TextEncoder().encode(`${JSON.stringify(line)}\\n`)));
  window.fetch = async (url, options) => {
    if (!/\\/live/.test(url)) return real(url, options);
    const start = (to) => {
      streams.clear();
      streams.add(to);
      to.enqueue(new TextEncoder().encode('{"problem": ""}\\n'));
    };
    return new Response(new ReadableStream({ start }));
  };
"""


def held(world: World, open_console: OpenConsole, path: str) -> Page:
    """Open a page whose stream says only that it is live."""
    page = open_console(world.services)
    page.route(
        "**/api/console", lambda route: route.fulfill(json={"place": "a test", "read_only": False, "live": True})
    )
    page.add_init_script(HELD)
    page.reload()
    page.wait_for_selector("main h1")
    page.evaluate("path => { location.hash = path; }", path)
    expect(page.locator("[data-status=live]")).to_be_visible()
    return page


def say(page: Page, **line: Any) -> None:
    """Let the stream say something."""
    page.evaluate("line => window.say(line)", line)


def fail_once(page: Page, url: str) -> None:
    """Answer the next request to an address with a passing error."""

    def unavailable(route: Route) -> None:
        route.fulfill(status=503, json={"error": "the database is busy"})

    page.route(url, unavailable, times=1)


def started(duration: int = 60) -> tuple[World, str]:
    """Return a world with a run whose steps run."""
    world = World(script(**{name: {"duration": duration} for name in ("s0", "train")}))
    run_id = world.start(chain(1))
    world.settle_down()
    return world, run_id


def test_refresh_that_finds_the_end_is_not_live(open_console: OpenConsole) -> None:
    """The stream is closed then, so nothing else would take the word away."""
    world, run_id = started()
    page = held(world, open_console, f"/runs/{run_id}")
    world.run_to_end(run_id)
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("h1")).to_contain_text("SUCCEEDED")
    expect(page.locator("[data-status=live]")).to_have_count(0)


def test_page_of_items_that_failed_can_be_read_again(open_console: OpenConsole) -> None:
    """One passing error does not take the items away."""
    world, _ = started()
    run_id = world.start(LOOP, run_key="loop")
    world.settle_down()
    page = held(world, open_console, f"/runs/{run_id}/steps/train")
    items = page.get_by_role("table", name="Items of train")
    expect(items).to_be_visible()
    fail_once(page, "**/items?page=2")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("alert")).to_contain_text("the database is busy")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("51 to 100 of 150 items")).to_be_visible()
    fail_once(page, "**/items?page=1")
    page.get_by_role("button", name="Previous").click()
    expect(page.get_by_role("alert")).to_contain_text("the database is busy")
    page.get_by_role("button", name="Refresh").click()
    expect(items).to_be_visible()


def test_step_whose_read_failed_is_read_again(open_console: OpenConsole) -> None:
    """The stream does not repeat the change."""
    world, run_id = started()
    page = held(world, open_console, f"/runs/{run_id}/steps/s0")
    fail_once(page, f"**/api/runs/{run_id}/steps/s0")
    world.run_to_end(run_id)
    say(page, changed=True, at="feed.7")
    expect(page.get_by_role("alert")).to_contain_text("the database is busy")
    expect(page.locator("h1")).to_contain_text("SUCCEEDED")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_list_stays_when_its_stream_is_refused(open_console: OpenConsole) -> None:
    """After a restart of the console, what one was reading is still there."""
    world, run_id = started()
    page = held(world, open_console, "/runs")
    say(page, error="the token is of an earlier console")
    expect(page.get_by_role("alert")).to_contain_text("an earlier console")
    expect(page.get_by_role("link", name=run_id)).to_be_visible()


def test_filter_that_cannot_be_read_shows_no_other_list(open_console: OpenConsole) -> None:
    """Neither the runs of the earlier filter nor that they are live."""
    world, run_id = started()
    page = held(world, open_console, "/runs")
    fail_once(page, "**/api/runs?state=FAILED")
    page.evaluate("path => { location.hash = path; }", "/runs?state=FAILED")
    expect(page.get_by_role("alert")).to_contain_text("the database is busy")
    expect(page.locator("[data-status=live]")).to_have_count(0)
    expect(page.get_by_role("link", name=run_id)).to_have_count(0)


def test_total_of_open_runs_does_not_grow(open_console: OpenConsole) -> None:
    """When a run leaves the first page, those of the second one are not new; the page is filled again."""
    world = World(script(s0={"duration": 60}))
    ids = [world.start(chain(1), run_key=str(number)) for number in range(55)]
    opened = Opened(world, open_console, "/runs?state=RUNNING&state=SEEDING&state=QUEUED")
    expect(opened.page.get_by_text("55 runs", exact=True)).to_be_visible()
    first, last = (opened.page.locator("main tbody th a").nth(place).inner_text() for place in (0, 49))
    [later, *_] = set(ids) - set(opened.page.locator("main tbody th a").all_inner_texts())
    world.store.commit([Update(path=f"runs/{first}", fields={"state": "FAILED"})])
    expect(opened.page.get_by_text("54 runs", exact=True)).to_be_visible()
    world.store.commit([Update(path=f"runs/{later}", fields={"state": "QUEUED"})])
    world.store.commit([Update(path=f"runs/{last}", fields={"state": "QUEUED"})])
    opened.appears(f"main tbody tr:has-text('{last}')", "QUEUED", within_s=5)
    expect(opened.page.locator("main tbody tr")).to_have_count(50)
    expect(opened.page.get_by_text("54 runs", exact=True)).to_be_visible()


def test_more_instants_go_when_the_schedule_changes(open_console: OpenConsole) -> None:
    """Times of an earlier cron are not the next runs."""
    world = World(clock=MovedClock(datetime(2026, 3, 27, 12, tzinfo=UTC)))
    world.upload(SCHEDULED)
    opened = Opened(world, open_console, "/schedules")
    opened.page.get_by_role("button", name="Show more runs").click()
    expect(opened.page.get_by_role("cell", name="2026-04-10 02:30").first).to_be_visible()
    world.upload(SCHEDULED.replace("30 2", "45 5"), generation=2)
    expect(opened.page.get_by_role("cell", name="05:45").first).to_be_visible()
    expect(opened.page.get_by_role("cell", name="02:30")).to_have_count(0)


def test_two_new_runs_in_one_line_are_two_columns(open_console: OpenConsole) -> None:
    """They push out the two oldest, and unread steps do not look like missing ones."""
    page = held(history(10), open_console, "/runs")
    page.evaluate("name => { location.hash = `/workflows/${encodeURIComponent(name)}?runs=10`; }", NAME)
    expect(page.locator("thead a")).to_have_count(10)
    new = {"state": "SUCCEEDED", "retries": 0, "taken_s": 1, "started_at": "2099-01-01T00:00:00Z"}
    runs = [{**new, "id": f"new-{number}", "created_at": f"2099-01-0{number}T00:00:00Z"} for number in (2, 1)]
    say(page, runs=runs)
    expect(page.locator("thead a").nth(9)).to_have_attribute("href", "#/runs/new-2")
    expect(page.locator("thead a").nth(8)).to_have_attribute("href", "#/runs/new-1")
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="s0"))
    expect(row.get_by_role("cell").nth(9)).to_have_text("…")


def test_token_of_an_earlier_console_is_replaced(open_console: OpenConsole) -> None:
    """Another tab may have the current one; a tab that was refused has none to hand on."""
    page = open_console(World().services)
    origin = page.url.partition("#")[0]
    old = page.context.new_page()
    old.goto(f"{origin}#token=earlier")
    expect(old.get_by_role("heading", name="Runs")).to_be_visible()
    page.close()
    alone = old.context.new_page()
    old.close()
    alone.goto(f"{origin}#token=earlier")
    expect(alone.get_by_role("alert")).to_contain_text("open the address that")
    another = alone.context.new_page()
    another.goto(origin)
    expect(another.get_by_role("alert")).to_contain_text("it contains the token of this console")


def test_action_that_could_not_be_prepared_can_be_tried_again(open_console: OpenConsole) -> None:
    """The dialog says why, not that it is still reading."""
    world = World(script(s0={"always_fail": True}))
    run_id = world.start(chain(1))
    world.run_to_end(run_id)
    page = open_console(world.services, path=f"/runs/{run_id}")
    fail_once(page, f"**/api/runs/{run_id}/repair")
    page.get_by_role("button", name="Retry with an edited file").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("the database is busy")
    expect(dialog.get_by_text("Reading …")).to_have_count(0)
    dialog.get_by_role("button", name="Ask again").click()
    expect(dialog.get_by_label("Reason")).to_be_visible()
    # The preview may have something else to say.
    expect(dialog.get_by_role("alert").filter(has_text="the database is busy")).to_have_count(0)


def test_options_cannot_change_while_an_action_is_sent(open_console: OpenConsole) -> None:
    """Otherwise, a new preview would take the place of the answer."""
    world, run_id = started()
    page = open_console(world.services, path=f"/runs/{run_id}")
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    confirm = dialog.locator("button.final, button.main")
    expect(confirm).to_be_enabled()
    waiting: list[Route] = []
    # Playwright cannot call a method that is written in C.
    page.route(f"**/api/runs/{run_id}/cancel", lambda route: waiting.append(route))  # noqa: PLW0108 (see above)
    confirm.click()
    expect(dialog.get_by_label("Reason")).to_be_disabled()
    waiting[0].continue_()
    expect(dialog).to_have_count(0)


def test_late_answer_leaves_the_address_of_the_next_page_alone(open_console: OpenConsole) -> None:
    """Only the address of the page that was opened with an abbreviated id gets the full one."""
    world, run_id = started()
    other = world.start(chain(1), run_key="other")
    page = open_console(world.services)
    waiting: list[Route] = []
    page.route("**/timeline*", lambda route: waiting.append(route))  # noqa: PLW0108 (as above)
    with page.expect_request("**/timeline*"):
        page.evaluate("path => { location.hash = path; }", f"/runs/{run_id[:-2]}/timeline")
    page.evaluate("path => { location.hash = path; }", f"/runs/{other}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(other)
    with page.expect_response("**/timeline*"):
        waiting[0].continue_()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))")
    assert page.url.endswith(f"#/runs/{other}")
