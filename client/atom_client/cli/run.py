"""`run`: run one workflow from start to end.

A platform is started for it, unless one is already running.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from atom_client.cli.follow import INTERRUPTIONS, Waiting, exit_code, report_if_interrupted
from atom_client.cli.local import disk_full_note, emulators_used, exports, keep_up, local_platform
from atom_client.cli.mock_script import check_mock_script, find_unmatched_rules, warn_of_mock
from atom_client.cli.output import Output
from atom_client.cli.params import print_param_problems, read_given
from atom_client.cli.platform import FIRESTORE_HOST, PUBSUB_HOST, connect_services, names_local_platform
from atom_client.cli.platform_choice import LOCAL_RUNNER, PlatformChoice, credential_problem, env_variables, runner_note
from atom_client.cli.sources import request_for
from atom_client.cli.validate import print_warnings, problem_lines
from atom_client.deployment import EMULATORS, adopt_platform, is_adopted
from atom_client.errors import INVALID_USE, Misuse
from atom_client.planning.requests import RunRequest
from atom_client.text import name_of
from atom_client.views.as_json import json_document
from atom_client.views.progress import RunView
from atom_client.views.task_warnings import warn_of_refusals
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.core.workflow import Workflow
from atom_workflows.errors import InvalidParams
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.ports import Message
from atom_workflows.settings import from_environment

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options that the user gave.

    `params` have the form `name=value`, and `params_file` may be stdin. `timeout_s` limits only how long the command
    waits. `superseded` is an INVALID run that the new run replaces. `more_json` holds fields to add to the JSON object
    that describes the run and its steps.
    """

    source: str
    choice: PlatformChoice
    params: Sequence[str] = ()
    params_file: str | None = None
    as_json: bool = False
    keep: bool = False
    timeout_s: float | None = None
    superseded: RunRecord | None = None
    more_json: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running platform; `own` is set if this command started it.

    `note` is a sentence about the platform, to be printed once the platform has responded.
    """

    environment: Mapping[str, str]
    own: LocalPlatform | None = None
    note: str = ""


def run_workflow(options: RunOptions) -> int:
    """Run the workflow, print the result and return the exit code."""
    output = Output(aside=options.as_json)
    if not (options.choice.in_memory or all(os.environ.get(name) for name in EMULATORS)):
        adopt_platform()
    try:
        given = read_given(options.params, options.params_file, source=options.source)
        # A platform that is already up may set any names.
        names = None if _joins_platform(options.choice) else env_variables(options.choice, os.environ).keys()
        request = request_for(options.source, params=given, env_names=names)
    except InvalidWorkflow as error:
        code = print_problems(error, as_json=options.as_json)
        if any(problem.message.startswith("`env` has no ") for problem in error.problems):
            click.echo("Use --env NAME=VALUE to set the value that files read as env.NAME.", err=True)
        return code
    except InvalidParams as error:
        return print_param_problems(error, options.source, as_json=options.as_json)
    print_warnings(request.warnings)
    script = options.choice.mock_script
    # Options that exclude a script are refused later, with all others.
    has_mock = options.choice.has_mock and not _joins_platform(options.choice)
    if script is not None and request.workflow is not None and has_mock:
        check_mock_script(script, request.workflow, request.workflow_path)
    _warn_of_runner(options.choice, request)
    with _platform(options, request, output) as running:
        code = run_to_end(running, request, options, output)
        if options.keep and running.own is not None:
            lines = exports(running.own.environment)
            output.say(f"\nThe platform stays up until Ctrl-C. To use it in another terminal:\n{lines}")
            try:
                running.own.wait()
            except KeyboardInterrupt:
                output.say("Stopping.")
    return code


_STOPS: Final = "The platform is stopping now, and the run with it."


def run_to_end(running: Running, request: RunRequest, options: RunOptions, output: Output) -> int:
    """Follow a new run to its end and return the exit code.

    The platform must already be running.
    """
    is_shared = running.own is None
    waiting = Waiting(
        services=connect_services(running.environment),
        view=RunView(run_id=request.run_id, total=len(request.step_ids), order=request.step_ids),
        output=output,
        as_json=options.as_json,
        timeout_s=options.timeout_s,
        outlives=is_shared,
        superseded=options.superseded,
        more_json=options.more_json,
    )

    if running.note:
        output.say(running.note)

    def begin() -> str:
        # Our own platform was started with that Task Runner; any other platform must allow it.
        url = options.choice.task_runner_url if is_shared else None
        waiting.services.bus.publish([Message(topic="start", body=request.message_body(url))])
        return f"Run {request.run_id} of {name_of(options.source)}{request.size}."

    ended = waiting.to_end(begin)
    run = ended.run
    if options.choice.mock_script is not None and request.workflow is None:
        print_warnings(find_unmatched_rules(options.choice.mock_script, run.workflow, ended.nodes.values()))
    waiting.print_result(ended)
    if running.own is not None:
        for line in _folders(running.own, options.choice, request):
            output.say(line)
    goes_on = "The run continues until Ctrl-C stops its platform."
    if running.own is not None and not options.keep:
        goes_on = " ".join([_describe_end(request, _STOPS), *_how_to_retry(running.own, request.run_id)])
    waiting.print_next_steps(run, may_retry=is_shared or options.keep, otherwise=goes_on)
    if running.own is not None and not options.keep and run.state is RunState.CANCELLED:
        for line in _how_to_retry(running.own, run.id):
            output.say(line)
    return exit_code(run)


def print_problems(error: InvalidWorkflow, *, as_json: bool) -> int:
    """Print every problem in an invalid file and return the exit code."""
    if as_json:
        click.echo(json_document({"problems": [problem.as_fields() for problem in error.problems]}))
    click.echo(problem_lines(error), err=True)
    return INVALID_USE


@contextmanager
def _platform(options: RunOptions, request: RunRequest, output: Output) -> Iterator[Running]:
    """Yield the platform that the environment names, or start one.

    A platform that is started here is stopped at the end of the block.
    """
    if _joins_platform(options.choice):
        _refuse_for_platform_that_is_up(options)
        host = name_of(os.environ[FIRESTORE_HOST])
        note = "Using the platform that is up in this folder." if is_adopted() else _USING.format(host)
        yield Running(environment=os.environ, note=note)
        return
    platform = local_platform(options.choice, os.environ, watched=True, only_run=request.run_id)
    if problem := credential_problem(options.choice, os.environ):
        raise Misuse(f"{problem}. Nothing was started.")
    notes = [runner_note(options.choice), emulators_used(platform) or "Starting a local platform ..."]
    with keep_up(platform, announce=lambda: output.say("\n".join(filter(None, notes)))):
        # Google's clients read these from the process's own environment.
        os.environ.update({name: platform.environment[name] for name in (FIRESTORE_HOST, PUBSUB_HOST)})
        retry = _how_to_retry(platform, request.run_id)
        ended = [_describe_end(request), *retry, *_folders(platform, options.choice, request)]
        with report_if_interrupted("\n".join(ended), by=(Exception, *INTERRUPTIONS)):
            yield Running(environment={**os.environ, **platform.environment}, own=platform)


_USING: Final = f"Using the running platform ({FIRESTORE_HOST} is {{}})."


def _describe_end(request: RunRequest, ended: str = "The platform has stopped, and the run with it.") -> str:
    """Say what happens to the run if its platform stops early."""
    if request.workflow is not None and not request.workflow.finally_steps:
        return ended
    return (
        f"{ended} Its steps under `finally` will not run; on a platform started with `atom-workflows local up`, "
        "`atom-workflows runs cancel` runs them."
    )


def _how_to_retry(platform: LocalPlatform, run_id: str) -> Iterator[str]:
    """Yield a line about finishing a run whose platform has ended."""
    if platform.options.keeps_history:
        yield (
            f"To run what is left of it: `atom-workflows local up` here, and then `atom-workflows runs retry {run_id}` "
            "in another terminal."
        )


def _folders(platform: LocalPlatform, choice: PlatformChoice, request: RunRequest) -> Iterator[str]:
    """Yield a line for each folder that contains the run's files."""
    yield f"Logs: {name_of(platform.log_dir)}{disk_full_note(platform.log_dir)}"
    if choice.runs_jobs:
        yield f"Jobs: {name_of(platform.jobs_dir / request.run_id)}"


def _warn_of_runner(choice: PlatformChoice, request: RunRequest) -> None:
    is_up = _joins_platform(choice)
    # Whoever wrote a script for the mock expects it to answer.
    is_mock = os.environ.get(LOCAL_RUNNER) == "mock" if is_up else choice.has_mock and choice.mock_script is None
    if is_mock and request.workflow is not None:
        print_warnings(warn_of_mock(request.workflow, is_up=is_up))
    runner = os.environ.get(LOCAL_RUNNER, "") if is_up else choice.runner
    if runner in {"process", "docker"} and request.workflow is not None:
        print_warnings(warn_of_refusals(request.workflow, runner))


def warn_of_programs_on_platform(workflow: Workflow | None) -> None:
    """Warn about programs that a running platform's mock would only simulate."""
    is_up = all(os.environ.get(name) for name in (FIRESTORE_HOST, PUBSUB_HOST))
    if workflow is not None and is_up and os.environ.get(LOCAL_RUNNER) == "mock":
        print_warnings(warn_of_mock(workflow, is_up=True))


def _joins_platform(choice: PlatformChoice) -> bool:
    """Return True if the run uses a platform that is already running."""
    return choice.emulators != "google" and not choice.in_memory and names_local_platform(os.environ)


def _refuse_for_platform_that_is_up(options: RunOptions) -> None:
    url = options.choice.task_runner_url
    # The environment shows whether the platform allows that Task Runner.
    is_foreign = url is not None and not from_environment(os.environ).may_use_task_runner(url)
    runner = os.environ.get(LOCAL_RUNNER)
    has_runner = options.choice.runner == ("mock" if runner == "scripted" else runner)
    chosen = [
        *(["--tr-url"] if is_foreign else []),
        *(name for name in options.choice.chosen if name != "--runner" or not has_runner),
        *(["--keep"] if options.keep else []),
    ]
    if chosen and is_adopted():
        raise Misuse(
            f"{', '.join(chosen)} can only be chosen for a platform that `run` starts itself, but one is already up in "
            "this folder. Give these options to `atom-workflows local up`, or add --in-memory to run beside it."
        )
    if chosen:
        raise Misuse(
            f"{', '.join(chosen)} can only be chosen for a platform that `run` starts itself, but {FIRESTORE_HOST} and "
            f"{PUBSUB_HOST} name one that is already running. Give these options to `atom-workflows local up`, or "
            f"`unset {FIRESTORE_HOST} {PUBSUB_HOST}`.",
        )
