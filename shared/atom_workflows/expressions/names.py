"""Guess the name that was probably meant, for "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_MIN_SIMILARITY: Final = 0.7
_LONGEST: Final = 60
_MOST: Final = 500
"""The most names that a word is compared with: 10 ms."""


def printable(text: str) -> str:
    """Return a text as one line without control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return the question for the name that was probably meant, or nothing."""
    near = nearest(word, names)
    return f"did you mean `{near}`?" if near else ""


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name most like a word, if one is."""
    folded = {_fold(name): name for name in names if len(name) <= _LONGEST}
    if not 0 < len(word) <= _LONGEST:
        return None
    if same := folded.get(_fold(word)):
        return same
    # Only words that are wrong need it.
    import difflib  # noqa: PLC0415 -- see above

    candidates = [name for name in folded.values() if abs(len(name) - len(word)) <= len(word)][:_MOST]
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=_MIN_SIMILARITY)
    return near[0] if near else None


def _fold(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
