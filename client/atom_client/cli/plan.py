"""`plan`: what a run would do, without starting or calling anything."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from atom_client.cli.given_time import read_given_time
from atom_client.cli.output import Output
from atom_client.cli.params import print_param_problems, read_given
from atom_client.cli.platform_choice import env_of, read_env
from atom_client.cli.sources import STDIN, STDIN_NAME, content_of, shown_name
from atom_client.cli.validate import print_warnings
from atom_client.errors import INVALID_USE, RUN_FAILED, Misuse
from atom_client.planning.params import warn_of_params
from atom_client.planning.walk import plan_run
from atom_client.text import name_of
from atom_client.views.as_json import json_document
from atom_client.views.checked_files import CheckedFile, text_lines
from atom_client.views.hypothetical_runs import played_lines, played_object
from atom_client.views.plan_parts import Asked
from atom_client.views.plans import ask_for_plan, planned_lines, planned_object, price_of_run
from atom_client.views.task_warnings import warn_of_tasks
from atom_workflows.errors import InvalidParams
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.settings import Settings, from_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The options that the user gave.

    `script` is the path of a script for the mock Task Runner. If `at` has no time zone, it is in the workflow's time
    zone.
    """

    source: str
    params: Sequence[str] = ()
    params_file: str | None = None
    script: str | None = None
    env: Sequence[str] = ()
    at: datetime | None = None
    as_json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """The workflow file, the planned run, and the functions' settings."""

    content: bytes
    asked: Asked
    settings: Settings


def print_plan(options: PlanOptions, environment: Mapping[str, str]) -> int:
    """Print the plan and return the exit code."""
    try:
        given = read_given(options.params, options.params_file, source=options.source)
    except InvalidWorkflow as error:
        content = b"" if options.params_file == STDIN else content_of(options.params_file or "")
        return _print_problems(error, options.params_file or "", content, as_json=options.as_json)
    content = content_of(options.source)
    env = {**env_of(environment), **read_env(options.env)}
    settings = replace(from_environment(environment), env=env)
    try:
        workflow = parse_workflow(content, filename=shown_name(options.source))
        # Planning for a time to come is as usual as for the past.
        at = datetime.now(UTC) if options.at is None else read_given_time(options.at, workflow.timezone)
        asked = ask_for_plan(workflow, given, at=at, env=env)
    except InvalidWorkflow as error:
        return _print_problems(error, options.source, content, as_json=options.as_json)
    except InvalidParams as error:
        return print_param_problems(error, options.source, as_json=options.as_json)
    of_file = (*workflow.warnings, *warn_of_tasks(workflow, file=shown_name(options.source)))
    print_warnings([*of_file, *warn_of_params(given, workflow)])
    read = _Read(content=content, asked=asked, settings=settings)
    if options.script is None:
        return _print_planned(read, options)
    return _print_played(read, options, options.script)


def _print_problems(error: InvalidWorkflow, source: str, content: bytes, *, as_json: bool) -> int:
    if as_json:
        click.echo(json_document({"problems": [problem.as_fields() for problem in error.problems]}))
    checked = CheckedFile(name=shown_name(source), content=content, problems=error.problems)
    click.echo("\n".join(text_lines(checked)), err=True)
    return INVALID_USE


# -- what is known before a run --------------------------------------------------------------------------------------


def _print_planned(read: _Read, options: PlanOptions) -> int:
    plan = plan_run(read.asked.workflow, read.asked.start.known(read.asked.workflow), path=_path(options.source))
    cost = price_of_run(read.content, read.asked, plan, read.settings)
    if options.as_json:
        click.echo(json_document({**planned_object(read.asked, plan), "run_usd": cost}))
    else:
        output = Output()
        for line in planned_lines(read.asked, plan):
            output.say(line)
        if cost is not None:
            from atom_client.cost.bill import dollars  # noqa: PLC0415 (only for small files)
            from atom_client.cost.usage import has_usual_times  # noqa: PLC0415 (likewise)

            source = "" if has_usual_times(read.settings) else ", with the settings from your environment"
            output.say(
                f"A run costs about {dollars(cost)}{source}, not counting the machines that run its jobs; "
                "`atom-workflows cost` gives the details."
            )
    return RUN_FAILED if plan.is_bound_to_fail else 0


# -- a hypothetical run ----------------------------------------------------------------------------------------------


def _print_played(read: _Read, options: PlanOptions, script: str) -> int:
    from atom_client.cli.quiet import no_logs  # noqa: PLC0415 (only if a run is played)
    from atom_emulator.task_runner.script_file import InvalidScript  # noqa: PLC0415 (not installed everywhere)
    from atom_emulator.testing import StillOpen, play  # noqa: PLC0415 (likewise)

    with tempfile.TemporaryDirectory(prefix="atom-plan-") as folder, no_logs():
        file = Path(folder) / _path(options.source)
        file.write_bytes(read.content)
        try:
            start = read.asked.start
            played = play(file, script, params=read.asked.given, settings=read.settings, at=start.at)
        except InvalidScript as error:
            raise Misuse(str(error)) from error
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise Misuse(f"--outputs {name_of(script)} cannot be read: {reason}") from error
        except StillOpen as error:
            raise Misuse(f"with {name_of(script)}, {error}") from error
    if played.state == "INVALID":
        return print_param_problems(InvalidParams(played.errors), options.source, as_json=options.as_json)
    if options.as_json:
        click.echo(json_document(played_object(read.asked, played)))
    else:
        output = Output()
        for line in played_lines(read.asked, played):
            output.say(line)
    return 0 if played.state == "SUCCEEDED" else RUN_FAILED


def _path(source: str) -> str:
    return STDIN_NAME if source == STDIN else Path(source).name
