"""The commands that start runs on a platform, or run them again, and the one that looks whether a platform is well."""

from __future__ import annotations

from typing import Any

import click

from atom_client.cli.options import json_option, run_argument, timeout_of
from atom_client.deployment import environment, place_options
from atom_client.errors import RUN_FAILED


@click.command()
@click.argument("source", metavar="FILE")
@click.option("--key", metavar="TEXT", help="Names the run: the same key for the same file starts no second run.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label of the run; may be repeated.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the run; likewise.")
@click.option("--tr-url", "task_runner_url", metavar="URL", help="The Task Runner, one that the deployment allows.")
@click.option("--wait", is_flag=True, help="Show how the run goes, until it has ended.")
@click.option("--timeout", metavar="TIME", help="With --wait: wait no longer than this, such as 90s or 10m.")
@json_option
@place_options
def start(timeout: str | None, **chosen: Any) -> None:
    """Start a run of the workflow in FILE (- for stdin, or gs://BUCKET/OBJECT) on a platform that is up.

    The file is checked and sent with the start message; an object is read by the start function.

    Exit code: 0 if the message was accepted; with --wait that of `run`; 2 if the file or the options are wrong.
    """
    from atom_client.cli.start import StartOptions, start_run  # noqa: PLC0415 (all commands start at once)

    raise click.exceptions.Exit(start_run(StartOptions(timeout_s=timeout_of(timeout), **chosen)))


@click.command()
@click.argument("file")
@click.argument("target", metavar="gs://BUCKET/OBJECT")
@json_option
@place_options
def upload(file: str, target: str, *, as_json: bool) -> None:
    """Check the workflow in FILE (- for stdin), upload it, and tell which run that starts.

    If the target ends in /, the object has the file's name.

    Exit code: 0 if it was uploaded, 1 if that failed, 2 if the file or the options are wrong.
    """
    from atom_client.cli.upload import upload_file  # noqa: PLC0415 (all commands start at once)

    raise click.exceptions.Exit(upload_file(file, target, as_json=as_json))


@click.command()
@run_argument
@click.option("--wait", is_flag=True, help="Show how the run goes, until it has ended.")
@click.option("--timeout", metavar="TIME", help="With --wait: wait no longer than this, such as 90s or 10m.")
@json_option
@place_options
def retry(timeout: str | None, **chosen: Any) -> None:
    """Run again what failed, was cancelled or was skipped in a run; what succeeded is kept.

    Exit code: 0 if the run goes on; with --wait that of `run`.
    """
    from atom_client.cli.platform import connected  # noqa: PLC0415 (all commands start at once)
    from atom_client.cli.retry import RetryOptions, retry_unsuccessful  # noqa: PLC0415 (likewise)

    options = RetryOptions(timeout_s=timeout_of(timeout), **chosen)
    raise click.exceptions.Exit(retry_unsuccessful(connected(environment()), options))


@click.command("doctor")
@click.option("--tr-url", "task_runner_url", metavar="URL", help="The Task Runner [default: the newest run's].")
@click.option("--region", metavar="REGION", help="Where it is deployed: to compare it with its plan.")
@click.option("--bucket", metavar="NAME", help="Where workflows are uploaded [default: PROJECT-atom-workflows].")
@json_option
@place_options
def doctor_of_platform(**chosen: Any) -> None:
    """Look whether a platform is well: a line for each thing looked at, with the command that mends what is wrong.

    Works on the local platform and on a deployment, with your own credentials, and changes nothing. Where one deploys
    from, it also compares the project with the plan of the deployment, by gcloud.

    Exit code: 0 if nothing is wrong, 1 if something is, 2 if the options are wrong.
    """
    from atom_client.cli.doctor import DoctorOptions, is_well  # noqa: PLC0415 (all commands start at once)

    if not is_well(environment(), DoctorOptions(**chosen)):
        raise click.exceptions.Exit(RUN_FAILED)
