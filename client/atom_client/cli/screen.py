"""Fit text into the width of a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from atom_client.cli.streams import encodable


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The terminal to draw on. Text is measured as the terminal prints it, in the terminal's encoding."""

    width: int
    height: int
    encoding: str = "utf-8"

    def sign(self, sign: str) -> str:
        """Return the text, replacing characters that the encoding lacks."""
        return encodable(sign, self.encoding)

    def head(self, text: str, room: int) -> str:
        """Cut off the end of text that does not fit."""
        text = self.sign(text)
        if cell_len(text) <= room:
            return text
        mark = self.sign("…")
        return set_cell_size(text, room - len(mark)).rstrip() + mark if room > len(mark) else set_cell_size(text, room)

    def ends(self, text: str, room: int) -> str:
        """Cut out the middle of text that does not fit.

        Names often differ in their last characters.
        """
        text, mark = self.sign(text), self.sign("…")
        if cell_len(text) <= room or room <= len(mark) + 1:
            return self.head(text, room)
        kept = room - len(mark)
        return set_cell_size(text, kept - kept // 2) + mark + text[-(kept // 2) :]
