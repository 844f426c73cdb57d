"""Every view of the console, and how to open it on the showcase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from playwright.sync_api import Page, expect

from console.showcase import SALES, Showcase

PATIENCE_MS: Final = 20_000
"""A plan is estimated by playing it, which takes a busy machine seconds."""


class View(NamedTuple):
    """A view: its address, what is done there, and a text or selector that shows that it is complete."""

    name: str
    address: str
    ready: str
    act: Callable[[Page], None] = lambda _: None

    def open(self, page: Page, shown: Showcase) -> None:
        """Open the view on a page of the console, and wait until it is complete."""
        page.keyboard.press("Escape")
        page.evaluate("path => { location.hash = path; }", self.address.format(shown=shown))
        expect(page.locator("main h1")).to_have_count(1)
        self.act(page)
        expect(page.locator(self.ready).first).to_be_visible(timeout=PATIENCE_MS)


def _press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name).first.click()


def _paste(text: str) -> Callable[[Page], None]:
    def paste(page: Page) -> None:
        page.get_by_label("Name of the file").fill("sales.yaml")
        page.get_by_role("textbox", name="Text (paste").fill(text)

    return paste


VIEWS: Final = (
    View("runs", "/runs", "table[aria-label=Runs]"),
    View("run", "/runs/{shown.failed}", "table[aria-label=Steps]"),
    View("running", "/runs/{shown.running}", "table[aria-label=Steps]"),
    View("invalid", "/runs/{shown.invalid}/details", "section[aria-label=Errors]"),
    View("details", "/runs/{shown.failed}/details", "section[aria-label=Facts]"),
    View("graph", "/runs/{shown.running}/graph", ".graph[data-ready]"),
    View("timeline", "/runs/{shown.failed}/timeline", "section[aria-label='Critical path']"),
    View("step", "/runs/{shown.failed}/steps/train", "table[aria-label=Attempts]"),
    View("items", "/runs/{shown.failed}/steps/load", "table[aria-label='Items of load']"),
    View("item", "/runs/{shown.failed}/steps/load[7]", "table[aria-label=Attempts]"),
    View("history", "/workflows/sales", "table.history"),
    View("start", "/start", "[aria-label='The plan']", _paste(SALES)),
    View("file", "/file", ".graph[data-ready]", _paste(SALES)),
    View("problems", "/file", ".findings", _paste(SALES.replace("[clean]", "[cleaned]"))),
    View("schedules", "/schedules", ".schedule table"),
    View("letters", "/dead-letters", ".letters"),
    View("letter", "/dead-letters/{shown.letter}", "pre[aria-label='The event']"),
    View("cancel", "/runs/{shown.running}", "dialog .preview p:not(.quiet)", _press("Cancel …")),
    View("retry", "/runs/{shown.failed}", "dialog .preview p:not(.quiet)", _press("Retry …")),
    View(
        "repair",
        "/runs/{shown.failed}",
        "dialog [aria-label='What happens to each step']",
        _press("Retry with an edited"),
    ),
    View("mark", "/runs/{shown.failed}/steps/train", "dialog .preview p:not(.quiet)", _press("Mark …")),
    View("pause", "/schedules", "dialog .preview p:not(.quiet)", _press("Pause …")),
    View("replay", "/dead-letters", "dialog .preview p:not(.quiet)", _press("Replay all")),
    View("error", "/runs/no-such-run", "[role=alert]"),
)
