"""Find the line and column of each character inside a value.

The tree records only where each value begins. The position of its 40th character, for example, depends on how the value
is written: escapes take up several characters, folded lines lose their indentation, and so on. When a place inside a
value is needed, the value is therefore scanned again and divided into segments in which the text and the file match
character by character. Other values are not scanned.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from typing import Final, NamedTuple

from atom_workflows.language.nodes import Scalar
from atom_workflows.language.problems import Place
from atom_workflows.language.traces import BREAK, BREAKS, REST_OF_LINE, trace_block, trace_flow, trace_json

_BREAK_IN_JSON: Final = re.compile("\r\n|[\r\n]")

_PROPERTIES: Final = re.compile(f"(?:[&!][^\\s]*(?:[ \t{BREAKS}]+#[^{BREAKS}]*|[ \t{BREAKS}]+)+)*")
"""The anchor and the tag before a value, up to the value itself."""


class _Trace(NamedTuple):
    """The segments of one value.

    Each has its offset in the value's text and its index in the file.
    """

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
        """Return the position of a character in the value's text.

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
        rest = REST_OF_LINE.match(self.text, self._index(scalar, len(scalar.text)))
        return rest[0].strip() if rest else ""

    def _trace(self, scalar: Scalar) -> _Trace | None:
        begin = self._begin(scalar)
        offsets, indexes, length = [0], [begin], 0
        style = self.text[begin : begin + 1]
        if self.is_json:
            pieces = trace_json(self.text, begin + 1, scalar.text)
        elif style and style in "|>":
            pieces = trace_block(self.text, begin, scalar.text)
        else:
            quote = style if style in ("'", '"') else ""
            pieces = trace_flow(self.text, begin + len(quote), scalar.text, quote)
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
        """Return the index of the value's first character.

        Any anchor or tag before the value is skipped.
        """
        index = self._start(scalar)
        return index if self.is_json else _PROPERTIES.match(self.text, index).end()  # type: ignore[union-attr]  # it can be empty

    def _start(self, scalar: Scalar) -> int:
        return self._line_starts()[scalar.line - 1] + scalar.column - 1

    def _line_starts(self) -> array[int]:
        if self._starts is None:
            pattern = _BREAK_IN_JSON if self.is_json else BREAK
            self._starts = array("I", [0])
            self._starts.extend(match.end() for match in pattern.finditer(self.text))
        return self._starts
