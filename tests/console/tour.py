"""Every view of the console, and how to open it on the showcase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from playwright.sync_api import Page, expect

from console.showcase import SALES, Showcase


class View(NamedTuple):
    """A view: its address, what is done there, and a text or selector that shows that it is complete."""

    name: str
    path: Callable[[Showcase], str]
    ready: str
    act: Callable[[Page], None] = lambda _: None

    def open(self, page: Page, shown: Showcase) -> None:
        """Open the view on a page of the console, and wait until it is complete."""
        page.keyboard.press("Escape")
        page.evaluate("path => { location.hash = path; }", self.path(shown))
        expect(page.locator("main h1")).to_have_count(1)
        self.act(page)
        expect(page.locator(self.ready).first).to_be_visible()


def _press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name).first.click()


def _paste(text: str) -> Callable[[Page], None]:
    def paste(page: Page) -> None:
        page.get_by_label("Name of the file").fill("sales.yaml")
        page.get_by_role("textbox", name="Text (paste").fill(text)

    return paste


VIEWS: Final = (
    View("runs", lambda _: "/runs", "table[aria-label=Runs]"),
    View("run", lambda shown: f"/runs/{shown.failed}", "table[aria-label=Steps]"),
    View("running", lambda shown: f"/runs/{shown.running}", "table[aria-label=Steps]"),
    View("invalid", lambda shown: f"/runs/{shown.invalid}/details", "section[aria-label=Errors]"),
    View("details", lambda shown: f"/runs/{shown.failed}/details", "section[aria-label=Facts]"),
    View("graph", lambda shown: f"/runs/{shown.running}/graph", ".graph[data-ready]"),
    View("timeline", lambda shown: f"/runs/{shown.failed}/timeline", "section[aria-label='Critical path']"),
    View("step", lambda shown: f"/runs/{shown.failed}/steps/train", "table[aria-label=Attempts]"),
    View("items", lambda shown: f"/runs/{shown.failed}/steps/load", "table[aria-label='Items of load']"),
    View("item", lambda shown: f"/runs/{shown.failed}/steps/load[7]", "table[aria-label=Attempts]"),
    View("history", lambda _: "/workflows/sales", "table.history"),
    View("start", lambda _: "/start", "[aria-label='The plan']", _paste(SALES)),
    View("file", lambda _: "/file", "[aria-labelledby=file-graph]", _paste(SALES)),
    View("problems", lambda _: "/file", ".findings", _paste(SALES.replace("[clean]", "[cleaned]"))),
    View("schedules", lambda _: "/schedules", ".schedule table"),
    View("letters", lambda _: "/dead-letters", ".letters"),
    View("cancel", lambda shown: f"/runs/{shown.running}", "dialog .preview p:not(.quiet)", _press("Cancel …")),
    View("retry", lambda shown: f"/runs/{shown.failed}", "dialog .preview p:not(.quiet)", _press("Retry …")),
    View(
        "repair",
        lambda shown: f"/runs/{shown.failed}",
        "dialog [aria-label='What becomes of each step']",
        _press("Retry with an edited"),
    ),
    View("pause", lambda _: "/schedules", "dialog .preview p:not(.quiet)", _press("Pause …")),
    View("replay", lambda _: "/dead-letters", "dialog .preview p:not(.quiet)", _press("Replay all")),
    View("error", lambda _: "/runs/no-such-run", "[role=alert]"),
)
