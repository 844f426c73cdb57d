"""Remove tokens from a Task Runner's strings, however they are encoded.

A string is searched as it would be stored or printed, and also as a reader might decode it: with JSON and C escapes,
HTML entities and tags, percent encoding, any of these nested within another, and spaces between the letters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

MASKED_START: Final = 16
"""This many consecutive letters and digits of a token give it away.

A response may quote a header with either end cut off.
"""

WITHHELD: Final = "(hidden, because it contains an encoded token)"

_LEAST_TOKEN: Final = 6
"""A shorter token is masked only as a separate word, since it may be part of any number or name."""

_SHORTEST_JWT: Final = 13
"""A shorter string matches neither pattern for a JWT, and decoding only makes a string shorter."""

_ROUNDS: Final = 4
_PLACE: Final = "(token)"
_WORD: Final = r"[\w.~+/=-]*"

# These find `\b(?:eyJ[\w-]{8,}\.[\w.~+/=-]+|ya29\.[\w-]{8,})` and `eyJ[\w-]{8,}\.eyJ[\w-]{8,}|ya29\.[\w-]{16,}`.
# Written like that, a search would start again at each `eyJ` in a long word, which takes quadratic time. So each word
# is entered only at its beginning, and whatever is skipped before the token is never revisited (`*+`).
_JWT: Final = re.compile(
    r"(?<![\w-])((?:(?!\beyJ[\w-]{8}|\bya29\.[\w-]{8})[\w-])*+)"
    r"(?:eyJ[\w-]{8,}+\.[\w.~+/=-]+|ya29\.[\w-]{8,})"
)
_SPLIT_JWT: Final = re.compile(r"(?<![\w-])(?:(?!eyJ[\w-]{8})[\w-])*+eyJ[\w-]{8,}+\.eyJ[\w-]{8}|ya29\.[\w-]{16}")
_ESCAPED: Final = re.compile(
    r"\\+(?:u([0-9a-fA-F]{4})|u\{0*([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{2})|([/\\\"'nrtbf]))|%u([0-9a-fA-F]{4})"
)
_TAG: Final = re.compile(r"<[^<>]*>")
_NO_LETTER: Final = re.compile(r"[^0-9A-Za-z]+")
_CODED: Final = re.compile(r"[\\%&<]")
_LARGEST_CODE_POINT: Final = 0x10FFFF


def mask_tokens(text: str, tokens: Sequence[str]) -> str:
    """Remove these tokens and any JWT from the text.

    If the text contains an encoded token, the whole text is withheld.
    """
    if len(text) < min([_SHORTEST_JWT, *(_parts(token)[1] or len(token) for token in tokens)]):
        return text
    for token in tokens:
        if len(token) < _LEAST_TOKEN:
            text = re.sub(rf"(?<!\w){re.escape(token)}(?!\w)", _PLACE, text)
        elif (start := token[:MASKED_START]) in text:
            text = re.sub(re.escape(start) + _WORD, _PLACE, text)
    text = _JWT.sub(rf"\1{_PLACE}", text)
    return WITHHELD if _quotes_token(text, tokens) else text


def _quotes_token(text: str, tokens: Sequence[str]) -> bool:
    """Return True if the text quotes a token in any encoding."""
    for _ in range(_ROUNDS):
        bare = _TAG.sub("", text)
        if _SPLIT_JWT.search("".join(bare.split())):
            return True
        letters = _letters(bare)
        for token in tokens:
            parts, length = _parts(token)
            if parts and any(letters[at : at + length] in parts for at in range(len(letters) - length + 1)):
                return True
        decoded = unquote(html.unescape(_ESCAPED.sub(_unescape, bare))) if _CODED.search(text) else text
        if decoded == text:
            return False
        text = decoded
    return False


@lru_cache(maxsize=16)
def _parts(token: str) -> tuple[frozenset[str], int]:
    """Return the substrings that reveal a token, and their common length."""
    letters = _letters(token)
    length = min(MASKED_START, len(letters))
    if length < _LEAST_TOKEN:
        return frozenset(), 0
    return frozenset(letters[at : at + length] for at in range(len(letters) - length + 1)), length


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", text).lower()


def _unescape(match: re.Match[str]) -> str:
    if match[4]:
        return match[4] if match[4] in "/\\\"'" else " "
    number = int(match[1] or match[2] or match[3] or match[5], 16)
    return chr(number) if number <= _LARGEST_CODE_POINT else ""
