"""Check workflow files and print one problem per line, as compilers do."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence

import click

from atom_client.cli.folders import SUFFIXES, explain_skip, find_files
from atom_client.cli.sources import STDIN, content_of, shown_name
from atom_client.errors import Failure, Misuse
from atom_client.text import counted, name_of, one_line
from atom_client.views.as_json import json_document
from atom_client.views.checked_files import CheckedFile, as_object, check_content, github_lines, summary, text_lines
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.settings import ENV_PREFIX


def validate_files(sources: Sequence[str], *, form: str = "text", env_file: str | None = None) -> bool:
    """Print every problem in the files. Return True if there are none.

    A file that cannot be read counts as a problem. For each valid file, a line is printed as well. Folders are searched
    for workflow files, and their other files are skipped. `form` is text, json or github, and `env_file` lists the
    names that the deployment sets for `env`.
    """
    names = None if env_file is None else read_env_names(env_file)
    files: list[CheckedFile] = []
    for source in sources:
        for checked in _check_source(source, names):
            files.append(checked)
            if form == "text" and checked.unreadable:
                Misuse(checked.unreadable).show()
            elif form != "json":
                for line in text_lines(checked) if form == "text" else github_lines(checked):
                    click.echo(line)
    if form == "json":
        click.echo(json_document(as_object(files)))
    elif form == "text" and len(files) > 1:
        click.echo(summary(files))
    return all(checked.is_valid for checked in files)


def _check_source(source: str, env_names: Collection[str] | None) -> Iterator[CheckedFile]:
    """Check the file, or the workflow files in a folder."""
    if source == STDIN or not source or not os.path.isdir(source):  # noqa: PTH112 (Path would raise for some names)
        yield _check(source, env_names)
        return
    checked = skipped = 0
    for path in find_files(source):
        one = _check(path, env_names, is_named=False)
        checked += not one.skipped
        skipped += bool(one.skipped)
        yield one
    if not checked:
        other = f", only {counted(skipped, 'other file')}" if skipped else f" whose name ends in {', '.join(SUFFIXES)}"
        missing = f"{name_of(source)} contains no {'workflow' if skipped else 'file'}{other}; name a workflow file"
        yield CheckedFile(name=shown_name(source), unreadable=missing)


def _check(source: str, env_names: Collection[str] | None, *, is_named: bool = True) -> CheckedFile:
    """Check a file.

    A file that the user did not name is skipped if it is evidently not a workflow.
    """
    name = shown_name(source)
    try:
        content = content_of(source)
    except Failure as error:
        return CheckedFile(name=name, unreadable=error.message)
    if not is_named and (reason := explain_skip(content)):
        return CheckedFile(name=name, skipped=reason)
    return check_content(content, name, env_names)


def read_env_names(path: str) -> Collection[str]:
    """Read the names that a deployment sets for `env`.

    Each line has the form NAME or NAME=VALUE. Empty lines and lines that begin with # are ignored. A name may also be
    given in the form of the functions' environment variable.
    """
    lines = content_of(path, what="--env-file").decode("utf-8", "replace").splitlines()
    written = [line.strip().removeprefix("export ").strip() for line in lines]
    names = [line.partition("=")[0].strip() for line in written if line and not line.startswith("#")]
    return frozenset(name.removeprefix(ENV_PREFIX) for name in names)


def print_warnings(warnings: Sequence[str], *, err: bool = True) -> None:
    """Print the warnings, one per line."""
    for warning in warnings:
        click.echo(f"Warning: {one_line(warning)}", err=err)


def problem_lines(error: InvalidWorkflow) -> str:
    """Return the problems, one per line."""
    return "\n".join(one_line(problem) for problem in error.problems)
