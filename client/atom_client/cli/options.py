"""Options and arguments shared by several commands, and their parsing."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

from atom_client.cli.completion import FILE, RUN
from atom_client.errors import Misuse

json_option = click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON.")

reason_option = click.option(
    "--reason", metavar="TEXT", default="", help="The reason; recorded and shown along with your name."
)


def wait_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --wait and --timeout."""
    within = click.option(
        "--timeout", metavar="TIME", help="With --wait: stop waiting after this long, such as 90s or 10m."
    )
    return click.option("--wait", is_flag=True, help="Show the run's progress until it has ended.")(within(command))


def run_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument RUN and the option --last.

    Both pass a run in the parameter `run_id`. With --last, the arguments after RUN move up to take its place.
    """

    @click.argument("run_id", type=RUN, metavar="RUN", required=False)
    @click.option("--last", is_flag=True, help="Use the newest run instead of RUN.")
    @wraps(command)
    def with_run(*, run_id: str | None, last: bool, **chosen: Any) -> Any:
        from atom_client.views.run_references import LAST  # noqa: PLC0415 (imported only when needed)

        following = [name for name in ("step_id", "state_text") if name in chosen]
        if last and run_id is not None and following and chosen[following[-1]] is None:
            given = (run_id, *(chosen[name] for name in following[:-1]))
            chosen.update(zip(following, given, strict=True))
            run_id = None
        if last and run_id is not None:
            raise Misuse("both RUN and --last name a run; give one of them")
        if not last and run_id is None:
            raise click.UsageError(
                "RUN is missing: a run's id or its first characters, or the name or file of a workflow, which means "
                "its newest run; or give --last for the newest run of all"
            )
        return command(run_id=LAST if run_id is None else run_id, **chosen)

    return with_run


def timeout_of(text: str | None) -> float | None:
    """Return `--timeout` in seconds, or None for no limit."""
    if text is None:
        return None
    from atom_client.cli.follow import seconds_of  # noqa: PLC0415 (only needed by commands that wait)

    try:
        return seconds_of(text)
    except ValueError as error:
        raise Misuse(f"--timeout is {text!r}: {error}") from error


class FiniteRange(click.FloatRange):
    """A range of numbers that excludes NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Reject anything that is not a number in the range."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


def duration_of(text: str | None) -> timedelta | None:
    """Return `--duration` as a time span, or None if not given.

    The string is a duration written as in a workflow file, or a number of seconds.
    """
    if text is None:
        return None
    from atom_workflows.core.durations import parse_duration  # noqa: PLC0415 (imported only when needed)

    try:
        return parse_duration(f"{text}s" if text.replace(".", "", 1).isdecimal() else text)
    except (ValueError, OverflowError) as error:
        raise Misuse(f"--duration is {text!r}: {error}") from error


def moment_of(text: str | None) -> datetime | None:
    """Return the time given with `--at`, or None.

    It has a time zone only if the user gave one.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Misuse(f"--at is {text!r:.100}; write a time such as 2026-03-01T02:30Z") from error


_FILE = click.Path(path_type=Path)


def platform_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options shared by all commands that start a local platform."""
    options = [
        click.option("--tr-url", "task_runner_url", metavar="URL", help="Use this Task Runner instead of the mock."),
        click.option(
            "--tr-auth-jwt", "token", metavar="JWT", help="The token for the Task Runner [env: WORKFLOW_TR_AUTH_JWT]."
        ),
        click.option(
            "--runner",
            type=click.Choice(["mock", "process", "docker"]),
            help="What runs the jobs: mock (default) only pretends to run them; with process, tasks with "
            "`engine: process` run as programs on this machine, which can do whatever you can; with docker, images are "
            "run by docker or podman.",
        ),
        click.option(
            "--slots",
            type=click.IntRange(min=1),
            metavar="N",
            help="With --runner process or docker: how many jobs run at a time [default: one per processor].",
        ),
        click.option(
            "--mock-script", type=_FILE, metavar="FILE", help="A script that controls the mock Task Runner's jobs."
        ),
        click.option(
            "--mock-duration",
            "mock_duration_s",
            type=FiniteRange(min=0),
            metavar="S",
            help="How many seconds each mock job takes.",
        ),
        click.option(
            "--log-dir",
            type=_FILE,
            metavar="DIR",
            help="The folder for logs [default: .atom-workflows/logs/<time> in the working folder].",
        ),
        click.option(
            "--env",
            multiple=True,
            metavar="NAME=VALUE",
            help="A value that workflow files read as env.NAME; may be repeated [env: WORKFLOW_ENV_NAME].",
        ),
        click.option(
            "--in-memory",
            is_flag=True,
            help="Keep no history: the platform's runs are gone when it ends, and it does not see the runs in "
            ".atom-workflows in the working folder.",
        ),
        click.option(
            "--emulators",
            type=click.Choice(["embedded", "google"]),
            help="Which Firestore and Pub/Sub emulators to use: embedded (default) or Google's own. Google's emulators "
            "need Java, unless FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST point to running emulators.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def params_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options shared by all commands that accept workflow parameters."""
    options = [
        click.option(
            "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter for the run; may be repeated."
        ),
        click.option(
            "--params-file",
            type=FILE,
            metavar="FILE",
            help="A YAML or JSON map of parameters, or - for stdin; --param overrides it.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
