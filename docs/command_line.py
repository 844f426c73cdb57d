"""Write the commands of docs/reference/command-line.md from the command line itself.

`python docs/generate.py` brings the page up to date; a test fails when it is not.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from atom_client.cli.commands import cli

PAGE: Final = Path(__file__).parent / "reference" / "command-line.md"
PROGRAM: Final = "atom-workflows"
SHARED: Final = ("--json", "--project", "--database", "--topic-prefix")
"""Options that most commands have and that the page explains once."""

_BETWEEN: Final = re.compile(r"(<!-- commands -->\n).*?(<!-- end -->)", re.DOTALL)


def commands(group: click.Group, named: str = PROGRAM) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, including commands of groups."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{named} {name}")
        else:
            yield f"{named} {name}", command


def generated(page: str) -> str:
    """Return the page with a new section for each command."""
    parts = "\n".join(_part(name, command) for name, command in commands(cli))
    page, found = _BETWEEN.subn(lambda between: f"{between[1]}\n{parts}\n{between[2]}", page)
    if found != 1:
        raise ValueError(f"{PAGE.name} has {found} places for the commands instead of one")
    return page


def _part(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [
        f"### {name.removeprefix(f'{PROGRAM} ')}",
        "",
        "```",
        usage,
        "```",
        "",
        inspect.cleandoc(command.help or ""),
    ]
    options = [one for one in command.params if isinstance(one, click.Option)]
    own = [one for one in options if one.opts[0] not in SHARED]
    if own:
        lines += ["", "| option | what it is for |", "|---|---|", *map(_row, own)]
    if shared := [f"`{one.opts[0]}`" for one in options if one.opts[0] in SHARED]:
        lines += ["", f"Of the [usual options](#usual-options): {', '.join(shared)}."]
    return "\n".join([*lines, ""])


def _row(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(click.Command(None)))}"
    shown = f"`{option.opts[0]}{value}`".replace("|", "\\|")
    meaning = re.sub(r"[<|]", r"\\\g<0>", option.help or "")
    return f"| {shown} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is up to date\n")
