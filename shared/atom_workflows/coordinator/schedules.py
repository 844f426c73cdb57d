"""Register uploaded files' schedules, start due runs, and report late ones.

The decisions are made in core/schedules.py. Here they are saved, under the guard of the one document that holds them,
and then published. An instance that dies in between, or is overtaken, leaves a document from which the next one
continues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.lateness import report_missing
from atom_workflows.coordinator.services import Services
from atom_workflows.core import schedules as core
from atom_workflows.core.schedules import FileSchedules
from atom_workflows.core.workflow import Workflow
from atom_workflows.errors import (
    AlreadyExists,
    Conflict,
    ScheduleNotFound,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
)
from atom_workflows.messages.start import FileDeleted, number_of_generation, scheduled_start_message
from atom_workflows.ports import Create, Document, Query, Update
from atom_workflows.schedule_documents import (
    SCHEDULES,
    name_fields,
    read_tick,
    schedules_path,
    tick_fields,
    tick_path,
)

_TRIES: Final = 10
_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchedules:
    """A file's schedules as they were read, and their document."""

    schedules: FileSchedules
    document: Document


def load_schedules(services: Services, file_id: str) -> StoredSchedules | None:
    """Return a file's schedules, or None if it never had any."""
    document = services.store.get([tick_path(file_id)])[0]
    return None if document is None else StoredSchedules(schedules=read_tick(document), document=document)


def list_schedules(services: Services) -> list[FileSchedules]:
    """Return the schedules of all files, deleted ones included, by path."""
    names = services.store.query(Query(collection=SCHEDULES, fields=("path",)))
    paths = [tick_path(name.id) for name in names]
    pages = [services.store.get(paths[start : start + _AT_ONCE]) for start in range(0, len(paths), _AT_ONCE)]
    found = [read_tick(document) for page in pages for document in page if document is not None]
    return sorted(found, key=lambda one: one.path)


# -- uploads and deletions ---------------------------------------------------------------------------------------------


def register_upload(services: Services, workflow: Workflow, path: str, generation: str) -> bool:
    """Replace the file's schedules with those of an uploaded generation.

    Returns True if the file has schedules, so that its upload starts no run. No document is written for a file that
    never had any. Calls may be repeated and may come in any order: a generation lower than the known one is ignored.
    """
    number, has_schedules = number_of_generation(generation), workflow.schedules is not None
    if not has_schedules and load_schedules(services, core.file_id(path)) is None:
        return False

    def decide(known: FileSchedules | None) -> FileSchedules | None:
        now = services.clock.now()
        return core.register(known, path=path, generation=number, workflow=workflow, now=now)

    saved = _change(services, path, decide)
    if saved is None:
        log.info("schedules.upload.late", f"generation {generation} of {path} is not newer than the recorded one")
    else:
        log.info("schedules.registered", f"{path} has {len(saved.entries)} schedules", generation=generation)
    if has_schedules:
        # Also if they were registered before, as whoever did that may have died since.
        _confirm(services, path, number)
    return has_schedules


def _confirm(services: Services, path: str, generation: int) -> None:
    """End schedules whose file was deleted or replaced before they were registered.

    The notification of the change may have arrived first and found no document. If it arrives later, it finds this one.
    """
    try:
        _, newest = services.source.read(path, None)
    except SourceNotFound:
        end_schedules(services, FileDeleted(path=path, generation=generation))
        return
    except (SourceForbidden, SourceTooLarge):
        # What cannot be read leaves the schedules as they are, like any invalid upload.
        return
    if number_of_generation(newest) <= generation:
        return
    # Only the start function needs the parser, and only in this rare case here.
    from atom_workflows.language.parser import parse_workflow  # noqa: PLC0415 - see above
    from atom_workflows.language.problems import InvalidWorkflow  # noqa: PLC0415 - see above

    try:
        text, _ = services.source.read(path, newest)
        register_upload(services, parse_workflow(text, filename=path), path, newest)
    except (InvalidWorkflow, SourceNotFound, SourceForbidden, SourceTooLarge) as error:
        # An invalid upload leaves the schedules as they are, and a deletion is reported by the bucket.
        log.info("schedules.newest.unusable", f"generation {newest} of {path}: {error}")


def end_schedules(services: Services, deleted: FileDeleted) -> None:
    """End the schedules of a deleted file, and leave a tombstone.

    Calls may be repeated and may come in any order: deletions of a generation older than the known one are ignored.
    """

    def decide(known: FileSchedules | None) -> FileSchedules | None:
        now = services.clock.now()
        return core.delete(known, path=deleted.path, generation=deleted.generation, now=now)

    if _change(services, deleted.path, decide) is None:
        log.info("schedules.deletion.late", f"generation {deleted.generation} of {deleted.path} is not the newest")
    else:
        log.info("schedules.ended", f"{deleted.path} was deleted", generation=deleted.generation)


def pause_schedules(services: Services, path: str, *, actor: str, reason: str = "") -> FileSchedules:
    """Pause all schedules of a file, and record who did it. May be repeated. Raises `ScheduleNotFound`."""
    return _change_existing(services, path, "pause", core.pause, actor=actor, reason=reason)


def resume_schedules(services: Services, path: str, *, actor: str, reason: str = "") -> FileSchedules:
    """Resume the schedules of a file, and record who did it. May be repeated. Raises `ScheduleNotFound`."""
    return _change_existing(services, path, "resume", core.resume, actor=actor, reason=reason)


def _change_existing(  # noqa: PLR0913 (what is done to which file, and by whom)
    services: Services,
    path: str,
    what: str,
    change: Callable[[FileSchedules, datetime], FileSchedules],
    *,
    actor: str,
    reason: str,
) -> FileSchedules:
    # Imported here because only a person's command needs it, and no function runs one.
    from atom_workflows.core.user_changes import UserChange, with_change  # noqa: PLC0415 - see above

    def decide(known: FileSchedules | None) -> FileSchedules:
        if known is None or known.deleted_at is not None:
            raise ScheduleNotFound(path)
        now = services.clock.now()
        changed = change(known, now)
        if changed is known:
            return known
        log.info(f"schedules.{what}", f"{what} the schedules of {path}", actor=actor, why=reason)
        latest = UserChange(at=now, actor=actor, what=what, why=reason)
        return replace(changed, changes=with_change(known.changes, latest))

    changed = _change(services, path, decide)
    if changed is None:  # pragma: no cover  (decide returns no None)
        raise ScheduleNotFound(path)
    return changed


def _change(
    services: Services, path: str, decide: Callable[[FileSchedules | None], FileSchedules | None]
) -> FileSchedules | None:
    """Save the result of `decide` for a file's schedules.

    Returns None if `decide` does. Raises `Conflict` if the document keeps changing, so that the event is redelivered.
    """
    for _ in range(_TRIES):
        stored = load_schedules(services, core.file_id(path))
        known = None if stored is None else stored.schedules
        changed = decide(known)
        if changed is None or changed == known:
            return changed
        if _save(services, stored, changed):
            return changed
    raise Conflict(f"the schedules of {path} keep changing")


def _save(services: Services, stored: StoredSchedules | None, changed: FileSchedules) -> StoredSchedules | None:
    """Save the schedules and return them.

    Returns None if someone else has changed them since they were read.
    """
    tick, fields = tick_path(changed.id), tick_fields(changed)
    try:
        if stored is None:
            name = Create(path=schedules_path(changed.id), fields=name_fields(changed))
            *_, result = services.store.commit([name, Create(path=tick, fields=fields)])
        else:
            (result,) = services.store.commit([Update(path=tick, fields=fields, guard=stored.document.version)])
    except (AlreadyExists, Conflict):
        log.debug("schedules.changed", f"the schedules of {changed.path} changed in the meantime")
        return None
    return StoredSchedules(schedules=changed, document=Document(path=tick, fields=fields, version=result.version))


# -- what is due -------------------------------------------------------------------------------------------------------


def fire_due(services: Services, file_id: str) -> int:
    """Start the due runs of a file's schedules, and report late ones.

    Returns the number of runs that were requested. Runs to start are first pinned in the document, then published,
    then cleared. If this instance dies, or if two instances do this at once, pinned runs are published again.
    """
    stored = load_schedules(services, file_id)
    if stored is None:
        return 0
    pinned = core.fire(stored.schedules, services.clock.now())
    if pinned != stored.schedules and (stored := _save(services, stored, pinned)) is None:
        return 0
    if pinned.firing:
        services.bus.publish([scheduled_start_message(pinned.path, one) for one in pinned.firing])
        for one in pinned.firing:
            log.info("schedule.fired", f"{pinned.path} is started for {one.at.isoformat()}", schedule=one.schedule_id)
        # If the document has changed, they stay pinned and are published again: that starts no second run.
        stored = _save(services, stored, core.clear_fired(pinned))
    if stored is not None:
        _report_late(services, stored)
    return len(pinned.firing)


def _report_late(services: Services, stored: StoredSchedules) -> None:
    """Report overdue runs that do not exist or did not start."""
    known, now = stored.schedules, services.clock.now()
    over = [one for one in known.watches if one.due_at <= now]
    for watch in over:
        report_missing(services, known.path, watch)
    changed = core.without_watches(known, over)
    # Without a change, the due time differs only if the rules of the time zone do, since the document was written.
    if over or changed.due_at != stored.document.fields.get("due_at"):
        _save(services, stored, changed)
