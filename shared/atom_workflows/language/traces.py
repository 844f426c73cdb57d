"""Scan a value again to match its text with the file.

The value is divided into pieces that the text and the file have in common. Escapes take up several characters, folded
lines lose their indentation, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

_Pieces: TypeAlias = "Iterator[tuple[str, int]]"
"""Consecutive parts of the text, each with the index of its first character in the file."""

BREAKS: Final = "\r\n\x85\u2028\u2029"

BREAK: Final = re.compile(f"\r\n|[{BREAKS}]")
REST_OF_LINE: Final = re.compile(f"[^{BREAKS}]*")

_BLANKS: Final = re.compile(f"[ \t{BREAKS}]+")

_WORDS: Final = {
    "'": re.compile(f"[^' \t{BREAKS}]+"),
    '"': re.compile(f'[^"\\\\ \t{BREAKS}]+'),
    "": re.compile(f"[^ \t{BREAKS}]+"),
}

_ESCAPE_LENGTHS: Final = {"x": 4, "u": 6, "U": 10}

_AFTER_ESCAPED_BREAK: Final = re.compile(f"[ \t]*((?:(?:\r\n|[{BREAKS}])[ \t]*)*)")

_IN_JSON: Final = re.compile(r'(?P<run>[^"\\]+)|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]..|\\u....|\\.', re.DOTALL)

_HEADER: Final = re.compile(f"([|>])[-+0-9]*[ \t]*(?:#[^{BREAKS}]*)?(?:\r\n|[{BREAKS}])")

_FIRST_CONTENT: Final = re.compile(f"(?: *(?:\r\n|[{BREAKS}]))*( *)[^ {BREAKS}]")


def trace_json(source: str, index: int, text: str) -> _Pieces:
    """Trace a JSON string, starting after its opening quote."""
    offset = 0
    while match := _IN_JSON.match(source, index):
        piece = match["run"] or text[offset : offset + 1]
        yield piece, index
        offset += len(piece)
        index = match.end()


def trace_flow(source: str, index: int, text: str, quote: str) -> _Pieces:
    """Trace a quoted or unquoted value, on one line or several."""
    words, offset = _WORDS[quote], 0
    while index < len(source):
        if match := words.match(source, index):
            pieces, index = [(match[0], index)], match.end()
        elif match := _BLANKS.match(source, index):
            pieces, index = list(_fold(match)), match.end()
        elif quote == '"' and source[index] == "\\":
            pieces, index = _unescape(source, index, text[offset : offset + 1])
        elif quote == "'" and source.startswith("''", index):
            pieces, index = [("'", index)], index + 2
        else:
            return
        yield from pieces
        offset += sum(len(piece) for piece, _ in pieces)


def _fold(blanks: re.Match[str]) -> _Pieces:
    """Fold the whitespace between two words.

    A single line break becomes a space; if there are several, the first is dropped.
    """
    breaks = list(BREAK.finditer(blanks[0]))
    start = blanks.start()
    if not breaks:
        yield blanks[0], start
        return
    first, *others = breaks
    if _as_text(first[0]) != "\n":
        yield first[0], start + first.start()
    elif not others:
        yield " ", start + first.start()
    for found in others:
        yield _as_text(found[0]), start + found.start()


def _unescape(source: str, index: int, meant: str) -> tuple[list[tuple[str, int]], int]:
    """Trace an escape sequence. Return its pieces and the index after it."""
    sign = source[index + 1 : index + 2]
    if sign and sign in BREAKS:
        line_break = BREAK.match(source, index + 1)
        following = _AFTER_ESCAPED_BREAK.match(source, line_break.end())  # type: ignore[union-attr]  # it is one
        breaks = BREAK.finditer(following[1])  # type: ignore[index]  # it can be empty
        start = following.start(1)  # type: ignore[union-attr]  # as above
        return [(_as_text(found[0]), start + found.start()) for found in breaks], following.end()  # type: ignore[union-attr]  # as above
    return [(meant, index)], index + _ESCAPE_LENGTHS.get(sign, 2)


def trace_block(source: str, index: int, text: str) -> _Pieces:
    """Trace a text block that begins with `|` or `>`."""
    header, in_text = _HEADER.match(source, index), _FIRST_CONTENT.match(text)
    in_file = _FIRST_CONTENT.match(source, header.end()) if header else None
    if not (header and in_text and in_file):
        return
    indent = len(in_file[1]) - len(in_text[1])
    folded = header[1] == ">"
    breaks, index, goes_on = _skip_empty_lines(source, header.end(), indent)
    while goes_on:
        yield from breaks
        line = REST_OF_LINE.match(source, index)
        yield line[0], index  # type: ignore[index]  # it can be empty
        ended = BREAK.match(source, line.end())  # type: ignore[union-attr]  # as above
        if not ended:
            return
        is_indented = source[index] in " \t"
        breaks, index, goes_on = _skip_empty_lines(source, ended.end(), indent)
        keeps = not goes_on or is_indented or source[index] in " \t" or _as_text(ended[0]) != "\n"
        if keeps or not folded:
            yield _as_text(ended[0]), ended.start()
        elif not breaks:
            yield " ", ended.start()


def _skip_empty_lines(source: str, index: int, indent: int) -> tuple[list[tuple[str, int]], int, bool]:
    """Return the line breaks of the empty lines that follow.

    The second result is the index of the next line, after its indentation. The third is False if the text block ends
    before that line.
    """
    breaks: list[tuple[str, int]] = []
    while True:
        end = index
        while end < index + indent and source.startswith(" ", end):
            end += 1
        found = BREAK.match(source, end)
        if not found:
            return breaks, end, end == index + indent and end < len(source)
        breaks.append((_as_text(found[0]), found.start()))
        index = found.end()


def _as_text(line_break: str) -> str:
    return line_break if line_break in ("\u2028", "\u2029") else "\n"
