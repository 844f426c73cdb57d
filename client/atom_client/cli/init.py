"""`init`: write a first workflow and the JSON Schema that editors use."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import click

from atom_client.errors import Misuse
from atom_client.text import name_of
from atom_client.views.as_json import json_text
from atom_workflows.language.json_schema import json_schema

SCHEMA_FILE: Final = "workflow.schema.json"
ENDINGS: Final = (".yaml", ".yml")

FIRST_WORKFLOW: Final = """\
# yaml-language-server: $schema=workflow.schema.json
#
# The line above lets an editor complete fields and mark mistakes, using the schema in the file next to this one.
#
# This workflow runs as it is. `atom-workflows run` only simulates its jobs; with `--runner process`, they really run,
# as programs on this machine.
description: Make two things at the same time, then report.

# Values that can be given when a run is started: --param who=Ada
params:
  who: {type: text, default: world}

# Policies for every step that does not have its own.
defaults:
  timeout: 5m
  retry: {maxAttempts: 2}

steps:
  # A step has an id and a task: the job to run. With `engine: process`, `args` are a program and its arguments.
  - id: prepare
    task: {engine: process, args: [echo, getting ready]}

  # These two wait for `prepare`, and then run at the same time.
  - id: greet
    dependsOn: [prepare]
    task: {engine: process, args: [echo, "hello, ${{ params.who }}"]}

  - id: rest
    dependsOn: [prepare]
    task: {engine: process, args: [sleep, "1"]}

  # This one waits for both, and runs only if both have succeeded.
  - id: report
    dependsOn: [greet, rest]
    # On Google Cloud, a task is a container instead:
    # task: {imageUri: europe-docker.pkg.dev/my-project/jobs/report:1.0, args: [--who, "${{ params.who }}"]}
    task: {engine: process, args: [echo, all done]}
"""


def write_first_workflow(target: str) -> None:
    """Write a first workflow, and print what to do with it.

    Existing files are never overwritten.
    """
    if not target.endswith(ENDINGS):
        raise Misuse(f"{name_of(target)!r} is not the name of a workflow file; name one that ends in .yaml or .yml")
    shown, path = name_of(target), Path(target)
    try:
        schema = path.with_name(SCHEMA_FILE)
        if not _create(path, FIRST_WORKFLOW):
            raise Misuse(f"{shown} already exists and was left as it is; name another file")
        wrote_schema = _create(schema, f"{json_text(json_schema())}\n")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Misuse(f"{name_of(error.filename or target)} cannot be written: {reason}") from error
    except ValueError as error:  # The name contains a null character.
        raise Misuse(f"{shown!r} is not a file name: {error}") from error
    click.echo(f"wrote {shown}" + (f", and {name_of(schema)} for editors" if wrote_schema else ""))
    named = shlex.quote(shown)
    run = f"atom-workflows run {named}"
    next_steps = {
        f"atom-workflows validate {named}": "lists its mistakes",
        f"atom-workflows graph {named}": "draws its steps",
        run: "runs it, with a mock",
        f"{run} --runner process": "runs its programs",
    }
    width = max(map(len, next_steps))
    click.echo("Next:")
    for command, what in next_steps.items():
        click.echo(f"  {command:{width}}  {what}")


def _create(path: Path, text: str) -> bool:
    """Write a new file.

    Returns False if the path already exists; nothing is overwritten.
    """
    try:
        file = path.open("x", encoding="utf-8", newline="\n")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(text)
    except BaseException:
        # Half a file, after Ctrl-C or on a full disk, would be refused the next time.
        path.unlink(missing_ok=True)
        raise
    return True
