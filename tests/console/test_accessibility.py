"""The console is for everybody: axe finds nothing serious in any view, and everything can be done by keyboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from console.conftest import OpenConsole
from console.showcase import Showcase, build_showcase
from console.tour import VIEWS

AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
SERIOUS: Final = {"serious", "critical"}
ALL: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
CONTRAST: Final = ("color-contrast",)


@pytest.fixture(scope="module")
def shown() -> Showcase:
    """Return the showcase: no view changes it."""
    return build_showcase()


def find_serious(page: Page, rules: Sequence[str]) -> list[tuple[str, str]]:
    """Return what axe finds serious or worse: the rule, and the elements that break it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    script = "options => axe.run(document, options).then(r => r.violations)"
    # Without this reporter, axe also describes every element that has no problem.
    found: list[dict[str, Any]] = page.evaluate(script, {"runOnly": list(rules), "reporter": "no-passes"})
    return [
        (one["id"], "; ".join(f"{node['html']:.150} {node['failureSummary']:.200}" for node in one["nodes"][:3]))
        for one in found
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious_in_any_view(open_console: OpenConsole, shown: Showcase, width: int) -> None:
    """Names, roles, contrast, order of headings and focus of each view are right in each scheme, narrow and wide."""
    page = open_console(shown.world.services, desk=lambda: shown.desk, width=width)
    found = {}
    for view in VIEWS:
        page.emulate_media(color_scheme="light")
        view.open(page, shown)
        problems = [*find_serious(page, ALL), *overflow(page)]
        # The other rules take no notice of colors.
        page.emulate_media(color_scheme="dark")
        found[view.name] = [*problems, *find_serious(page, CONTRAST)]
    assert {name: problems for name, problems in found.items() if problems} == {}


def overflow(page: Page) -> Iterator[tuple[str, str]]:
    """Yield a problem if the page can be scrolled sideways."""
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        yield "overflow", f"{page.evaluate('document.documentElement.scrollWidth')} pixels"


FOCUSABLE: Final = """() => {
  const all = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
  const isSeen = (one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled;
  // Of a group of radio buttons, only the chosen one takes part: arrow keys move among them.
  const takesPart = (one) => one.type !== 'radio' || one.checked;
  const within = document.querySelector('dialog[open]') ?? document.body;
  return [...within.querySelectorAll(all)].filter((one) => isSeen(one) && takesPart(one)).length;
}"""
FOCUSED: Final = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  window.visited ??= new Map();
  if (!window.visited.has(one)) window.visited.set(one, window.visited.size);
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return {
    number: window.visited.get(one), text: one.outerHTML.slice(0, 120), isIn: Boolean(one.closest('dialog')),
    isMarked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1,
    isInView: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
  };
}"""


def walk(page: Page) -> list[dict[str, Any]]:
    """Press Tab until an element has the focus again, and return the elements that had it."""
    page.evaluate("window.visited = new Map()")
    visited: list[dict[str, Any]] = []
    for _ in range(300):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        # After the last element, the focus leaves the page for the browser's own buttons; a date has three places.
        if found is None or (visited and found["number"] == visited[-1]["number"]):
            continue
        if found["number"] < len(visited):
            return visited
        visited.append(found)
    raise AssertionError(f"no end: {visited[-3:]}")


def unreachable(page: Page) -> list[str]:
    """Return what is wrong with the way of the Tab key through the view that is open."""
    page.keyboard.press("Tab")
    visited = walk(page)
    # What is chosen in a list may have buttons of its own, which the next round visits.
    if len(visited) != page.evaluate(FOCUSABLE):
        visited = walk(page)
    problems = [one["text"] for one in visited if not (one["isMarked"] and one["isInView"])]
    if {one["isIn"] for one in visited} != {page.locator("dialog").count() == 1}:
        problems.append("the focus leaves the dialog")
    if len(visited) < page.evaluate(FOCUSABLE):
        problems.append(f"{len(visited)} of {page.evaluate(FOCUSABLE)} can be reached")
    return problems


def test_everything_can_be_reached_by_keyboard(open_console: OpenConsole, shown: Showcase) -> None:
    """The Tab key visits everything that can be used, shows where it is, and stays in a dialog that is open."""
    page = open_console(shown.world.services, desk=lambda: shown.desk)
    found = {}
    for view in VIEWS:
        view.open(page, shown)
        found[view.name] = unreachable(page)
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_dialogs_give_the_focus_back(open_console: OpenConsole, shown: Showcase) -> None:
    """Enter opens a dialog, which takes the focus; Escape closes it, and the button has the focus again."""
    page = open_console(shown.world.services, path=f"/runs/{shown.failed}")
    button = page.get_by_role("button", name="Retry …")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").locator(":focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()


def test_an_action_by_keyboard_keeps_the_focus(open_console: OpenConsole) -> None:
    """A run is cancelled by keyboard alone; its button is gone then, and the focus is on what the page is about."""
    shown = build_showcase()
    page = open_console(shown.world.services, path=f"/runs/{shown.running}")
    page.get_by_role("button", name="Cancel …").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Cancel the run")).to_be_enabled()
    confirm = page.get_by_role("button", name="Cancel the run")
    while not confirm.evaluate("one => one === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("RUNNING")
    expect(page.get_by_role("button", name="Dismiss")).to_be_visible()
    assert page.evaluate("document.activeElement !== document.body")


def test_axe_accepts_a_page_without_its_token(open_console: OpenConsole, shown: Showcase) -> None:
    """What is said to whoever opens the page without its token has no serious problem."""
    page = open_console(shown.world.services)
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("contains the token")
    assert find_serious(page, ALL) == []


def test_axe_accepts_a_console_that_is_read_only(open_console: OpenConsole, shown: Showcase) -> None:
    """Disabled buttons, and the reason beside them, have no serious problem."""
    page = open_console(shown.world.services, path=f"/runs/{shown.failed}", read_only=True)
    expect(page.get_by_role("button", name="Retry …")).to_be_disabled()
    assert find_serious(page, ALL) == []
