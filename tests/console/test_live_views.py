"""Items, histories, schedules and timelines change by themselves, and views that are left follow nothing."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.schedules import pause_schedules
from atom_workflows.core.item_ids import item_id
from atom_workflows.documents import step_path
from atom_workflows.ports import Update
from console.conftest import OpenConsole
from console.test_live import Opened, see, step_on
from support.workflows import chain, script

LOOP = f"name: flow\nsteps:\n- {{id: train, forEach: {list(range(300))}, task: {{imageUri: i}}}}\n"
PATH = "gs://bucket/workflows/flow.yaml"
SCHEDULED = "timezone: Europe/Paris\nschedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]\n"


@pytest.fixture
def world() -> World:
    """Return a world in which each step takes a minute."""
    return World(script(**{name: {"duration": 60} for name in ("s0", "s1", "train")}))


def test_items_change_on_the_screen(open_console: OpenConsole, world: World) -> None:
    """An item on the page changes within a second, below its step's row and on the step's own page."""
    run_id = world.start(LOOP)
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}")
    opened.page.get_by_role("button", name="Items of train").click()
    for message, view in (("halfway", None), ("almost there", f"/runs/{run_id}/steps/train")):
        if view:
            opened.page.evaluate("path => { location.hash = path; }", view)
        row = opened.page.get_by_role("table", name="Items of train").get_by_role("row").nth(4)
        expect(row).to_contain_text("RUNNING")
        expect(opened.page.locator("[data-status=live]")).to_be_visible()
        [index] = row.get_by_role("link").inner_text().removeprefix("train[").split("]")[:1]
        path = step_path(run_id, item_id("train", int(index), 1))
        before = opened.reads
        world.store.commit([Update(path=path, fields={"message": message})])
        expect(row).to_contain_text(message, timeout=1_000)
        assert opened.reads - before == 1


def test_a_history_changes_on_the_screen(open_console: OpenConsole, world: World) -> None:
    """A step that ends changes its cell within a second, and a run that begins is a column."""
    world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, "/workflows/flow")
    cells = (
        opened.page.get_by_role("table", name="Runs by steps")
        .get_by_role("row")
        .filter(has_text="s0")
        .get_by_role("link")
    )
    expect(cells.first).to_have_attribute("data-state", "RUNNING")
    step_on(world)
    expect(cells.first).to_have_attribute("data-state", "SUCCEEDED", timeout=1_000)
    world.start(chain(2), run_key="another")
    world.settle_down()
    expect(opened.page.locator("thead a")).to_have_count(2, timeout=1_000)
    expect(cells.last).to_have_attribute("data-state", "RUNNING")


def test_schedules_change_on_the_screen(open_console: OpenConsole) -> None:
    """A pause by someone else appears within a second, and a refresh says as of when."""
    world = World(clock=MovedClock(datetime(2026, 3, 27, 12, tzinfo=UTC)))
    world.upload(SCHEDULED)
    opened = Opened(world, open_console, "/schedules")
    opened.appears("h2", "ACTIVE")
    pause_schedules(world.services, PATH, actor="ana@there", reason="the source is down")
    opened.appears("h2", "PAUSED")
    opened.appears("summary", "paused by ana@there")
    world.clock.move(timedelta(minutes=5))
    opened.page.get_by_role("button", name="Refresh").click()
    opened.appears(".as-of", "13:05:00")


def test_a_timeline_grows_while_it_can_be_seen(open_console: OpenConsole, world: World) -> None:
    """Bars of what runs grow with the clock, without a request; not while the page is hidden or once it was left."""
    run_id = world.start(chain(2))
    world.settle_down()
    world.clock.move(timedelta(seconds=5))
    opened = Opened(world, open_console, f"/runs/{run_id}/timeline")
    page = opened.page
    job = page.locator(".timeline-rows li", has_text="s0").locator("[data-part=job]")
    expect(job).to_have_attribute("title", re.compile(r"^([6-9]\.\d|\d\d) s running jobs"), timeout=10_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    before = opened.reads
    see(page, "hidden")
    stopped = job.get_attribute("title")
    assert ticks_within(page, 1_500) == 0
    assert job.get_attribute("title") == stopped
    see(page, "visible")
    expect(job).not_to_have_attribute("title", stopped or "", timeout=2_000)
    assert (asked, opened.reads) == ([], before)
    page.evaluate("() => { location.hash = '/schedules'; }")
    expect(page.get_by_role("heading", name="Schedules")).to_be_visible()
    assert ticks_within(page, 1_500) == 0


def ticks_within(page: Page, milliseconds: int) -> int:
    """Return how often the page's clock calls within a time."""
    return int(
        page.evaluate(
            """async (milliseconds) => {
              let count = 0;
              const { requestAnimationFrame: real } = window;
              window.requestAnimationFrame = (call) => { count += 1; return real(call); };
              await new Promise((done) => setTimeout(done, milliseconds));
              window.requestAnimationFrame = real;
              return count;
            }""",
            milliseconds,
        )
    )


def test_a_step_that_runs_again_is_live_again(open_console: OpenConsole, world: World) -> None:
    """Once its run has ended a step's page is no longer live; a retry from there makes it live."""
    run_id = world.start(chain(1))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}/steps/s0")
    page = opened.page
    world.run_to_end(run_id)
    opened.appears("h1", "SUCCEEDED")
    expect(page.locator("[data-status=live]")).to_have_count(0)
    page.get_by_role("button", name="Retry from here …").click()
    page.get_by_role("dialog").get_by_role("button", name="Run these steps again").click()
    expect(page.locator("[data-status=live]")).to_be_visible()
    world.settle_down()
    opened.appears("h1", "RUNNING", within_s=5)


def test_a_run_enters_a_filtered_list_at_its_place(open_console: OpenConsole, world: World) -> None:
    """A list of failed runs gains those that fail, in the order in which they were created."""
    first = world.start(chain(1))
    world.clock.move(timedelta(minutes=1))
    second = world.start(chain(1), run_key="another")
    opened = Opened(world, open_console, "/runs?state=FAILED")
    for run_id in (second, first):
        world.store.commit([Update(path=f"runs/{run_id}", fields={"state": "FAILED"})])
        opened.appears("main tbody", run_id)
    links = opened.page.locator("main tbody th a")
    assert [one.inner_text() for one in links.all()] == [second, first]
    expect(opened.page.get_by_text("2 runs", exact=True)).to_be_visible()


def test_an_answer_that_comes_after_its_view_was_left_opens_no_stream(open_console: OpenConsole, world: World) -> None:
    """A list or a run that is read again while the reader leaves is not followed."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, "/runs")
    page = opened.page
    page.evaluate(
        """() => {
          window.open_streams = new Set();
          const real = window.fetch;
          window.fetch = async (url, options) => {
            const isStream = url.includes("/live");
            if (!isStream) await new Promise((done) => setTimeout(done, 300));
            const found = await real(url, options);
            if (isStream) window.open_streams.add(url);
            options.signal?.addEventListener("abort", () => window.open_streams.delete(url));
            return found;
          };
        }"""
    )
    page.get_by_role("button", name="Refresh").click()
    page.evaluate("path => { location.hash = path; }", f"/runs/{run_id}")
    expect(page.get_by_role("table", name="Steps")).to_be_visible()
    page.get_by_role("button", name="Refresh").click()
    page.evaluate("() => { location.hash = '/file'; }")
    expect(page.get_by_role("heading", name="File")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.evaluate("() => [...window.open_streams]") == []


def test_silence_is_a_lost_connection_and_a_hidden_page_rests(open_console: OpenConsole, world: World) -> None:
    """A stream that says nothing for 45 seconds is lost; a page that is hidden for a minute stays disconnected."""
    run_id = world.start(chain(2))
    world.settle_down()
    page = open_console(world.services)
    said = {"place": "a test", "read_only": True, "live": True}
    page.route("**/api/console", lambda route: route.fulfill(json=said))
    page.reload()
    page.clock.install()
    page.evaluate(
        """(line) => {
          const real = window.fetch;
          window.streams = 0;
          window.fetch = async (url, options) => {
            // The list that is shown first may open a stream of its own, late.
            if (!/\\/runs\\/[^/]+\\/live/.test(url)) return real(url, options);
            window.streams += 1;
            const body = new ReadableStream({ start: (to) => to.enqueue(new TextEncoder().encode(line)) });
            return new Response(body);
          };
        }""",
        json.dumps({"problem": ""}) + "\n",
    )
    page.evaluate("path => { location.hash = path; }", f"/runs/{run_id}")
    expect(page.locator("[data-status=live]")).to_be_visible()
    page.clock.run_for(46_000)
    assert page.evaluate("() => window.streams") == 2
    expect(page.locator("[data-status=live]")).to_be_visible()
    see(page, "hidden")
    page.clock.run_for(61_000)
    expect(page.locator("[data-status=paused]")).to_be_visible()
    before = page.evaluate("() => window.streams")
    page.clock.run_for(120_000)
    assert page.evaluate("() => window.streams") == before
    see(page, "visible")
    expect(page.locator("[data-status=live]")).to_be_visible()
