"""The console is for everybody: axe finds nothing serious in any view, and everything can be done by keyboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Page, expect

from console.conftest import OpenConsole
from console.showcase import Showcase, build_showcase
from console.tour import VIEWS, View

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
    found: list[dict[str, Any]] = page.evaluate("options => axe.run(document, options).then(r => r.violations)", {"runOnly": list(rules)})
    return [
        (one["id"], "; ".join(node["html"][:150] + node["failureSummary"][:200] for node in one["nodes"][:3]))
        for one in found
        if one["impact"] in SERIOUS
    ]


# Most rules take no notice of colors, so each width is held against all of them once.
@pytest.mark.parametrize(
    ("width", "scheme", "rules"),
    [(360, "light", ALL), (1280, "dark", ALL), (360, "dark", CONTRAST), (1280, "light", CONTRAST)],
)
def test_axe_finds_nothing_serious_in_any_view(
    open_console: OpenConsole, shown: Showcase, width: int, scheme: Literal["light", "dark"], rules: Sequence[str]
) -> None:
    """Names, roles, contrast, order of headings and focus of each view are right in each scheme, narrow and wide."""
    page = open_console(shown.world.services, desk=lambda: shown.desk, width=width)
    page.emulate_media(color_scheme=scheme)
    found = {}
    for view in VIEWS:
        view.open(page, shown)
        found[view.name] = [*find_serious(page, rules), *overflow(page)]
    assert {name: problems for name, problems in found.items() if problems} == {}


def overflow(page: Page) -> Iterator[tuple[str, str]]:
    """Yield a problem if the page can be scrolled sideways."""
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        yield "overflow", f"{page.evaluate('document.documentElement.scrollWidth')} pixels"
