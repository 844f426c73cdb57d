"""Where text goes: stdout, or stderr when stdout is kept for JSON; colour only for a terminal that wants it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from atom_workflows.cli.sheets import Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What is said to a person. With `aside` it goes to stderr."""

    aside: bool = False

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it who can be shown colours and movement."""
        stream = sys.stderr if self.aside else sys.stdout
        return stream.isatty() and os.environ.get("TERM") != "dumb"

    def say(self, text: str = "") -> None:
        """Print a line."""
        click.echo(text, err=self.aside)

    def show(self, sheet: Sheet) -> None:
        """Print a table."""
        if self.is_terminal:
            self.console().print(sheet.rich())
        else:
            self.say(sheet.plain())

    def console(self) -> Console:
        """The terminal."""
        from rich.console import Console  # noqa: PLC0415 (needed on terminals only)

        return Console(stderr=self.aside, highlight=False)
