"""The commands about schedules: the group `schedules`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atom_client.cli.options import json_option, reason_option
from atom_client.deployment import environment, place_options

if TYPE_CHECKING:
    from atom_workflows.coordinator.services import Services

_path_argument = click.argument("path", metavar="gs://BUCKET/OBJECT")


@click.group()
def schedules() -> None:
    """List, pause and resume the schedules of uploaded files.

    Uploading a file that has `schedules` registers them, uploading it again replaces them, and deleting the object ends
    them.
    """


@schedules.command("list")
@click.option("--deleted", "with_deleted", is_flag=True, help="Also list files that were deleted.")
@json_option
@place_options
def list_(*, with_deleted: bool, as_json: bool) -> None:
    """List the schedules of all files, and when each is due next."""
    from atom_client.cli.schedules import print_schedules  # noqa: PLC0415 (imported only when needed)

    print_schedules(_services(), with_deleted=with_deleted, as_json=as_json)


@schedules.command("next")
@_path_argument
@click.option(
    "--count", type=click.IntRange(min=1, max=1000), default=10, show_default=True, help="The number of runs to print."
)
@json_option
@place_options
def next_(path: str, *, count: int, as_json: bool) -> None:
    """Print when a file's next runs start, with notes on clock changes."""
    from atom_client.cli.schedules import print_next  # noqa: PLC0415 (imported only when needed)

    print_next(_services(), path, count=count, as_json=as_json)


@schedules.command()
@_path_argument
@reason_option
@place_options
def pause(path: str, *, reason: str) -> None:
    """Pause all schedules of a file.

    They stay paused even if the file is uploaded again. Runs that have already started continue. `schedules list` shows
    who paused them.
    """
    from atom_client.cli.schedules import pause_file  # noqa: PLC0415 (imported only when needed)

    pause_file(_services(), path, reason)


@schedules.command()
@_path_argument
@reason_option
@place_options
def resume(path: str, *, reason: str) -> None:
    """Resume the schedules of a file.

    Runs that were due while the schedules were paused are not started later.
    """
    from atom_client.cli.schedules import resume_file  # noqa: PLC0415 (imported only when needed)

    resume_file(_services(), path, reason)


def _services() -> Services:
    from atom_client.cli.platform import connect_services  # noqa: PLC0415 (imported only when needed)

    return connect_services(environment())
