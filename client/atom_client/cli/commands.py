"""The commands and their options. Each command imports what it needs when it is called, so startup is fast."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atom_client.deployment import environment, place_options
from atom_client.errors import RUN_FAILED, Misuse, explain_errors
from atom_workflows import __version__

if TYPE_CHECKING:
    from atom_client.cli.local import PlatformChoice
    from atom_client.views.dead_letters import Desk
    from atom_workflows.coordinator.services import Services

json_option = click.option("--json", "as_json", is_flag=True, help="Print machine-readable JSON.")
run_argument = click.argument("run_id", metavar="RUN")


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
    """Return the time given with `--at`, or None if not given.

    A time without a time zone is taken to be in UTC.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Misuse(f"--at is {text!r:.100}; write a time such as 2026-03-01T02:30Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_RUN_STATES = ("SEEDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "INVALID")
_FILE = click.Path(path_type=Path)


class Explained(click.Group):
    """A command group that turns errors into readable messages."""

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Group.invoke`."""
        with explain_errors():
            return super().invoke(ctx)


@click.group(cls=Explained, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="atom-workflows")
def cli() -> None:
    """Run YAML workflows locally or on Google Cloud, and manage runs."""


def _platform_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options shared by all commands that start a local platform."""
    options = [
        click.option("--tr-url", "task_runner_url", metavar="URL", help="Use this Task Runner instead of the mock."),
        click.option(
            "--tr-auth-jwt", "token", metavar="JWT", help="The token for the Task Runner [env: WORKFLOW_TR_AUTH_JWT]."
        ),
        click.option(
            "--runner",
            type=click.Choice(["mock", "process", "docker"]),
            help="What runs jobs: nothing, as a mock only pretends to (default), or this machine. With process, tasks "
            "with `engine: process` are run as programs, which can do whatever you can; with docker, images are run by "
            "docker or podman.",
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
            "--emulators",
            type=click.Choice(["embedded", "google"]),
            help="Which Firestore and Pub/Sub emulators to use: embedded (default) or Google's own. Google's emulators "
            "need Java, unless FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST point to running emulators.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _params_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options shared by all commands that accept workflow parameters."""
    options = [
        click.option(
            "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter for the run; may be repeated."
        ),
        click.option(
            "--params-file",
            metavar="FILE",
            help="A YAML or JSON map of parameters, or - for stdin; --param overrides it.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("file", required=False)
@_params_options
@click.option("--workflow-path", metavar="PATH", help="The workflow file, or gs://bucket/object; same as FILE.")
@click.option("--timeout", metavar="TIME", help="Stop waiting after this long, such as 90s or 10m.")
@click.option("--keep", is_flag=True, help="Keep the platform up after the run has ended, until Ctrl-C.")
@json_option
@_platform_options
def run(  # noqa: PLR0913  # one for each option
    file: str | None,
    workflow_path: str | None,
    params: tuple[str, ...],
    params_file: str | None,
    timeout: str | None,
    *,
    keep: bool,
    as_json: bool,
    **platform: Any,
) -> None:
    """Run a workflow on a local platform and show its progress.

    FILE is a workflow file, or - for stdin. The platform is started for this run, unless FIRESTORE_EMULATOR_HOST
    and PUBSUB_EMULATOR_HOST name one that is already up.

    Exit code: 0 if the run SUCCEEDED, 1 if it ended in another state, 2 if the file or the options are
    invalid, 130 on Ctrl-C.
    """
    from atom_client.cli.run import RunOptions, run_workflow  # noqa: PLC0415 (imported only when needed)

    if (file is None) == (workflow_path is None):
        raise click.UsageError("name exactly one workflow file, as FILE or with --workflow-path")
    source = file or workflow_path or ""
    choice = _choice(**platform)
    options = RunOptions(
        source=source,
        choice=choice,
        params=params,
        params_file=params_file,
        as_json=as_json,
        keep=keep,
        timeout_s=timeout_of(timeout),
    )
    raise click.exceptions.Exit(run_workflow(options))


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="text for people, json for programs, or github for annotations on GitHub.",
)
@click.option(
    "--env-file",
    metavar="FILE",
    help="A file that lists the names that the deployment sets for env, one NAME or NAME=VALUE per line. Any other "
    "name is then reported as a problem.",
)
def validate(files: tuple[str, ...], form: str, env_file: str | None) -> None:
    """Check workflow files (- for stdin) and print every problem.

    Each problem is printed as a line of the form file:line:column: message, followed by the line of the file that it
    concerns. Warnings point out things that are valid but may be unintended. In a folder, all files that end in .yaml,
    .yml or .json are checked, except hidden files and scripts for the mock Task Runner (.mock.yaml).

    Exit code: 0 if all files are valid, even if there are warnings, otherwise 1.
    """
    from atom_client.cli.validate import validate_files  # noqa: PLC0415 (imported only when needed)

    if not validate_files(files, form=form, env_file=env_file):
        raise click.exceptions.Exit(RUN_FAILED)


@cli.command()
def schema() -> None:
    """Print the JSON Schema for workflow files, for use in editors."""
    from atom_client.views.as_json import json_text  # noqa: PLC0415 (imported only when needed)
    from atom_workflows.language.json_schema import json_schema  # noqa: PLC0415 (imported only when needed)

    click.echo(json_text(json_schema()))


@cli.command()
@click.argument("file")
@_params_options
@click.option(
    "--outputs",
    "script",
    metavar="FILE",
    help="Simulate a run in memory, with the outputs and failures given by this script for the mock Task Runner.",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value that the file reads as env.NAME; may be repeated [env: WORKFLOW_ENV_NAME].",
)
@click.option(
    "--at",
    "at",
    metavar="TIME",
    help="When the run would start, such as 2026-03-01T02:30Z, in UTC if no offset is given [default: now].",
)
@json_option
def plan(file: str, at: str | None, **chosen: Any) -> None:
    """Print what a run would do, without starting anything.

    FILE is a workflow file, or - for stdin. The parameters are bound, and each step is printed with the body of its job
    and a verdict: it runs, it is skipped, or this depends on something that is not known before the run. No service is
    called.

    With --outputs, the coordinator's deployed code executes a run in memory and in virtual time. The file given there
    is a script for the mock Task Runner, so `run --mock-script` does the same on the local platform.

    Exit code: 0; 1 if a step is certain to fail or, with --outputs, if the run would not succeed; 2 if the file or the
    options are invalid.
    """
    from atom_client.cli.plan import PlanOptions, print_plan  # noqa: PLC0415 (imported only when needed)

    options = PlanOptions(source=file, at=moment_of(at), **chosen)
    raise click.exceptions.Exit(print_plan(options, os.environ))


@cli.command()
@click.argument("file", required=False)
@_params_options
@click.option(
    "--steps",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Without FILE: assume a chain of N steps [default: 1000].",
)
@click.option(
    "--duration",
    metavar="TIME",
    help="How long each job takes, such as 90s or 2h [default: 10m, or less if timeouts are short; 0 in a chain].",
)
@click.option(
    "--runs-per-month",
    type=click.IntRange(1, 10_000_000),
    default=30,
    show_default=True,
    metavar="N",
    help="The number of runs per month.",
)
@click.option(
    "--checker-cpu",
    "checker_vcpu",
    type=FiniteRange(0.08, 8),
    default=0.167,
    show_default=True,
    metavar="VCPU",
    help="The number of vCPUs of the deployed checker, which is awake while jobs are in flight.",
)
@json_option
def cost(file: str | None, duration: str | None, **chosen: Any) -> None:
    """Estimate the cost of running a workflow, here and elsewhere.

    FILE is a workflow file, or - for stdin. The deployed code executes a run in memory, and its usage is priced at
    list prices; no service is called. WORKFLOW_BURST_SEC and the functions' other settings are used if they are set.
    Steps whose conditions are false with the given parameters are left out; steps whose conditions cannot be decided
    in advance are assumed to run.

    Exit code: 0, or 2 if the file or the options are invalid.
    """
    from atom_client.cli.cost import CostOptions, print_cost  # noqa: PLC0415 (imported only when needed)
    from atom_workflows.settings import from_environment  # noqa: PLC0415 (imported only when needed)

    options = CostOptions(source=file, job=duration_of(duration), settings=from_environment(os.environ), **chosen)
    raise click.exceptions.Exit(print_cost(options))


@cli.group()
def local() -> None:
    """Run the local platform."""


@local.command()
@click.option(
    "--bucket",
    default="atom-local",
    show_default=True,
    metavar="NAME",
    help="The bucket to which files are uploaded to start runs.",
)
@click.option("--no-bucket", is_flag=True, help="Do not start Cloud Storage; gs:// paths then refer to Google Cloud.")
@json_option
@_platform_options
def up(*, bucket: str, no_bucket: bool, as_json: bool, **platform: Any) -> None:
    """Run the local platform until Ctrl-C.

    Prints the variables to export in another terminal so that it uses the platform.
    """
    from atom_client.cli.local import local_up  # noqa: PLC0415 (imported only when needed)

    local_up(_choice(**platform, bucket=None if no_bucket else bucket), as_json=as_json)


@cli.group()
def runs() -> None:
    """List, show, cancel, retry and repair runs.

    The runs belong to a project, or to the local platform whose variables are exported. The first characters of a
    run's id are enough if no other id begins with them.
    """


@runs.command("list")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    default=20,
    show_default=True,
    help="The maximum number of runs to list.",
)
@click.option("--state", type=click.Choice(_RUN_STATES, case_sensitive=False), help="List only runs in this state.")
@json_option
@place_options
def list_(limit: int, state: str | None, *, as_json: bool) -> None:
    """List the newest runs."""
    from atom_client.cli.runs import list_runs  # noqa: PLC0415 (imported only when needed)
    from atom_workflows.core.states import RunState  # noqa: PLC0415 (imported only when needed)

    list_runs(_services(), limit=limit, state=RunState(state.upper()) if state else None, as_json=as_json)


@runs.command()
@run_argument
@click.option("--outputs", "with_outputs", is_flag=True, help="Also show the outputs of the run and of its steps.")
@json_option
@place_options
def show(run_id: str, *, with_outputs: bool, as_json: bool) -> None:
    """Show a run and its steps; `why` explains their states."""
    from atom_client.cli.runs import show_run  # noqa: PLC0415 (see above)

    show_run(_services(), run_id, with_outputs=with_outputs, as_json=as_json)


@runs.command()
@run_argument
@click.option("--now", is_flag=True, help="End the steps under `finally` as well, or do not start them.")
@place_options
def cancel(run_id: str, *, now: bool) -> None:
    """End a run and submit no more jobs for it.

    The run has ended when the command returns, so there is no --wait. If the workflow has steps under `finally`,
    however, they run first; --now ends the run without them.
    """
    from atom_client.cli.runs import cancel_named  # noqa: PLC0415 (imported only when needed)

    cancel_named(_services(), run_id, now=now)


@runs.command()
@run_argument
@click.option("--dry-run", is_flag=True, help="Report what is wrong, but change nothing.")
@json_option
@place_options
def doctor(run_id: str, *, dry_run: bool, as_json: bool) -> None:
    """Explain why a run is stuck, and fix what can be fixed.

    Recomputes every counter from the steps' states, and republishes released steps that no dispatcher has claimed.

    Exit code: 0 if nothing is wrong or everything was fixed, otherwise 1.
    """
    from atom_client.cli.runs import repair  # noqa: PLC0415 (imported only when needed)

    if not repair(_services(), run_id, dry_run=dry_run, as_json=as_json):
        raise click.exceptions.Exit(RUN_FAILED)


@cli.command()
@run_argument
@click.argument("step_id", metavar="[STEP]", required=False)
@json_option
@place_options
def why(run_id: str, step_id: str | None, *, as_json: bool) -> None:
    """Explain why a run or a step is in its current state.

    For an open run, prints what it is waiting for. For a run that has ended, prints which steps failed, which were
    blocked by them, and which were skipped by choice, with the values that decided this. For a step, prints what each
    dependency counts as, the values that decided its condition, its attempts, the job that was sent, and its outputs.
    `runs why` is the same command.
    """
    from atom_client.cli.why import print_why_run, print_why_step  # noqa: PLC0415 (see above)

    if step_id is None:
        print_why_run(_services(), run_id, as_json=as_json)
    else:
        print_why_step(_services(), run_id, step_id, as_json=as_json)


runs.add_command(why)


@cli.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay and drop dead-lettered events.

    While one of these commands is running, any other may have to wait a moment.
    """


_letter_ids = click.argument("ids", nargs=-1, metavar="ID...")


@dead_letters.command("list")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    default=20,
    show_default=True,
    help="The maximum number of dead letters to list.",
)
@json_option
@place_options
def list_dead_letters(limit: int, *, as_json: bool) -> None:
    """List the newest dead letters and the reason for each."""
    from atom_client.cli.dead_letters import list_letters  # noqa: PLC0415 (imported only when needed)

    list_letters(_desk(), limit=limit, as_json=as_json)


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID")
@json_option
@place_options
def show_dead_letter(letter_id: str, *, as_json: bool) -> None:
    """Show a dead letter, its event, and what to do about it."""
    from atom_client.cli.dead_letters import show_letter  # noqa: PLC0415 (imported only when needed)

    show_letter(_desk(), letter_id, as_json=as_json)


@dead_letters.command("replay")
@_letter_ids
@click.option("--all", "every", is_flag=True, help="Replay all dead letters except those that can never be handled.")
@click.option("--dry-run", is_flag=True, help="Only print what would be replayed.")
@place_options
def replay_dead_letters(ids: tuple[str, ...], *, every: bool, dry_run: bool) -> None:
    """Republish dead letters to the topics that they came from.

    Replaying a start message never starts a second run.
    """
    from atom_client.cli.dead_letters import replay_letters  # noqa: PLC0415 (imported only when needed)

    replay_letters(_desk(), ids, every=every, dry_run=dry_run)


@dead_letters.command("drop")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--hopeless", is_flag=True, help="Drop all dead letters that can never be handled as they are.")
@place_options
def drop_dead_letters(ids: tuple[str, ...], *, hopeless: bool) -> None:
    """Delete dead letters permanently."""
    from atom_client.cli.dead_letters import drop_letters  # noqa: PLC0415 (imported only when needed)

    drop_letters(_desk(), ids, hopeless=hopeless)


@cli.command()
@click.argument("source", metavar="FILE")
@click.option("--key", metavar="TEXT", help="A name for the run; the same key and file never start a second run.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for the run; may be repeated.")
@_params_options
@click.option("--tr-url", "task_runner_url", metavar="URL", help="The Task Runner to use, if the platform allows it.")
@click.option("--wait", is_flag=True, help="Show the run's progress until it has ended.")
@click.option("--timeout", metavar="TIME", help="With --wait: stop waiting after this long, such as 90s or 10m.")
@json_option
@place_options
def start(timeout: str | None, **chosen: Any) -> None:
    """Start a run of a workflow on a running platform.

    FILE is a workflow file, - for stdin, or gs://BUCKET/OBJECT. A file is checked and sent with the start
    message; an object is read by the start function.

    The value of --param is read according to the type that the file declares for it. For an object in a bucket, a
    value that is valid JSON (8, true, null, [1, 2], "8") is sent as JSON, and any other value as text.

    Exit code: 0 if the message was accepted; with --wait, the same as for `run`; 2 if the file or the options are
    invalid.
    """
    from atom_client.cli.start import StartOptions, start_run  # noqa: PLC0415 (imported only when needed)

    raise click.exceptions.Exit(start_run(StartOptions(timeout_s=timeout_of(timeout), **chosen)))


@cli.command()
@click.argument("file")
@click.argument("target", metavar="gs://BUCKET/OBJECT")
@json_option
@place_options
def upload(file: str, target: str, *, as_json: bool) -> None:
    """Check and upload a workflow, and print the run that it starts.

    FILE is a workflow file, or - for stdin. If the target ends in /, the object gets the file's name.

    Exit code: 0 if the file was uploaded, 1 if the upload failed, 2 if the file or the options are invalid.
    """
    from atom_client.cli.upload import upload_file  # noqa: PLC0415 (imported only when needed)

    raise click.exceptions.Exit(upload_file(file, target, as_json=as_json))


@runs.command()
@run_argument
@click.option("--wait", is_flag=True, help="Show the run's progress until it has ended.")
@click.option("--timeout", metavar="TIME", help="With --wait: stop waiting after this long, such as 90s or 10m.")
@json_option
@place_options
def retry(timeout: str | None, **chosen: Any) -> None:
    """Rerun the steps that failed, were cancelled or were skipped.

    Steps that succeeded are not run again.

    Exit code: 0 if the run continues; with --wait, the same as for `run`.
    """
    from atom_client.cli.runs import RetryOptions, retry_unsuccessful  # noqa: PLC0415 (imported only when needed)

    options = RetryOptions(timeout_s=timeout_of(timeout), **chosen)
    raise click.exceptions.Exit(retry_unsuccessful(_services(), options))


@cli.command("doctor")
@click.option("--tr-url", "task_runner_url", metavar="URL", help="The Task Runner's URL [default: the newest run's].")
@click.option(
    "--region", metavar="REGION", help="The deployment's region, needed to compare the deployment with its plan."
)
@click.option("--bucket", metavar="NAME", help="The bucket for workflow files [default: PROJECT-atom-workflows].")
@json_option
@place_options
def doctor_of_platform(**chosen: Any) -> None:
    """Check a platform and print how to fix what is wrong.

    Each check prints a line. The command works on the local platform and on a deployment, uses your own credentials,
    and changes nothing. In a checkout of the repository, it also uses gcloud to compare the project with the
    deployment's plan.

    Exit code: 0 if nothing is wrong, 1 if something is, 2 if the options are invalid.
    """
    from atom_client.cli.doctor import DoctorOptions, check_platform  # noqa: PLC0415 (imported only when needed)

    if not check_platform(environment(), DoctorOptions(**chosen)):
        raise click.exceptions.Exit(RUN_FAILED)


def _desk() -> Desk:
    from atom_client.cli.platform import desk  # noqa: PLC0415 (imported only when needed)

    return desk(environment())


def _services() -> Services:
    from atom_client.cli.platform import connect_services  # noqa: PLC0415 (imported only when needed)

    return connect_services(environment())


def _choice(**chosen: Any) -> PlatformChoice:
    """Return the platform options as a `PlatformChoice`.

    Each option has the same name as its field.
    """
    from atom_client.cli.local import PlatformChoice  # noqa: PLC0415 (imported only when needed)

    return PlatformChoice(**chosen)
