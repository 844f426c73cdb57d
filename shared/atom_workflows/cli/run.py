"""`run`: one workflow, from its file to its end, on a platform of its own or on one that is up already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from atom_workflows.cli.as_json import dumped, run_with_steps
from atom_workflows.cli.connection import FIRESTORE_HOST, PUBSUB_HOST, connected, names_local_platform
from atom_workflows.cli.failures import INVALID_USE, RUN_FAILED, Misuse
from atom_workflows.cli.follow import follow
from atom_workflows.cli.local import PlatformChoice, emulators_used, exports, local_platform, up
from atom_workflows.cli.output import Output
from atom_workflows.cli.place import with_place
from atom_workflows.cli.reading import read_run, read_steps
from atom_workflows.cli.sheets import steps_sheet, worth_showing
from atom_workflows.cli.shows import show_on
from atom_workflows.cli.sources import RunRequest, request_for
from atom_workflows.cli.text import counted
from atom_workflows.cli.validate import problem_lines
from atom_workflows.cli.verdict import verdict
from atom_workflows.cli.view import RunView
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.parsing.problems import InvalidWorkflow
from atom_workflows.ports import Message
from atom_workflows.settings import from_environment

if TYPE_CHECKING:
    from atom_emulator.platform.local import LocalPlatform
    from atom_workflows.coordinator.services import Services

_EXIT_CODES: Final = {RunState.SUCCEEDED: 0, RunState.INVALID: INVALID_USE}
_USERS_WISH: Final = (KeyboardInterrupt, SystemExit)
"""Ctrl-C, and a signal to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the user asked for; `timeout_s` bounds only the waiting."""

    source: str
    choice: PlatformChoice
    as_json: bool = False
    keep: bool = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A platform that is up; `own` is the one that this command started."""

    environment: Mapping[str, str]
    own: LocalPlatform | None = None

    @property
    def log_dir(self) -> Path | None:
        """Where its logs are, if that is known."""
        return None if self.own is None else self.own.log_dir


def run_workflow(options: RunOptions) -> int:
    """Run it and tell how it went; the exit code."""
    output = Output(aside=options.as_json)
    try:
        request = request_for(options.source)
    except InvalidWorkflow as error:
        return refused(error, as_json=options.as_json)
    with _platform(options, output) as running:
        code = run_to_end(running, request, options, output)
        if options.keep and running.own is not None:
            _keep(running.own, output)
    return code


def run_to_end(running: Running, request: RunRequest, options: RunOptions, output: Output) -> int:
    """Start it on a platform that is up, show how it goes and how it ended; the exit code."""
    run, steps = _run_on(running, request, options, output)
    _tell(run, steps, options, output)
    _tell_what_next(run, running, options, output)
    return _EXIT_CODES.get(run.state, RUN_FAILED)


def refused(error: InvalidWorkflow, *, as_json: bool) -> int:
    """Tell every problem of a file that is not valid; the exit code."""
    if as_json:
        click.echo(dumped({"problems": [problem.as_fields() for problem in error.problems]}))
    click.echo(problem_lines(error), err=True)
    return INVALID_USE


@contextmanager
def _platform(options: RunOptions, output: Output) -> Iterator[Running]:
    """The platform that the environment names, or a new one for as long as the block lasts."""
    if options.choice.emulators != "google" and names_local_platform(os.environ):
        _refuse_for_platform_that_is_up(options)
        output.say(f"Using the platform that is up ({FIRESTORE_HOST} is {os.environ[FIRESTORE_HOST]}).")
        yield Running(environment=os.environ)
        return
    platform = local_platform(options.choice, os.environ, watched=True)
    output.say(emulators_used(platform) or "Starting a local platform ...")
    with up(platform):
        # Google's clients read these from the process's own environment.
        os.environ.update({name: platform.environment[name] for name in (FIRESTORE_HOST, PUBSUB_HOST)})
        ended = f"The platform is stopped, and the run with it. Logs: {platform.log_dir}"
        with _told_if_cut_short(ended, by=(Exception, *_USERS_WISH)):
            yield Running(environment={**os.environ, **platform.environment}, own=platform)


@contextmanager
def _told_if_cut_short(sentence: str, by: tuple[type[BaseException], ...] = _USERS_WISH) -> Iterator[None]:
    """Say what becomes of the run if the user, or whatever is named, ends the block early."""
    try:
        yield
    except by:
        click.echo(sentence, err=True)
        raise


def _told_if_cut_short_on_shared(running: Running, sentence: str) -> AbstractContextManager[None]:
    """The same for a run that outlives this command; what becomes of any other is told as its platform stops."""
    return _told_if_cut_short(sentence) if running.own is None else nullcontext()


def _how_to_go_on(run_id: str) -> str:
    return f"Run {run_id} goes on: `{with_place(f'runs show {run_id}')}`, `{with_place(f'runs cancel {run_id}')}`"


def _refuse_for_platform_that_is_up(options: RunOptions) -> None:
    foreign = _is_foreign(options.choice.task_runner_url, os.environ)
    chosen = [
        *(["--tr-url"] if foreign else []),
        *options.choice.chosen,
        *(["--keep"] if options.keep else []),
    ]
    if chosen:
        raise Misuse(
            f"{', '.join(chosen)} can only be chosen for a platform that `run` starts itself, but {FIRESTORE_HOST} and "
            f"{PUBSUB_HOST} name one that is up. Give these options to `atom-workflows local up`, or "
            f"`unset {FIRESTORE_HOST} {PUBSUB_HOST}`.",
        )


def _is_foreign(task_runner_url: str | None, environment: Mapping[str, str]) -> bool:
    """Whether the platform that is up would refuse a run with that Task Runner, as far as the environment tells."""
    if task_runner_url is None:
        return False
    return not from_environment(environment).may_use_task_runner(task_runner_url)


def _run_on(
    running: Running, request: RunRequest, options: RunOptions, output: Output
) -> tuple[RunRecord, list[StepRecord]]:
    services = connected(running.environment)
    from atom_workflows.adapters.change_feed import ChangeFeed  # noqa: PLC0415 (Google's clients take a second to import)

    view = RunView(run_id=request.run_id, total=len(request.step_ids), order=request.step_ids)
    with ChangeFeed(services.settings, request.run_id) as feed:
        if feed.problem:
            output.say(f"Steps are shown at the end only: {feed.problem}")
        with _told_if_cut_short_on_shared(running, f"If the run was started, it goes on: `{with_place('runs list')}`"):
            _publish(services, request, options, running)
        output.say(f"Run {request.run_id} of {options.source}{_size(request)}.")
        with _told_if_cut_short_on_shared(running, _how_to_go_on(request.run_id)), show_on(output, view) as show:
            run = follow(
                view,
                feed=feed,
                read_run=lambda: read_run(services.store, request.run_id),
                show=show,
                timeout_s=options.timeout_s,
            )
    steps = {step.id: step for step in read_steps(services.store, run.id)}
    in_order = [steps.pop(name) for name in request.step_ids if name in steps]
    return run, [*in_order, *steps.values()]


def _size(request: RunRequest) -> str:
    return f", {counted(len(request.step_ids), 'step')}" if request.step_ids else ""


def _publish(services: Services, request: RunRequest, options: RunOptions, running: Running) -> None:
    # A platform of one's own was started with that Task Runner; any other has to allow it.
    url = options.choice.task_runner_url if running.own is None else None
    services.bus.publish([Message(topic="start", body=request.message_body(url))])


def _tell(run: RunRecord, steps: list[StepRecord], options: RunOptions, output: Output) -> None:
    """The table and the sentences; the JSON object instead of the table."""
    rows = worth_showing(steps)
    if options.as_json:
        click.echo(dumped(run_with_steps(run, steps)))
    elif rows:
        output.say()
        output.show(steps_sheet(rows))
    if not options.as_json and 0 < len(rows) < len(steps):
        output.say(f"\n({counted(len(steps) - len(rows), 'more step')} not shown; `--json` lists all {len(steps):,}.)")
    output.say()
    for sentence in verdict(run, steps):
        output.say(sentence)


def _tell_what_next(run: RunRecord, running: Running, options: RunOptions, output: Output) -> None:
    if running.log_dir is not None:
        output.say(f"Logs: {running.log_dir}")
    if not run.state.is_terminal:
        output.say(f"Waiting ended after {options.timeout_s:g} s{_goes_on(run, running)}.")
    elif run.state in {RunState.FAILED, RunState.CANCELLED} and (running.own is None or options.keep):
        output.say(f"`{with_place(f'runs retry {run.id}')}` runs again what did not succeed.")


def _goes_on(run: RunRecord, running: Running) -> str:
    if running.own is None:
        return f"; the run goes on: `{with_place(f'runs show {run.id}')}`"
    return "; the run ends with its platform"


def _keep(platform: LocalPlatform, output: Output) -> None:
    output.say(f"\nThe platform stays up until Ctrl-C. To use it in another terminal:\n{exports(platform.environment)}")
    try:
        platform.wait()
    except KeyboardInterrupt:
        output.say("Stopping.")
