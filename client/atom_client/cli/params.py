"""The options `--param` and `--params-file`, and printing the problems with their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from atom_client.cli.sources import STDIN, content_of, shown_name
from atom_client.errors import INVALID_USE, Misuse
from atom_client.planning.params import GivenParams, pairs_of
from atom_client.text import name_of, one_line
from atom_client.views.as_json import json_document
from atom_workflows.core.workflow import JsonValue
from atom_workflows.errors import InvalidParams


def read_given(written: Sequence[str], params_file: str | None, *, source: str | None) -> GivenParams:
    """Read `--param` and `--params-file`.

    `source` is the workflow file, which may also be stdin. Raises `InvalidWorkflow` with every problem in the
    parameter file.
    """
    if params_file == STDIN == source:
        raise Misuse("--params-file and the workflow file cannot both be stdin")
    values: Mapping[str, JsonValue] = {}
    if params_file is not None:
        from atom_client.cli.params_file import read_params_file  # noqa: PLC0415 (only if there is one)

        values = read_params_file(content_of(params_file, what="--params-file"), shown_name(params_file))
    return GivenParams(texts=pairs_of("--param", written), values=values)


def print_param_problems(error: InvalidParams, source: str, *, as_json: bool) -> int:
    """Print every problem with the parameters and return the exit code."""
    if as_json:
        click.echo(json_document({"problems": [{"message": problem} for problem in error.problems]}))
    file = name_of(shown_name(source))
    click.echo("\n".join(f"{file}: {one_line(problem)}" for problem in error.problems), err=True)
    if any(problem.endswith("is required") for problem in error.problems):
        click.echo("Give parameters with --param NAME=VALUE or --params-file.", err=True)
    return INVALID_USE
