"""Options and arguments that several commands have."""

from __future__ import annotations

import click

from atom_client.errors import Misuse

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
run_argument = click.argument("run_id", metavar="RUN")


def timeout_of(text: str | None) -> float | None:
    """The seconds of `--timeout`, None for no limit."""
    if text is None:
        return None
    from atom_client.cli.follow import seconds_of  # noqa: PLC0415 (of commands that wait alone)

    try:
        return seconds_of(text)
    except ValueError as error:
        raise Misuse(f"--timeout is {text!r}: {error}") from error
