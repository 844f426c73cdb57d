"""Changes appear by themselves, within a second of their commit."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from atom_client.console import live
from atom_client.console.feeds import Feeds
from atom_emulator.firestore.memory import MemoryListener
from atom_emulator.testing.world import World
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Update
from console.conftest import OpenConsole
from support.workflows import chain, fan, script

SOON_S: Final = 1.0
LATEST_STATES: Final = "() => [...document.querySelectorAll('[data-state]')].map((one) => one.dataset.state)"


class Opened:
    """A page of a console that listens to a world."""

    def __init__(self, world: World, open_console: OpenConsole, path: str) -> None:
        self.world = world
        self.feeds = Feeds(MemoryListener(world.store.inner), lingers_s=0.0)
        self.page: Page = open_console(world.services, path=path, feeds=self.feeds)
        expect(self.page.locator("[data-status=live]")).to_be_visible()

    @property
    def reads(self) -> int:
        """The documents that the console has read so far."""
        return self.feeds.documents_read

    def appears(self, selector: str, text: str, *, within_s: float = SOON_S) -> float:
        """Wait until an element has this text, and return how long that took."""
        began = time.monotonic()
        expect(self.page.locator(selector).first).to_contain_text(text, timeout=within_s * 1000)
        return time.monotonic() - began


@pytest.fixture
def world() -> World:
    """Return a world in which each step takes a minute."""
    return World(script(s0={"duration": 60}, s1={"duration": 60}))


def step_on(world: World) -> None:
    """Let a minute pass, in which a job ends."""
    world.clock.move(timedelta(seconds=70))
    world.tick()


def test_a_run_changes_on_the_screen(open_console: OpenConsole, world: World) -> None:
    """Steps, facts and the run's state appear within a second, and the page is not live once the run has ended."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}")
    row = "main tbody tr:has-text('s0')"
    opened.appears(row, "RUNNING")
    step_on(world)
    opened.appears(row, "SUCCEEDED")
    opened.appears("main", "1 of 2 steps ended", within_s=5)
    step_on(world)
    opened.appears("h1", "SUCCEEDED")
    expect(opened.page.locator("[data-status=ended]")).to_contain_text("As of")


def test_elapsed_times_go_on(open_console: OpenConsole, world: World) -> None:
    """The time of a step that runs goes on every second, without a word from the server."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}")
    ticking = opened.page.locator("ticking-time").first
    expect(ticking).to_have_text("1.0 s", timeout=5_000)
    expect(ticking).to_have_text("3.0 s", timeout=5_000)


def test_new_runs_and_ends_appear_in_the_list(open_console: OpenConsole, world: World) -> None:
    """A run that is started is the first row within a second, and its end is shown there."""
    opened = Opened(world, open_console, "/runs")
    run_id = world.start(chain(1))
    opened.appears("main tbody tr", run_id)
    opened.appears("main tbody tr", "RUNNING")
    world.run_to_end(run_id)
    opened.appears("main tbody tr", "SUCCEEDED")
    expect(opened.page.get_by_text("1 run", exact=True)).to_be_visible()


def test_a_list_of_open_runs_loses_those_that_end(open_console: OpenConsole, world: World) -> None:
    """A run that is not like the list any more leaves it."""
    run_id = world.start(chain(1))
    opened = Opened(world, open_console, "/runs?state=RUNNING")
    opened.appears("main tbody tr", run_id)
    world.run_to_end(run_id)
    expect(opened.page.locator("main tbody tr")).to_have_count(0, timeout=SOON_S * 1000)


def test_a_step_changes_on_the_screen(open_console: OpenConsole, world: World) -> None:
    """A page of a step shows its end within a second."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}/steps/s0")
    opened.appears("h1", "RUNNING")
    step_on(world)
    opened.appears("h1", "SUCCEEDED")
    assert opened.reads < 10


@pytest.mark.parametrize("tab", ["graph", "timeline"])
def test_other_views_of_a_run_are_live(open_console: OpenConsole, world: World, tab: str) -> None:
    """A run's state changes above each of its views, without an error in any of them."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}/{tab}")
    step_on(world)
    step_on(world)
    opened.appears("h1", "SUCCEEDED")


def test_many_steps_are_read_once_and_change_alone(open_console: OpenConsole) -> None:
    """A run of 10,000 steps is read once; a change is on the screen within a second and costs a read."""
    world = World()
    # Waiting steps are enough: to start ten thousand jobs takes twice as long as everything else here.
    run_id = world.start(fan(9_998))
    nodes = len(world.steps(run_id))
    opened = Opened(world, open_console, f"/runs/{run_id}?q=leaf7777")
    assert nodes <= opened.reads <= nodes + 2
    before = opened.reads
    world.store.commit([Update(path=step_path(run_id, "leaf7777"), fields={"message": "halfway there"})])
    opened.appears("main tbody tr", "halfway there")
    assert opened.reads - before == 1
    opened.page.reload()
    expect(opened.page.locator("[data-status=live]")).to_be_visible()
    assert opened.reads - before <= 2


def test_a_lost_connection_is_told_and_made_again(open_console: OpenConsole, world: World) -> None:
    """A page says that its connection is lost, tries again by itself, and then shows what it has missed."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}")
    opened.page.route("**/live?*", lambda route: route.abort())
    # The stream that is open ends with its feed.
    opened.feeds.close()
    expect(opened.page.locator("[data-status=lost]")).to_contain_text("Connection lost, trying again")
    step_on(world)
    opened.page.unroute("**/live?*")
    opened.appears("main tbody tr:has-text('s0')", "SUCCEEDED", within_s=20)
    expect(opened.page.locator("[data-status=live]")).to_be_visible()


def test_a_problem_of_the_platform_is_told(open_console: OpenConsole, world: World) -> None:
    """What the server says about its own connection is shown as lost until it is back."""
    run_id = world.start(chain(2))
    world.settle_down()
    page = open_console(world.services)
    lines = [{"problem": ""}, {"problem": "Firestore does not answer: 503"}]
    page.route("**/api/console", lambda route: route.fulfill(json={"place": "a test", "read_only": True, "live": True}))
    page.route("**/live?*", lambda route: route.fulfill(body="".join(f"{json.dumps(one)}\n" for one in lines)))
    page.reload()
    page.evaluate("path => { location.hash = path; }", f"/runs/{run_id}")
    expect(page.locator("[data-status=lost]")).to_be_visible()


def test_two_pages_share_a_listener(open_console: OpenConsole, world: World) -> None:
    """Two pages of a run are both live, and the run is listened to once."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}")
    second = opened.page.context.new_page()
    # The token is put where no script of the page runs, which would choose an address of its own.
    second.goto(f"{opened.page.url.partition('#')[0]}assets/console.css")
    second.evaluate("token => sessionStorage.setItem('atom-console-token', token)", token_of(opened.page))
    second.goto(opened.page.url)
    expect(second.locator("[data-status=live]")).to_be_visible()
    before = opened.reads
    step_on(world)
    for page in (opened.page, second):
        expect(page.locator("main tbody tr").first).to_contain_text("SUCCEEDED")
    assert opened.reads - before <= 4


def token_of(page: Page) -> str:
    """Return the token that a page has."""
    token: str = page.evaluate("sessionStorage.getItem('atom-console-token')")
    return token


def test_a_hidden_page_stops_and_goes_on(open_console: OpenConsole, world: World) -> None:
    """A page that no one can see for a while is not followed, and goes on once it is seen again."""
    run_id = world.start(chain(2))
    world.settle_down()
    opened = Opened(world, open_console, f"/runs/{run_id}")
    page = opened.page
    page.clock.install()
    see(page, "hidden")
    page.clock.fast_forward(61_000)
    expect(page.locator("[data-status=paused]")).to_contain_text("As of")
    step_on(world)
    see(page, "visible")
    opened.appears("main tbody tr:has-text('s0')", "SUCCEEDED", within_s=5)


def see(page: Page, state: str) -> None:
    """Let the page be visible, or hidden."""
    page.evaluate(
        "state => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        state,
    )


def test_a_history_is_not_followed(open_console: OpenConsole, world: World) -> None:
    """A console of stored runs shows them as of a time, and asks for no stream."""
    run_id = world.start(chain(2))
    world.settle_down()
    page = open_console(world.services, path=f"/runs/{run_id}", read_only=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.locator(".as-of")).to_contain_text("As of")
    assert not any("/api/" in url and "/live" in url for url in asked)


def test_every_run_under_way_is_shown_with_its_progress(
    open_console: OpenConsole, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps of only some are counted at a time; the others keep what was counted."""
    monkeypatch.setattr(live, "COUNT_EVERY_S", 0.0)
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.1)
    for number in range(25):
        world.start(chain(2), run_key=str(number))
    world.settle_down()
    opened = Opened(world, open_console, "/runs")
    expect(opened.page.locator("main td[data-name=Steps]").filter(has_text="0 of 2")).to_have_count(25)


def test_a_deleted_run_leaves_the_history(open_console: OpenConsole, world: World) -> None:
    """Its column would lead to nothing."""
    run_id, _ = [world.start(chain(2), run_key=str(number)) for number in range(2)]
    world.settle_down()
    opened = Opened(world, open_console, "/workflows/flow")
    expect(opened.page.locator("thead a")).to_have_count(2)
    world.store.inner.delete(run_path(run_id))
    expect(opened.page.locator("thead a")).to_have_count(1)
