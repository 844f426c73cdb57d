"""Show the schedules of files, and pause and resume them."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Final

from flask import Blueprint, Response, request

from atom_client.console.app import answer, this_console
from atom_client.console.feeds import Feed, Feeds
from atom_client.console.filters import number_of
from atom_client.console.given import Given
from atom_client.console.live import POLL_S, ProblemNote, stream, this_feeds
from atom_client.planning.requests import require_object
from atom_client.views.as_json import moment_text
from atom_client.views.live_schedules import LiveScheduleNames, LiveSchedules
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

NOTHING_STARTS: Final = "No platform is up in this folder, so these schedules start no runs."
_MOST_INSTANTS: Final = 100
_USUAL_INSTANTS: Final = 5
_CLOCK_S: Final = 5.0
"""How often the next start times are recomputed as time passes."""


@schedules.get("/schedules")
def show_schedules() -> Response:
    """Respond with the schedules of all files.

    With `deleted=1`, those of deleted files are included.
    """
    console, now = this_console(), this_console().services.clock.now()
    with ExitStack() as leaving:
        found = list_schedules(console.services) if console.feeds is None else _Watched(console.feeds, leaving).files()
    objects = _objects(found, now, with_deleted=_with_deleted())
    stopped = "" if console.own_platforms is None else NOTHING_STARTS
    return answer({"files": objects, "stopped": stopped, "as_of": moment_text(now)})


def _objects(found: Iterable[FileSchedules], now: datetime, *, with_deleted: bool) -> list[dict[str, Any]]:
    return [
        {
            **schedule_objects(one),
            "next": [] if one.deleted_at else next_objects(one, now, _USUAL_INSTANTS),
            "change_lines": [change_line(change) for change in reversed(one.changes)],
        }
        for one in found
        if with_deleted or one.deleted_at is None
    ]


def _with_deleted() -> bool:
    return request.args.get("deleted") == "1"


class _Watched:
    """The schedules of all files, as watched by one viewer."""

    def __init__(self, feeds: Feeds, leaving: ExitStack) -> None:
        self._feeds = feeds
        self._leaving = leaving
        self.names = leaving.enter_context(feeds.watch("schedules", LiveScheduleNames))
        self._ids: tuple[str, ...] = ()
        self._feed: Feed[LiveSchedules] | None = None
        self._left = leaving.enter_context(ExitStack())

    def files(self) -> list[FileSchedules]:
        """Return the newest schedules, by path."""
        self.names.wait_until_known()
        with self.names.locked() as state:
            ids = tuple(sorted(state.ids))
        if ids != self._ids:
            self._left.close()
            self._ids, self._feed = ids, None
            if ids:
                self._feed = self._left.enter_context(
                    self._feeds.watch(("schedules", *ids), lambda: LiveSchedules(ids))
                )
        if self._feed is None:
            return []
        self._feed.wait_until_known()
        with self._feed.locked() as state:
            return state.files

    @property
    def version(self) -> int:
        """A number that grows with each change."""
        return self.names.version + (0 if self._feed is None else self._feed.version)

    @property
    def problem(self) -> str:
        """Why the schedules may be out of date, or ""."""
        feeds: list[Feed[Any]] = [self.names, *([] if self._feed is None else [self._feed])]
        return next(filter(None, (feed.wait(feed.version, 0.0).problem for feed in feeds)), "")


# Under /live, like the other streams.
@schedules.get("/live/schedules")
def follow_schedules() -> Response:
    """Stream files whose schedules change or whose next times pass.

    `paths` has the paths of all files, in order.
    """
    console, feeds, with_deleted = this_console(), this_feeds(), _with_deleted()

    def lines() -> Generator[dict[str, Any]]:
        with ExitStack() as leaving:
            watched, shown, note = _Watched(feeds, leaving), dict[str, Any](), ProblemNote()
            version, looked_at = -1, 0.0
            yield {}
            while not watched.names.is_stopping:
                files, line = watched.files(), dict[str, Any]()
                if watched.version != version or time.monotonic() - looked_at >= _CLOCK_S:
                    version, looked_at, now = watched.version, time.monotonic(), console.services.clock.now()
                    objects = {one["path"]: one for one in _objects(files, now, with_deleted=with_deleted)}
                    changed = [one for path, one in objects.items() if shown.get(path) != one]
                    if changed or shown.keys() != objects.keys():
                        line = {"files": changed, "paths": list(objects), "as_of": moment_text(now)}
                    shown = objects
                yield line | note.changes(watched.problem)
                time.sleep(POLL_S)

    return stream(lines())


@schedules.get("/schedules/next")
def show_next() -> Response:
    """Respond with the next times at which a file's schedules start runs."""
    found = _read(request.args.get("path", ""))
    count = number_of("count", _USUAL_INSTANTS, most=_MOST_INSTANTS)
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
