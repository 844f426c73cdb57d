"""Help texts read whole on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli

COLUMNS = 80
"""The width of the terminal, of which click leaves two columns free."""


def all_commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, the groups included."""
    yield path
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from all_commands(one, (*path, name))


@pytest.mark.parametrize("path", list(all_commands(cli)), ids=" ".join)
def test_help_is_read_whole_at_80_columns(path: tuple[str, ...]) -> None:
    """No line of a help text is longer than the terminal is wide, and no summary of a command is cut."""
    arguments = [*path, "--help"]
    shown = CliRunner().invoke(
        cli, arguments, prog_name="atom-workflows", terminal_width=COLUMNS - 2, catch_exceptions=False
    )
    lines = shown.stdout.splitlines()
    assert [line for line in lines if len(line) > COLUMNS] == []
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage:")] == []
