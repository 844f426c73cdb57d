"""Text output, with colors only on a terminal.

It goes to stdout, or to stderr if stdout is reserved for JSON.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from atom_client.cli.streams import encodable, encoding_of

if TYPE_CHECKING:
    from rich.console import Console

    from atom_client.cli.screen import Screen
    from atom_client.cli.tables import Sheet

_USUAL_WIDTH: Final = 80
_USUAL_HEIGHT: Final = 25

_UNMOVABLE: Final = frozenset({"dumb", "unknown"})
"""Values of TERM for terminals that cannot move the cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Output for human readers. If `aside` is True, it goes to stderr."""

    aside: bool = False

    @property
    def is_terminal(self) -> bool:
        """True if output goes to a terminal with colors and cursor movement."""
        stream = sys.stderr if self.aside else sys.stdout
        return stream.isatty() and os.environ.get("TERM") not in _UNMOVABLE

    @property
    def has_reader(self) -> bool:
        """True if a user at a terminal can answer a question."""
        return self.is_terminal and sys.stdin.isatty()

    def takes(self, signs: str) -> bool:
        """Return True if the output's encoding has all of these characters."""
        encoding = encoding_of(sys.stderr if self.aside else sys.stdout)
        return encodable(signs, encoding) == signs

    def say(self, text: str = "") -> None:
        """Print a line."""
        click.echo(text, err=self.aside)

    def show(self, sheet: Sheet) -> None:
        """Print a table."""
        if self.is_terminal:
            console = self.console()
            # An id that is wider than the terminal is left to the terminal to wrap, so it can be copied.
            console.print(sheet.rich(screen_of(console)), soft_wrap=True)
        else:
            self.say(sheet.plain())

    def console(self) -> Console:
        """Return a console for the terminal."""
        from rich.console import Console  # noqa: PLC0415 (needed on terminals only)

        console = Console(stderr=self.aside, highlight=False)
        if console.size.width and console.size.height:
            return console
        # The terminal does not know its size, or COLUMNS is 0.
        return Console(stderr=self.aside, highlight=False, width=_USUAL_WIDTH, height=_USUAL_HEIGHT)


def screen_of(console: Console) -> Screen:
    """Return the terminal's current size and encoding."""
    from atom_client.cli.screen import Screen  # noqa: PLC0415 (needed on terminals only)

    return Screen(width=console.size.width, height=console.size.height, encoding=encoding_of(console.file))
