"""Find the name that was probably meant.

The name is used in advice such as "did you mean `steps`?". Names are indexed once, by length and by their spelling in
lower case without separators. A search first looks up the word's spelling, then compares the word letter by letter with
names of similar length, until the file's budget is used up. The cost of a search is known in advance, so no file can
make searches expensive.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from typing import Final

BUDGET: Final = 10_000_000
"""The maximum total cost of the comparisons for one file, which is about a second of work.

A search among 200 steps costs about 50,000.
"""

_MIN_SIMILARITY: Final = 0.7
_LONGEST_COMPARED: Final = 100
_COST_OF_A_PAIR: Final = 50
"""The fixed cost of comparing two names, expressed as a number of letter pairs."""

_SEPARATORS: Final = str.maketrans("", "", "-_. ")


class Names:
    """Candidate names, indexed for repeated searches."""

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
        """Return the name that differs only in case and separators, if any.

        Separators are `-`, `_`, `.` and spaces.
        """
        return self._by_spelling.get(word.lower()) or self._by_spelling.get(fold_spelling(word) or word)

    def find_similar_lengths(self, word: str) -> list[list[str]]:
        """Return the names that could be similar, grouped by length."""
        return [
            names
            for length, names in self._by_length.items()
            if 2 * min(length, len(word)) >= _MIN_SIMILARITY * (length + len(word))
        ]


@cache
def names_of(names: tuple[str, ...]) -> Names:
    """Index the names of a record or choice, once for all files."""
    return Names(names)


class Suggestions:
    """Searches for names on behalf of one file.

    `spent` is the total cost of its comparisons so far.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.spent = 0
        self._budget = budget

    def nearest(self, word: str, names: Names) -> str | None:
        """Return the name that was probably meant.

        Returns None if no name is similar, or if the budget is used up.
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
        near = difflib.get_close_matches(
            word, [name for some in candidates for name in some], n=1, cutoff=_MIN_SIMILARITY
        )
        return near[0] if near else None


def fold_spelling(name: str) -> str:
    """Return the name in lower case, without separators.

    A very long name is returned unchanged.
    """
    return name.lower().translate(_SEPARATORS) if len(name) <= _LONGEST_COMPARED else name
