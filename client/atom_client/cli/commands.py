"""Command groups, and the commands that start runs or only read files.

Each command imports what it needs when it is called, so startup is fast.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from atom_client.cli.completion import FILE, SHELLS
from atom_client.cli.console_commands import console
from atom_client.cli.dead_letter_commands import dead_letters
from atom_client.cli.graph_commands import graph
from atom_client.cli.options import (
    FiniteRange,
    duration_of,
    json_option,
    moment_of,
    params_options,
    platform_options,
    timeout_of,
    wait_options,
)
from atom_client.cli.runner_commands import runner
from atom_client.cli.runs_commands import runs, why
from atom_client.cli.schedules_commands import schedules
from atom_client.deployment import environment, place_options
from atom_client.errors import RUN_FAILED, explain_errors
from atom_workflows import __version__

if TYPE_CHECKING:
    from atom_client.cli.platform_choice import PlatformChoice


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


@cli.command()
@click.argument("file", type=FILE, required=False)
@params_options
@click.option(
    "--workflow-path", type=FILE, metavar="PATH", help="The workflow file, or gs://bucket/object; same as FILE."
)
@click.option("--timeout", metavar="TIME", help="Stop waiting after this long, such as 90s or 10m.")
@click.option("--keep", is_flag=True, help="Keep the platform running after the run ends, until Ctrl-C.")
@json_option
@platform_options
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

    FILE is a workflow file, or - for stdin. The platform is started for this run, unless one is already running, in
    this folder or at the addresses in FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST. The run is kept in
    .atom-workflows, where `runs list` and `runs show` find it after the platform has stopped.

    Exit code: 0 if the run SUCCEEDED, 1 if it ended in another state, 2 if the file or the options are
    invalid, 130 if Ctrl-C interrupts it. With --keep, the Ctrl-C that stops the platform does not change the exit code.
    """
    from atom_client.cli.run import RunOptions, run_workflow  # noqa: PLC0415 (imported only when needed)

    if (file is None) == (workflow_path is None):
        raise click.UsageError("specify exactly one workflow file, either as FILE or with --workflow-path")
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
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
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
    type=FILE,
    metavar="FILE",
    help="A file that lists the env names set by the deployment, one NAME or NAME=VALUE per line. Any other "
    "name is then reported as a problem.",
)
def validate(files: tuple[str, ...], form: str, env_file: str | None) -> None:
    """Check workflow files (- for stdin) and print every problem.

    Each problem is printed as a line of the form file:line:column: message, followed by the line of the file that it
    refers to. Warnings point out things that are valid but may be unintended. In a folder, all files that end in .yaml,
    .yml or .json are checked, except hidden files and scripts for the mock Task Runner (.mock.yaml). Files without
    `steps` are not workflows; they are skipped with a note. A file named on the command line is always checked.

    Exit code: 0 if all files are valid, even if there are warnings, otherwise 1.
    """
    from atom_client.cli.validate import validate_files  # noqa: PLC0415 (imported only when needed)

    if not validate_files(files, form=form, env_file=env_file):
        raise click.exceptions.Exit(RUN_FAILED)


@cli.command()
@click.argument("file", type=FILE, default="workflow.yaml")
def init(file: str) -> None:
    """Write a commented first workflow that runs as is.

    FILE is the file to write [default: workflow.yaml]. The JSON Schema for editors is written beside it, as
    workflow.schema.json. An existing file is never overwritten. Nothing else is needed: the command prints how to
    run the workflow on this machine.

    Exit code: 0 if FILE was written, 2 if it already exists or cannot be written.
    """
    from atom_client.cli.init import write_first_workflow  # noqa: PLC0415 (imported only when needed)

    write_first_workflow(file)


@cli.command()
def schema() -> None:
    """Print the JSON Schema for workflow files, for editors."""
    from atom_client.views.as_json import json_text  # noqa: PLC0415 (imported only when needed)
    from atom_workflows.language.json_schema import json_schema  # noqa: PLC0415 (imported only when needed)

    click.echo(json_text(json_schema()))


@cli.command()
@click.argument("file", type=FILE)
@params_options
@click.option(
    "--outputs",
    "script",
    type=FILE,
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
    help="When the run would start, such as 2026-03-01T02:30. Without an offset such as Z or +01:00, it is local time "
    "in the workflow's timezone, which is UTC if the file sets none [default: now].",
)
@json_option
def plan(file: str, at: str | None, **chosen: Any) -> None:
    """Print what a run would do, without starting anything.

    FILE is a workflow file, or - for stdin. The parameters are bound, and each step is printed with the body of its job
    and a verdict: it runs, it is skipped, or the outcome depends on something that is not known before the run. The
    items of a loop are counted if its lists are known, and the first few are printed. No service is called. As with
    `cost`, WORKFLOW_BURST_SEC and the functions' other settings are used if they are set.

    With --outputs, the platform's code executes a run in memory and in virtual time. The file given with
    --outputs is a script for the mock Task Runner; `run --mock-script` does the same on the local platform.

    Exit code: 1 if a step is certain to fail or, with --outputs, if the run would not succeed; 2 if the file or the
    options are invalid; otherwise 0.
    """
    from atom_client.cli.plan import PlanOptions, print_plan  # noqa: PLC0415 (imported only when needed)

    options = PlanOptions(source=file, at=moment_of(at), **chosen)
    raise click.exceptions.Exit(print_plan(options, os.environ))


@cli.command()
@click.argument("file", type=FILE, required=False)
@params_options
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
    help="The number of vCPUs allocated to the deployed checker, which is awake while jobs are in flight.",
)
@click.option(
    "--notifies",
    is_flag=True,
    help="Assume that the Task Runner reports when each job ends, as the one deployed to Google Cloud does for Batch.",
)
@json_option
def cost(file: str | None, duration: str | None, **chosen: Any) -> None:
    """Estimate a workflow's cost, on this platform and elsewhere.

    FILE is a workflow file, or - for stdin. The platform's code executes a run in memory, and what the run uses is
    priced at list prices; no service is called. WORKFLOW_BURST_SEC and the functions' other settings are used if they
    are set. Steps whose conditions are false with the given parameters are left out; steps whose conditions cannot be
    decided in advance are assumed to run. Each item of a loop counts as a step; a list that is not known in advance is
    assumed to have 10 items.

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
@click.option(
    "--cancel-others",
    is_flag=True,
    help="Cancel the open runs that need a different Task Runner, instead of refusing to start.",
)
@click.option("--no-console", is_flag=True, help="Do not serve the page that shows runs in the browser.")
@json_option
@platform_options
def up(*, bucket: str, no_bucket: bool, no_console: bool, as_json: bool, **platform: Any) -> None:
    """Run the local platform until Ctrl-C.

    Commands in the same folder find the platform. Elsewhere, export the printed variables, so that commands use the
    platform. Runs and messages are kept in .atom-workflows in this folder; runs left open when the platform was stopped
    or killed resume when it is started again. A run is deleted after 90 days, or after WORKFLOW_KEEP_RUNS_SEC, along
    with its logs. The console, a web page, is served at the printed address, which only you should know; it reads
    nothing while no page is open.

    Exit code: 0 when stopped with Ctrl-C (the normal way to stop it), 1 if part of the platform fails, 2 if the
    options are invalid.
    """
    from atom_client.cli.local_up import local_up  # noqa: PLC0415 (imported only when needed)

    choice = _choice(**platform, bucket=None if no_bucket else bucket)
    local_up(choice, as_json=as_json, has_console=not no_console)


@local.command("env")
@json_option
def env_of_platform(*, as_json: bool) -> None:
    """Print the variables of the platform that is up in this folder.

    Export them for other programs, or in another folder: eval "$(atom-workflows local env)".

    Exit code: 0, or 1 if no platform is up in this folder.
    """
    from atom_client.cli.local_up import print_variables  # noqa: PLC0415 (imported only when needed)

    print_variables(as_json=as_json)


cli.add_command(console)
cli.add_command(graph)
cli.add_command(runs)
cli.add_command(why)
cli.add_command(schedules)
cli.add_command(dead_letters)
cli.add_command(runner)


@cli.command()
@click.argument("source", type=FILE, metavar="FILE")
@click.option("--key", metavar="TEXT", help="A name for the run; the same key and file never start a second run.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for the run; may be repeated.")
@params_options
@click.option("--tr-url", "task_runner_url", metavar="URL", help="The Task Runner to use, if the platform allows it.")
@click.option(
    "--at",
    metavar="TIME",
    help="Start the run now, but as if scheduled for this time, such as 2026-03-01T02:30, which expressions read as "
    "run.scheduledAt. Without an offset such as Z or +01:00, it is local time in the workflow's timezone; for an "
    "object in a bucket, the offset is required.",
)
@click.option("--no-queue", is_flag=True, help="Begin the run even if the file's `concurrency` limit has been reached.")
@wait_options
@json_option
@place_options
def start(timeout: str | None, at: str | None, **chosen: Any) -> None:
    """Start a run of a workflow on a running platform.

    FILE is a workflow file, - for stdin, or gs://BUCKET/OBJECT. A file is checked and sent with the start
    message; an object is read by the start function.

    The value of --param is read according to the type that the file declares for it. For an object in a bucket, a
    value that is valid JSON (8, true, null, [1, 2], "8") is sent as JSON, and any other value as text.

    Exit code: 0 if the message was accepted; with --wait, the same as for `run`; 2 if the file or the options are
    invalid.
    """
    from atom_client.cli.start import start_run  # noqa: PLC0415 (imported only when needed)
    from atom_client.cli.start_request import StartOptions  # noqa: PLC0415 (imported only when needed)

    raise click.exceptions.Exit(start_run(StartOptions(timeout_s=timeout_of(timeout), at=moment_of(at), **chosen)))


@cli.command()
@click.argument("file", type=FILE)
@click.argument("target", metavar="gs://BUCKET/OBJECT")
@json_option
@place_options
def upload(file: str, target: str, *, as_json: bool) -> None:
    """Check and upload a workflow, and print the run it starts.

    FILE is a workflow file, or - for stdin. If the target ends in /, the object gets the file's name.

    Exit code: 0 if the file was uploaded, 1 if the upload failed, 2 if the file or the options are invalid.
    """
    from atom_client.cli.upload import upload_file  # noqa: PLC0415 (imported only when needed)

    raise click.exceptions.Exit(upload_file(file, target, as_json=as_json))


@cli.command("doctor")
@click.option("--tr-url", "task_runner_url", metavar="URL", help="The Task Runner's URL [default: the newest run's].")
@click.option(
    "--region", metavar="REGION", help="The deployment's region, needed to compare the deployment with its plan."
)
@click.option("--bucket", metavar="NAME", help="The bucket for workflow files [default: PROJECT-atom-workflows].")
@json_option
@place_options
def doctor_of_platform(**chosen: Any) -> None:
    """Check a platform and print how to fix any problems.

    Each check prints a line. The command works on the local platform and on a deployment, uses your own credentials,
    and changes nothing. In a checkout of the repository, it also uses gcloud to compare the project with the
    deployment's plan.

    Exit code: 0 if nothing is wrong, 1 if something is, 2 if the options are invalid.
    """
    from atom_client.cli.doctor import DoctorOptions, check_platform  # noqa: PLC0415 (imported only when needed)

    if not check_platform(environment(), DoctorOptions(**chosen)):
        raise click.exceptions.Exit(RUN_FAILED)


@cli.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that enables shell completion.

    The Tab key then completes commands, options, files and the ids of runs. For bash 4.4 or newer, add this line to
    ~/.bashrc: eval "$(atom-workflows completion bash)". For zsh, add the same line with zsh in place of bash to
    ~/.zshrc, after the call to compinit. For fish, add this line to ~/.config/fish/config.fish:
    atom-workflows completion fish | source.

    The ids come from the platform that the variables or the options name, or else from this folder's platform or
    history. If there is none of these, no ids are offered.
    """
    from atom_client.cli.completion import completion_script  # noqa: PLC0415 (imported only when needed)

    click.echo(completion_script(cli, shell), nl=False)


def _choice(**chosen: Any) -> PlatformChoice:
    """Return the platform options as a `PlatformChoice`.

    Each option has the same name as its field.
    """
    from atom_client.cli.platform_choice import PlatformChoice  # noqa: PLC0415 (imported only when needed)

    return PlatformChoice(**chosen)
