"""How values and names are shown in messages: short, on one line, never mistaken for the sentence around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_LONGEST_SHOWN: Final = 60


def shorten(text: str) -> str:
    """The text on one line, cut in the middle of its excess."""
    if len(text) <= _LONGEST_SHOWN and text.isprintable():
        return text
    start = text[: _LONGEST_SHOWN + 1]
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in start)
    return visible if len(visible) <= _LONGEST_SHOWN else visible[: _LONGEST_SHOWN - 1] + "…"


def code(text: str) -> str:
    """The text as code, in backticks."""
    return f"`{shorten(text)}`"


def in_quotes(text: str) -> str:
    """The text in the quotes that make it a text in YAML."""
    return f"'{shorten(text)}'" if '"' in text else f'"{shorten(text)}"'


def listing(names: Iterable[str]) -> str:
    """The names as code: `a`, `b` and `c`."""
    *first, last = (code(name) for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def counted(count: int, noun: str) -> str:
    """The count with its noun: 1 step, 2 steps, 10,000 steps."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
