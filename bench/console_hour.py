"""`python -m bench.console_hour`: play an hour of changes to the console's page, and measure what it holds afterwards.

A coordinator, the console's server and the test client are in this process. A change of ten steps is committed for each
second of the hour, as fast as the page shows them: a third of the hour each in the table of steps, the graph and the
timeline of a run of 10,000 steps. Between them, all views are opened and left again. Heap, nodes and event listeners
of the page are those after a garbage collection.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from atom_client.console import live
from atom_client.console.app import Console
from atom_client.console.feeds import Feeds
from atom_client.console.guard import new_token
from atom_client.console.server import ConsoleServer
from atom_client.views.as_json import moment_text
from atom_emulator.firestore.memory import MemoryListener
from atom_emulator.testing.world import World
from atom_workflows.documents import step_path
from atom_workflows.ports import Update

_OPTIONS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
_BATCH: Final = 10
_STATES: Final = ("RUNNING", "SUCCEEDED", "FAILED", "RETRYING")
_WITHIN_MS: Final = 120_000
# The address changes in a later task, and the view that is left may take one more to close.
_GO: Final = """async (address) => {
  if (location.hash === `#${address}`) return;
  const changed = new Promise((done) => addEventListener("hashchange", done, { once: true }));
  location.hash = address;
  await changed;
  await new Promise((done) => setTimeout(done));
}"""
VIEWS: Final = ("steps", "graph", "timeline")


@dataclass(frozen=True, slots=True)
class Held:
    """What the page and this process hold at a moment."""

    heap_mb: float
    nodes: int
    listeners: int
    threads: int
    feeds: int
    rss_mb: float

    def __str__(self) -> str:
        """Return all of it on a line."""
        return (
            f"page: {self.heap_mb:6.1f} MB, {self.nodes:,} nodes, {self.listeners:,} event listeners;"
            f" server: {self.threads} threads, {self.feeds} feeds that listen, {self.rss_mb:,.0f} MB"
        )


class Watching:
    """A page that watches a run of many steps."""

    def __init__(self, browser: Browser, *, steps: int) -> None:
        # One job goes on, and so does the run.
        self.world = World(json.dumps({"rules": [{"step": "last", "duration": 86_400}]}))
        # Two more belong to the run.
        self.run_id = self.world.start(_fan(steps - 2))
        self.world.settle_down()
        self.feeds = Feeds(MemoryListener(self.world.store.inner), lingers_s=0.5)
        console = Console(services=self.world.services, token=new_token(), place="a measurement", feeds=self.feeds)
        self.server = ConsoleServer(console)
        self._browser = browser
        self._steps = steps - 2
        self._changes = 0
        self.page: Page
        self._session: CDPSession

    def open(self) -> None:
        """Open the page."""
        self.page = self._browser.new_page(viewport={"width": 1280, "height": 800})
        self._session = self.page.context.new_cdp_session(self.page)
        self._session.send("Performance.enable")
        self.page.goto(self.server.address)
        self.page.wait_for_selector("main h1")

    def show(self, address: str) -> None:
        """Go to a view, and wait until it is drawn."""
        self.page.evaluate(_GO, address)
        self.page.wait_for_function(
            "() => { const main = document.querySelector('main');"
            " return main.querySelector('h1') && !main.textContent.includes('Loading …'); }",
            timeout=_WITHIN_MS,
        )

    def play(self, view: str, batches: int) -> None:
        """Let ten steps change each second, and wait until the page shows the time of the last change."""
        tab = "" if view == "steps" else f"/{view}"
        self.show(f"/runs/{self.run_id}{tab}")
        # Not by `wait_for_selector`, whose handle would keep the view that is left.
        self.page.locator("[data-status=live]").wait_for(timeout=_WITHIN_MS)
        for _ in range(batches):
            self.world.clock.move(timedelta(seconds=1))
            self.world.store.commit([self._change() for _ in range(_BATCH)])
            self.page.wait_for_function(
                "at => document.querySelector('.as-of time')?.dateTime >= at",
                arg=moment_text(self.world.clock.now()),
                timeout=_WITHIN_MS,
            )

    def _change(self) -> Update:
        self._changes += 1
        state = _STATES[self._changes // self._steps % len(_STATES)]
        step_id = f"leaf{self._changes * 7 % self._steps}"
        return Update(path=step_path(self.run_id, step_id), fields={"state": state, "message": f"at {self._changes}"})

    def tour(self) -> None:
        """Open and leave each view."""
        run = f"/runs/{self.run_id}"
        for address in ("/runs", run, f"{run}/graph", f"{run}/timeline", f"{run}/details", f"{run}/steps/leaf1"):
            self.show(address)
        for address in ("/workflows/flow", "/schedules", "/file", "/start", "/runs"):
            self.show(address)

    def held(self) -> Held:
        """Return what is held once garbage is collected and streams that were left have ended."""
        deadline = time.monotonic() + 2 * live.KEEP_ALIVE_S + 5
        while self.feeds.listening > 1 and time.monotonic() < deadline:
            self.page.wait_for_timeout(200)
        for _ in range(2):
            self._session.send("HeapProfiler.collectGarbage")
        gc.collect()
        found = {one["name"]: one["value"] for one in self._session.send("Performance.getMetrics")["metrics"]}
        return Held(
            heap_mb=found["JSHeapUsedSize"] / 1e6,
            nodes=int(found["Nodes"]),
            listeners=int(found["JSEventListeners"]),
            threads=threading.active_count(),
            feeds=self.feeds.listening,
            rss_mb=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6,
        )


def _fan(steps: int) -> str:
    leaves: list[dict[str, Any]] = [
        {"id": f"leaf{number}", "task": {"imageUri": "i"}, "dependsOn": ["root"]} for number in range(steps)
    ]
    ends = [{"id": name, "task": {"imageUri": "i"}} for name in ("root", "last")]
    return json.dumps({"name": "flow", "steps": [*ends, *leaves]})


@contextmanager
def watching(browser: Browser, *, steps: int) -> Iterator[Watching]:
    """Yield a page that has been to all views once, so that everything that is loaded once has been."""
    found = Watching(browser, steps=steps)
    with found.server:
        found.open()
        found.tour()
        yield found
        found.page.close()


def measure(browser: Browser, *, steps: int, batches: int, tours: int) -> Iterator[tuple[str, Held]]:
    """Yield what is held at the start, after each part of the hour, and after all views were opened and left."""
    with watching(browser, steps=steps) as page:
        yield "at the start", page.held()
        for view in VIEWS:
            for half in ("half of", "all of"):
                page.play(view, batches // len(VIEWS) // 2)
                page.show("/runs")
                yield f"after {half} the changes in the {view}", page.held()
        for number in (1, 2):
            for _ in range(tours // 2):
                page.tour()
            yield f"after {number * (tours // 2)} tours through 10 views", page.held()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=3_600)
    parser.add_argument("--tours", type=int, default=20)
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser to use")
    options = parser.parse_args()
    live.LEAST_PAUSE_S = 0.0  # type: ignore[misc]  # changes are shown as fast as the page takes them
    began = time.monotonic()
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=options.chromium, args=list(_OPTIONS))
        for when, held in measure(browser, steps=options.steps, batches=options.batches, tours=options.tours):
            sys.stdout.write(f"{when:48} {held}  ({time.monotonic() - began:,.0f} s)\n")
            sys.stdout.flush()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
