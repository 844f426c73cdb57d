"""docs/explanation/chaos.md, whose reports are those of real storms, each between two markers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "chaos.md"


def with_report(page: str, emulators: str, lines: Iterable[str]) -> str:
    """Return the page with the last report on these servers.

    Raises `ValueError` if it has no place for it.
    """
    between = re.compile(rf"(<!-- {emulators} -->\n```\n).*?(```\n<!-- end -->)", re.DOTALL)
    text = "".join(f"{line}\n" for line in lines)
    page, places = between.subn(lambda found: found[1] + text + found[2], page)
    if places != 1:
        raise ValueError(f"{PAGE.name} has {places} places for the report on {emulators}, not one")
    return page
