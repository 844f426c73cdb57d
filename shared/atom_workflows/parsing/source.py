"""From the bytes of a file to text that any YAML reader may be given."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from atom_workflows.parsing.limits import MAX_FILE_BYTES
from atom_workflows.parsing.problems import Place, Report

_LINE_BREAKS: Final = "\r\n\x85\u2028\u2029"
"""The line breaks of YAML, so that our places and the reader's are the same; CR and LF in this order are one."""

_CONTROL: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that no YAML file may contain."""

_SURROGATE_PAIR: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_MOST_CONTROLS: Final = 10


def decode(content: bytes | str, report: Report) -> str | None:
    """The file's text, or None if nothing more can be said about it.

    What no YAML reader would take is noted and replaced, so that the rest can still be checked.
    """
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(encoded) > MAX_FILE_BYTES:
        said = f"the file has more than the {MAX_FILE_BYTES:,} bytes allowed"
        report.add(Place(), said, "divide the workflow into several files")
        return None
    if encoded.startswith(_UTF16_MARKS):
        report.add(Place(), "the file is UTF-16, not UTF-8", "save it as UTF-8")
        return None
    return _without_controls(_text(encoded, report).removeprefix("\ufeff"), report)


def json_as_yaml(text: str) -> str:
    """The text of a JSON file with the two things replaced that YAML takes otherwise: tabs and surrogate pairs."""
    return _SURROGATE_PAIR.sub(_join_pair, text.replace("\t", " "))


def place_of(text: str, index: int) -> Place:
    """Where the character stands."""
    # Counted and not listed: a file may have millions of lines before its first problem.
    breaks = sum(text.count(sign, 0, index) for sign in _LINE_BREAKS) - text.count("\r\n", 0, index)
    start = max(text.rfind(sign, 0, index) for sign in _LINE_BREAKS) + 1
    return Place(line=breaks + 1, column=index - start + 1)


def _text(encoded: bytes, report: Report) -> str:
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        before = encoded[: error.start].decode("utf-8").removeprefix("\ufeff")
        said = f"the file is not UTF-8: it has the byte 0x{encoded[error.start]:02X} here"
        report.add(place_of(before, len(before)), said, "save it as UTF-8")
        return encoded.decode("utf-8", "replace")


def _without_controls(text: str, report: Report) -> str | None:
    # No more than it takes to know: a file of nothing else would cost a hundred times its size.
    found = list(islice(_CONTROL.finditer(text), _MOST_CONTROLS + 1))
    for match in found[:_MOST_CONTROLS]:
        said = f"the character U+{ord(match[0]):04X} is not allowed in a file"
        report.add(place_of(text, match.start()), said, "remove it")
    return _CONTROL.sub("_", text) if len(found) <= _MOST_CONTROLS else None


def _join_pair(match: re.Match[str]) -> str:
    high, low = int(match[1], 16), int(match[2], 16)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
