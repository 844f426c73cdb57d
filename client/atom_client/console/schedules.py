"""Show the schedules of files, and pause and resume them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from flask import Blueprint, Response, request

from atom_client.console.app import answer, this_console
from atom_client.console.given import Given
from atom_client.errors import Misuse
from atom_client.planning.requests import require_object
from atom_client.views.schedules import (
    next_objects,
    pause_preview,
    paused_line,
    resume_preview,
    resumed_line,
    schedule_objects,
    schedules_digest,
)
from atom_client.views.user_changes import change_line
from atom_workflows.coordinator.schedules import list_schedules, load_schedules, pause_schedules, resume_schedules
from atom_workflows.core.schedules import FileSchedules, file_id
from atom_workflows.errors import ScheduleNotFound

schedules = Blueprint("schedules", __name__)

_MOST_INSTANTS: Final = 100
_USUAL_INSTANTS: Final = 5


@schedules.get("/schedules")
def show_schedules() -> Response:
    """Answer with the schedules of all files.

    With `deleted=1`, those of deleted files are included.
    """
    services, now = this_console().services, this_console().services.clock.now()
    with_deleted = request.args.get("deleted") == "1"
    found = [one for one in list_schedules(services) if with_deleted or one.deleted_at is None]
    return answer(
        {
            "files": [
                {
                    **schedule_objects(one),
                    "next": [] if one.deleted_at else next_objects(one, now, _USUAL_INSTANTS),
                    "change_lines": [change_line(change) for change in reversed(one.changes)],
                }
                for one in found
            ]
        }
    )


@schedules.get("/schedules/next")
def show_next() -> Response:
    """Answer with the next times when a file's schedules start runs."""
    found = _read(request.args.get("path", ""))
    try:
        count = min(_MOST_INSTANTS, max(1, int(request.args.get("count", _USUAL_INSTANTS))))
    except ValueError as error:
        raise Misuse(f"`count` must be a number: {error}") from error
    return answer({**schedule_objects(found), "next": next_objects(found, this_console().services.clock.now(), count)})


@schedules.post("/schedules/pause")
def pause() -> Response:
    """Pause the schedules of a file, or say what that would do."""
    return _switch(pause_preview, pause_schedules, paused_line)


@schedules.post("/schedules/resume")
def resume() -> Response:
    """Resume the schedules of a file, or say what that would do."""
    return _switch(resume_preview, resume_schedules, resumed_line)


def _switch(
    preview: Callable[[FileSchedules, datetime], Iterable[str]],
    switch: Callable[..., FileSchedules],
    done_line: Callable[[FileSchedules], str],
) -> Response:
    console, given = this_console(), Given()
    found = _read(given.text("path"))
    lines, seen = list(preview(found, console.services.clock.now())), schedules_digest(found)
    if given.flag("dry_run"):
        return answer({"path": found.path, "lines": lines, "seen": seen, "dry_run": True})
    given.require_seen(seen, f"the schedules of {found.path}")
    done = switch(console.services, found.path, actor=console.actor, reason=given.text("reason"))
    return answer({**schedule_objects(done), "lines": [done_line(done)]})


def _read(path: str) -> FileSchedules:
    require_object(path)
    stored = load_schedules(this_console().services, file_id(path))
    if stored is None or stored.schedules.deleted_at is not None:
        raise ScheduleNotFound(path)
    return stored.schedules
