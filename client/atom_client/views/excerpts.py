"""Show the line of a file's problem, with a caret below it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from atom_client.text import clean
from atom_workflows.language.secrets import find_secret

MOST_SHOWN: Final = 100
"""The maximum number of characters shown from a line. For a longer line, only the part around the position is shown."""

_BEFORE: Final = 60
_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_BREAK_IN_JSON: Final = re.compile("\r\n|[\r\n]")
_WIDE: Final = frozenset({"W", "F"})


class Excerpts:
    """The lines of a file, with the line numbers its problems use."""

    def __init__(self, content: bytes, filename: str) -> None:
        text = content.decode("utf-8", "replace").removeprefix("\ufeff")
        pattern = _BREAK_IN_JSON if filename.lower().endswith(".json") else _BREAK
        self._lines = pattern.split(text)

    def at(self, line: int, column: int) -> list[str]:
        """Return the numbered line, followed by a line with a caret.

        Returns nothing if the line does not exist or contains a secret. Characters that a terminal would interpret are
        left out.
        """
        text = self._lines[line - 1] if 0 < line <= len(self._lines) else ""
        if not text.strip() or column > len(text) + 1 or find_secret(text):
            return []
        start = max(0, column - 1 - _BEFORE) if len(text) > MOST_SHOWN else 0
        before, after = text[start : column - 1], text[column - 1 : start + MOST_SHOWN]
        cut = "…" if start else ""
        shown_before, shown_after = cut + _shown(before), _shown(after)
        if start + MOST_SHOWN < len(text):
            shown_after += "…"
        number = str(line)
        # The columns that the text before the caret takes up on a terminal.
        columns = sum(
            2 if unicodedata.east_asian_width(sign) in _WIDE else not unicodedata.combining(sign)
            for sign in shown_before
        )
        return [
            f"  {number} | {shown_before}{shown_after}".rstrip(),
            f"  {' ' * len(number)} | {' ' * columns}^",
        ]


def _shown(text: str) -> str:
    return clean(text.replace("\t", " "))
