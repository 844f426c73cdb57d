"""Which name was probably meant: the question behind every "did you mean".

Names are filed once by how they are spelt without case and separators, and by their length. A question then looks one
spelling up, and compares itself letter by letter with names of a similar length only, as long as the file's budget
lasts. What a question would cost is known before it is asked, so that no file can make them expensive.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from typing import Final

BUDGET: Final = 10_000_000
"""What the comparisons of one file may cost in all, about a second. A question about 200 steps costs some 50,000."""

_ALIKE: Final = 0.7
_LONGEST_COMPARED: Final = 100
_COST_OF_A_PAIR: Final = 50
"""What a comparison costs besides its letters, in letters compared with letters."""

_SEPARATORS: Final = str.maketrans("", "", "-_. ")


class Names:
    """Names that may have been meant, filed for many questions."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_spelling: dict[str, str] = {}
        self._by_length: dict[int, list[str]] = {}
        loosely: dict[str, str] = {}
        for name in names:
            if len(name) <= _LONGEST_COMPARED:
                self._by_spelling.setdefault(name.lower(), name)
                loosely.setdefault(fold_spelling(name), name)
                self._by_length.setdefault(len(name), []).append(name)
        self._by_spelling = loosely | self._by_spelling

    def find_spelling(self, word: str) -> str | None:
        """Return the name that differs in nothing but case, `-`, `_`, `.` and spaces."""
        return self._by_spelling.get(word.lower()) or self._by_spelling.get(fold_spelling(word) or word)

    def find_similar_lengths(self, word: str) -> list[list[str]]:
        """Return the names, by length, that can be alike at all."""
        return [
            names
            for length, names in self._by_length.items()
            if 2 * min(length, len(word)) >= _ALIKE * (length + len(word))
        ]


@cache
def names_of(names: tuple[str, ...]) -> Names:
    """File the names of a record or of a choice, once for all files."""
    return Names(names)


class Suggestions:
    """Answers the questions of one file. `spent` is what their comparisons cost so far."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.spent = 0
        self._budget = budget

    def nearest(self, word: str, names: Names) -> str | None:
        """Return the name that was probably meant.

        None if none is near or the budget is used up.
        """
        if not 0 < len(word) <= _LONGEST_COMPARED:
            return None
        if same := names.find_spelling(word):
            return same
        candidates = names.find_similar_lengths(word)
        cost = sum(len(some) * (len(some[0]) * len(word) + _COST_OF_A_PAIR) for some in candidates)
        if cost > self._budget - self.spent:
            return None
        self.spent += cost
        near = difflib.get_close_matches(word, [name for some in candidates for name in some], n=1, cutoff=_ALIKE)
        return near[0] if near else None


def fold_spelling(name: str) -> str:
    """Return the name without case and separators.

    A very long one stays as it is.
    """
    return name.lower().translate(_SEPARATORS) if len(name) <= _LONGEST_COMPARED else name
