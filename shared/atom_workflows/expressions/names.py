"""Guess which name was probably meant, for "did you mean" suggestions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_MIN_SIMILARITY: Final = 0.7
_LONGEST: Final = 60
_MOST: Final = 500
"""The maximum number of names that a word is compared with. Comparing that many takes about 10 ms."""


def printable(text: str) -> str:
    """Return the text on one line, with unprintable characters replaced."""
    return "".join(character if character.isprintable() else "?" for character in text)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return a question that suggests the nearest name, or ""."""
    near = nearest(word, names)
    return f"did you mean `{near}`?" if near else ""


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name closest to a word, or None."""
    folded = {_fold(name): name for name in names if len(name) <= _LONGEST}
    if not 0 < len(word) <= _LONGEST:
        return None
    if same := folded.get(_fold(word)):
        return same
    # Only misspelled words need this module.
    import difflib  # noqa: PLC0415 -- see above

    candidates = [name for name in folded.values() if abs(len(name) - len(word)) <= len(word)][:_MOST]
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=_MIN_SIMILARITY)
    return near[0] if near else None


def _fold(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
