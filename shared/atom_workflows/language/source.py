"""From the bytes of a file to text, and to text that any YAML reader may be given."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from atom_workflows.language.limits import MAX_FILE_BYTES, MAX_TAG_DIRECTIVES
from atom_workflows.language.problems import Place, Report

_LINE_BREAKS: Final = "\r\n\x85\u2028\u2029"
"""The line breaks of YAML, so that our places and the reader's are the same; CR and LF in this order are one."""

_CONTROL: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that no YAML file may contain."""

_TAG_DIRECTIVE: Final = re.compile(r"(?:^|[\r\n\x85\u2028\u2029])%TAG")
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_MOST_CONTROLS: Final = 10


def decode(content: bytes | str, report: Report) -> str | None:
    """The file's text, or None if nothing more can be said about it.

    What is not UTF-8 is noted and replaced, so that the rest can still be checked.
    """
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(encoded) > MAX_FILE_BYTES:
        said = f"the file has more than the {MAX_FILE_BYTES:,} bytes allowed"
        report.add(Place(), said, "divide the workflow into several files")
        return None
    if encoded.startswith(_UTF16_MARKS):
        report.add(Place(), "the file is UTF-16, not UTF-8", "save it as UTF-8")
        return None
    return _text(encoded, report).removeprefix("\ufeff")


def prepare_for_yaml(text: str, report: Report) -> str | None:
    """Return the text without what no YAML reader takes, which is noted.

    None if there is too much of it.
    """
    # No more than it takes to know: a file of nothing else would cost a hundred times its size.
    found = list(islice(_CONTROL.finditer(text), _MOST_CONTROLS + 1))
    for match in found[:_MOST_CONTROLS]:
        said = f"the character U+{ord(match[0]):04X} is not allowed in a file"
        report.add(place_of(text, match.start()), said, "remove it")
    directives = list(islice(_TAG_DIRECTIVE.finditer(text), MAX_TAG_DIRECTIVES + 1))
    if len(directives) > MAX_TAG_DIRECTIVES:
        said = f"there are more than {MAX_TAG_DIRECTIVES} lines that begin with %TAG"
        report.add(place_of(text, directives[-1].start()), said, "remove them; no tag is allowed")
        return None
    return _CONTROL.sub("_", text) if len(found) <= _MOST_CONTROLS else None


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
