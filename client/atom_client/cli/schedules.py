"""The `schedules` commands: list, pause, resume, next."""

from __future__ import annotations

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.output import Output
from atom_client.cli.tables import Sheet
from atom_client.errors import Misuse
from atom_client.planning.requests import require_object
from atom_client.text import name_of
from atom_client.views.as_json import json_document
from atom_client.views.schedules import (
    next_objects,
    pause_lines,
    paused_line,
    resumed_line,
    schedule_objects,
    schedule_rows,
)
from atom_workflows.coordinator.schedules import list_schedules, load_schedules, pause_schedules, resume_schedules
from atom_workflows.coordinator.services import Services
from atom_workflows.core.schedules import file_id
from atom_workflows.errors import ScheduleNotFound

_HEADING = ("STATE", "CRON", "TIMEZONE", "NEXT", "FILE")


def print_schedules(services: Services, *, with_deleted: bool, as_json: bool) -> None:
    """Print the schedules of all files."""
    found = [one for one in list_schedules(services) if with_deleted or one.deleted_at is None]
    if as_json:
        click.echo(json_document({"files": [schedule_objects(one) for one in found]}))
    elif found:
        rows = tuple(row for one in found for row in schedule_rows(one))
        Output().show(Sheet(heading=_HEADING, rows=rows, state_column=0))
        for line in pause_lines(found):
            click.echo(line)
    else:
        click.echo("There are no schedules. Upload a file that has `schedules` to register them.")


def print_next(services: Services, path: str, *, count: int, as_json: bool) -> None:
    """Print the next times at which a file's schedules start runs."""
    require_object(path)
    stored = load_schedules(services, file_id(path))
    if stored is None or stored.schedules.deleted_at is not None:
        raise Misuse(str(ScheduleNotFound(path)))
    found, now = stored.schedules, services.clock.now()
    instants = next_objects(found, now, count)
    if as_json:
        shown = [{name: one[name] for name in ("at", "cron", "note")} for one in instants]
        click.echo(json_document({**schedule_objects(found), "next": shown}))
        return
    for one in instants:
        click.echo(f"{one['shown']}  {one['cron']}" + (f"  ({one['note']})" if one["note"] else ""))
    if not instants:
        click.echo(f"{name_of(path)} has no schedules: it is only started manually.")
    if found.paused_at is not None:
        click.echo("The schedules are paused, so none of these runs will start until they are resumed.")


def pause_file(services: Services, path: str, reason: str = "") -> None:
    """Pause the schedules of a file."""
    require_object(path)
    known = load_schedules(services, file_id(path))
    try:
        paused = pause_schedules(services, path, actor=current_actor(), reason=reason)
    except ScheduleNotFound as error:
        raise Misuse(str(error)) from error
    if known is not None and known.schedules.paused_at is not None:
        click.echo(f"The schedules of {name_of(path)} are already paused.")
        return
    click.echo(paused_line(paused))


def resume_file(services: Services, path: str, reason: str = "") -> None:
    """Resume the schedules of a file."""
    require_object(path)
    try:
        resumed = resume_schedules(services, path, actor=current_actor(), reason=reason)
    except ScheduleNotFound as error:
        raise Misuse(str(error)) from error
    click.echo(resumed_line(resumed))
