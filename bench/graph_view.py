"""`python -m bench.graph_view [FILE ...]`: measure how fast the console's graph opens, moves and changes.

Each file, and 100 layers of 100 steps with three random dependencies each, is started on a coordinator in this process
and opened in headless Chromium, folded and unfolded. Times by the clock depend on what else the machine does, so the
processor time of the browser and of this process (server and test client) is printed beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from atom_client.console.app import Console
from atom_client.console.guard import new_token
from atom_client.console.server import ConsoleServer
from atom_emulator.testing.world import World

_OPTIONS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
_GESTURE_S: Final = 3.0
_CHANGES: Final = 100


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of wall-clock time, and of processor time in the browser and in this process."""

    clock: float
    browser: float
    own: float

    def __str__(self) -> str:
        """Return all three."""
        return f"{self.clock:5.2f} s ({self.browser:.2f} + {self.own:.2f} s of processor)"


class Stopwatch:
    """Measures what a call takes."""

    def __init__(self, browser: Browser) -> None:
        self._session: CDPSession = browser.new_browser_cdp_session()

    def _browser(self) -> float:
        processes = self._session.send("SystemInfo.getProcessInfo")["processInfo"]
        return float(sum(one["cpuTime"] for one in processes))

    def time(self, call: Callable[[], object]) -> Spent:
        """Call, and return what that took."""
        before = time.monotonic(), self._browser(), time.process_time()
        call()
        return Spent(time.monotonic() - before[0], self._browser() - before[1], time.process_time() - before[2])


def layered() -> str:
    """Return the definition of 10,000 steps in layers."""
    chosen = Random(7)  # noqa: S311 (a graph, not a secret)
    steps: list[dict[str, Any]] = []
    for layer in range(100):
        for number in range(100):
            after = [f"layer-{layer - 1}-step-{one}" for one in chosen.sample(range(100), 3)] if layer else []
            steps.append({"id": f"layer-{layer}-step-{number}", "task": {"imageUri": "i"}, "dependsOn": after})
    return json.dumps({"name": "layers", "steps": steps})


def measure(browser: Browser, definition: str) -> Iterator[str]:
    """Yield lines about a workflow."""
    world = World()
    run_id = world.start(definition)
    world.settle_down()
    console = Console(services=world.services, token=new_token(), place="a measurement")
    watch = Stopwatch(browser)
    with ConsoleServer(console) as server:
        for fold in ("similar", "none"):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(server.address)
            page.wait_for_selector("main h1")
            before = world.store.reads
            opened = watch.time(lambda page=page, fold=fold: _open(page, run_id, fold))  # type: ignore[misc]
            yield f"  fold={fold:5}  opening {opened}, {world.store.reads - before:,} documents read"
            again = watch.time(lambda page=page, fold=fold: _open(page, run_id, fold))  # type: ignore[misc]
            yield f"              again   {again}"
            for name, gesture in (("pan", _drag), ("zoom", _wheel)):
                frames = page.evaluate(_COUNT)
                spent = watch.time(lambda page=page, gesture=gesture: gesture(page))  # type: ignore[misc]
                shown = page.evaluate(_COUNT) - frames
                each = 1000 * spent.browser / max(1, shown)
                rate = shown / spent.clock
                yield f"              {name:7} {rate:5.1f} frames a second, {each:.0f} ms of processor each"
            changed = watch.time(lambda page=page: page.evaluate(_CHANGE, _CHANGES))  # type: ignore[misc]
            yield f"              {_CHANGES} changes of 100 states {changed}"
            page.close()


_COUNT: Final = "() => document.querySelector('.graph').graph.surface.frames"
_CHANGE: Final = """async (rounds) => {
  const { graph } = document.querySelector(".graph");
  const ids = graph.plot.data.members[0] ?? graph.plot.ids;
  for (let round = 0; round < rounds; round++) {
    graph.setSteps(ids.slice(0, 100).map((id) => ({ id, state: round % 2 ? "FAILED" : "RUNNING" })));
    await new Promise(requestAnimationFrame);
  }
}"""


def _open(page: Page, run_id: str, fold: str) -> None:
    page.evaluate("() => { location.hash = '/runs'; }")
    page.wait_for_selector("main table")
    page.evaluate("address => { location.hash = address; }", f"/runs/{run_id}/graph?fold={fold}")
    page.wait_for_selector(".graph[data-ready]", timeout=120_000)


def _middle(page: Page) -> tuple[float, float]:
    box = page.locator("canvas").bounding_box()
    assert box is not None, "the graph is drawn"  # noqa: S101 (a benchmark)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def _drag(page: Page) -> None:
    x, y = _middle(page)
    ends_at, step = time.monotonic() + _GESTURE_S, 0
    page.mouse.move(x, y)
    page.mouse.down()
    while time.monotonic() < ends_at:
        step += 1
        page.mouse.move(x + (step * 7) % 300 - 150, y + (step * 5) % 200 - 100)
    page.mouse.up()


def _wheel(page: Page) -> None:
    page.mouse.move(*_middle(page))
    ends_at, step = time.monotonic() + _GESTURE_S, 0
    while time.monotonic() < ends_at:
        step += 1
        page.mouse.wheel(0, -40 if step % 120 < 60 else 40)  # noqa: PLR2004 (there and back)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="workflow files to open besides")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser to use")
    options = parser.parse_args(arguments)
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=options.chromium, args=list(_OPTIONS))
        for name, text in [*((path.stem, path.read_text()) for path in options.files), ("100 x 100 x 3", layered())]:
            sys.stdout.write(f"{name}\n")
            for line in measure(browser, text):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
