"""Check workflow files, and print every problem on a line of its own, as compilers do."""

from __future__ import annotations

from collections.abc import Sequence

import click

from atom_client.cli.sources import content_of, shown_name
from atom_client.errors import Failure
from atom_client.text import counted, name_of, one_line
from atom_workflows.language.parser import InvalidWorkflow, parse_workflow


def validate_files(sources: Sequence[str]) -> bool:
    """Print every problem in the files. Return True if there are none.

    A file that cannot be read counts as a problem. For a valid file, a line is printed as well.
    """
    are_valid = True
    for source in sources:
        try:
            workflow = parse_workflow(content_of(source), filename=shown_name(source))
        except InvalidWorkflow as error:
            click.echo(problem_lines(error))
            are_valid = False
        except Failure as error:
            error.show()
            are_valid = False
        else:
            print_warnings(workflow.warnings, err=False)
            click.echo(f"{name_of(shown_name(source))}: ok, {counted(len(workflow.steps), 'step')}")
    return are_valid


def print_warnings(warnings: Sequence[str], *, err: bool = True) -> None:
    """Print the warnings, one per line."""
    for warning in warnings:
        click.echo(f"Warning: {one_line(warning)}", err=err)


def problem_lines(error: InvalidWorkflow) -> str:
    """Return the problems, one per line."""
    return "\n".join(one_line(problem) for problem in error.problems)
