"""Places inside a value: the line and column in the file for each character of its text.

The tree records where each value begins. Where its 40th character is depends on how the value is written: escapes take
up several characters, folded lines lose their indentation, and so on. When a place inside a value is needed, the value
is therefore scanned again and divided into segments in which the text and the file match character by character. Other
values are not scanned.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from atom_workflows.language.nodes import Scalar
from atom_workflows.language.problems import Place

_Pieces: TypeAlias = "Iterator[tuple[str, int]]"
"""Consecutive parts of the text, each with the index of its first character in the file."""

_BREAKS: Final = "\r\n\x85\u2028\u2029"
_BREAK: Final = re.compile(f"\r\n|[{_BREAKS}]")
_BREAK_IN_JSON: Final = re.compile("\r\n|[\r\n]")
_REST_OF_LINE: Final = re.compile(f"[^{_BREAKS}]*")

_PROPERTIES: Final = re.compile(f"(?:[&!][^\\s]*(?:[ \t{_BREAKS}]+#[^{_BREAKS}]*|[ \t{_BREAKS}]+)+)*")
"""The anchor and the tag before a value, up to the value itself."""

_BLANKS: Final = re.compile(f"[ \t{_BREAKS}]+")
_WORDS: Final = {
    "'": re.compile(f"[^' \t{_BREAKS}]+"),
    '"': re.compile(f'[^"\\\\ \t{_BREAKS}]+'),
    "": re.compile(f"[^ \t{_BREAKS}]+"),
}
_ESCAPE_LENGTHS: Final = {"x": 4, "u": 6, "U": 10}
_AFTER_ESCAPED_BREAK: Final = re.compile(f"[ \t]*((?:(?:\r\n|[{_BREAKS}])[ \t]*)*)")

_IN_JSON: Final = re.compile(r'(?P<run>[^"\\]+)|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]..|\\u....|\\.', re.DOTALL)

_HEADER: Final = re.compile(f"([|>])[-+0-9]*[ \t]*(?:#[^{_BREAKS}]*)?(?:\r\n|[{_BREAKS}])")
_FIRST_CONTENT: Final = re.compile(f"(?: *(?:\r\n|[{_BREAKS}]))*( *)[^ {_BREAKS}]")


class _Trace(NamedTuple):
    """The segments of one value: the offset of each in the text, and its index in the file."""

    offsets: list[int]
    indexes: list[int]


class Source:
    """The text of a file, used to look up positions in it."""

    def __init__(self, text: str, *, is_json: bool = False) -> None:
        self.text = text
        self.is_json = is_json
        self._starts: array[int] | None = None
        self._traces: dict[tuple[int, int], _Trace | None] = {}

    def place(self, scalar: Scalar, offset: int) -> Place:
        """Return the place of a character in the value's text.

        The offset after the last character is also allowed.
        """
        index, starts = self._index(scalar, offset), self._line_starts()
        line = bisect_right(starts, index)
        return Place(line=line, column=index - starts[line - 1] + 1)

    def _index(self, scalar: Scalar, offset: int) -> int:
        key = scalar.line, scalar.column
        if key not in self._traces:
            self._traces[key] = self._trace(scalar)
        trace = self._traces[key]
        if trace is None:
            return self._begin(scalar)
        segment = bisect_right(trace.offsets, offset) - 1
        return trace.indexes[segment] + offset - trace.offsets[segment]

    def has_anchor(self, scalar: Scalar) -> bool:
        """Return True if there is an anchor before the value."""
        return not self.is_json and self.text[self._start(scalar)] == "&"

    def has_tag(self, scalar: Scalar) -> bool:
        """Return True if there is a tag before the value."""
        return not self.is_json and self.text[self._start(scalar)] == "!"

    def is_escaped(self, scalar: Scalar, offset: int) -> bool:
        """Return True if a character is written as an escape sequence."""
        return self.text[self._index(scalar, offset)] == "\\"

    def following(self, scalar: Scalar) -> str:
        """Return what follows the value on its last line, without surrounding whitespace."""
        rest = _REST_OF_LINE.match(self.text, self._index(scalar, len(scalar.text)))
        return rest[0].strip() if rest else ""

    def _trace(self, scalar: Scalar) -> _Trace | None:
        begin = self._begin(scalar)
        offsets, indexes, length = [0], [begin], 0
        style = self.text[begin : begin + 1]
        if self.is_json:
            pieces = _trace_json(self.text, begin + 1, scalar.text)
        elif style and style in "|>":
            pieces = _trace_block(self.text, begin, scalar.text)
        else:
            quote = style if style in ("'", '"') else ""
            pieces = _trace_flow(self.text, begin + len(quote), scalar.text, quote)
        for piece, index in pieces:
            # A value without quotes may end inside a piece, for example at the `]` of a list.
            if not scalar.text.startswith(piece[: len(scalar.text) - length], length):
                # The YAML reader saw a different text. The beginning of the value is better than a wrong place.
                return None
            offsets.append(length)
            indexes.append(index)
            length += len(piece)
            if length >= len(scalar.text):
                break
        return _Trace(offsets, indexes)

    def _begin(self, scalar: Scalar) -> int:
        """Return the index of the value's first character, after an anchor or a tag."""
        index = self._start(scalar)
        return index if self.is_json else _PROPERTIES.match(self.text, index).end()  # type: ignore[union-attr]  # it can be empty

    def _start(self, scalar: Scalar) -> int:
        return self._line_starts()[scalar.line - 1] + scalar.column - 1

    def _line_starts(self) -> array[int]:
        if self._starts is None:
            pattern = _BREAK_IN_JSON if self.is_json else _BREAK
            self._starts = array("I", [0])
            self._starts.extend(match.end() for match in pattern.finditer(self.text))
        return self._starts


def _trace_json(source: str, index: int, text: str) -> _Pieces:
    offset = 0
    while match := _IN_JSON.match(source, index):
        piece = match["run"] or text[offset : offset + 1]
        yield piece, index
        offset += len(piece)
        index = match.end()


def _trace_flow(source: str, index: int, text: str, quote: str) -> _Pieces:
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
    breaks = list(_BREAK.finditer(blanks[0]))
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
    if sign and sign in _BREAKS:
        line_break = _BREAK.match(source, index + 1)
        following = _AFTER_ESCAPED_BREAK.match(source, line_break.end())  # type: ignore[union-attr]  # it is one
        breaks = _BREAK.finditer(following[1])  # type: ignore[index]  # it can be empty
        start = following.start(1)  # type: ignore[union-attr]  # as above
        return [(_as_text(found[0]), start + found.start()) for found in breaks], following.end()  # type: ignore[union-attr]  # as above
    return [(meant, index)], index + _ESCAPE_LENGTHS.get(sign, 2)


def _trace_block(source: str, index: int, text: str) -> _Pieces:
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
        line = _REST_OF_LINE.match(source, index)
        yield line[0], index  # type: ignore[index]  # it can be empty
        ended = _BREAK.match(source, line.end())  # type: ignore[union-attr]  # as above
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
        found = _BREAK.match(source, end)
        if not found:
            return breaks, end, end == index + indent and end < len(source)
        breaks.append((_as_text(found[0]), found.start()))
        index = found.end()


def _as_text(line_break: str) -> str:
    return line_break if line_break in ("\u2028", "\u2029") else "\n"
