"""The command about Task Runners: the group `runner`."""

from __future__ import annotations

import os
from typing import Any

import click

from atom_client.cli.options import FiniteRange, json_option


@click.group()
def runner() -> None:
    """Check Task Runners."""


@runner.command("check")
@click.argument("url", metavar="URL")
@click.option(
    "--tr-auth-jwt",
    "--auth-jwt",
    "token",
    metavar="JWT",
    help="The token to send [env: WORKFLOW_TR_AUTH_JWT; default: an ID token, or none if URL is on this machine].",
)
@click.option("--image", default="", metavar="IMAGE", help="The image of the jobs (imageUri).")
@click.option("--engine", default="", metavar="NAME", help="The engine of the jobs, such as process.")
@click.option("--args", "arguments", metavar="JSON", help="The arguments of a job that succeeds, as JSON.")
@click.option("--failing-args", "failing_arguments", metavar="JSON", help="The arguments of a job that fails.")
@click.option("--failing-image", metavar="IMAGE", help="The image of the job that fails [default: --image].")
@click.option(
    "--stopping-args",
    "stoppable_arguments",
    metavar="JSON",
    help="The arguments of a job that runs until it is stopped [default: --args].",
)
@click.option(
    "--impossible-args",
    "impossible_arguments",
    metavar="JSON",
    help="The arguments of a job that cannot start, such as a program that does not exist.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=FiniteRange(1, 86_400),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="How long a job may take to end.",
)
@json_option
def check(**chosen: Any) -> None:
    """Check that a Task Runner follows the contract.

    Submits a few small jobs to URL and prints a row for each rule: what every Task Runner has to do (submissions,
    keys, states, unknown and failing jobs), and what it may do (outputs, reasons, logs, notices, stopping). You choose
    the jobs: --image and --args describe one that succeeds, --failing-args one that fails.

    Exit code: 0 if no rule of the contract is broken, 1 if one is, 2 if the options are invalid.
    """
    from atom_client.cli.runner import CheckOptions, check_runner  # noqa: PLC0415 (imported only when needed)
    from atom_workflows.settings import from_environment  # noqa: PLC0415 (imported only when needed)

    raise click.exceptions.Exit(check_runner(CheckOptions(**chosen), from_environment(os.environ)))
