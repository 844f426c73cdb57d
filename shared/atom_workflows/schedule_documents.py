"""Convert a file's schedules to stored fields and back.

`schedules/{id}` names the file, so that schedules can be listed. `schedules/{id}/steps/~tick` holds everything else. It
belongs to the collection group that the checker reads with its single query, so looking for due schedules costs nothing
while none are due.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

from atom_workflows.core.kinds import LOOPS_SCHEMA, NodeKind
from atom_workflows.core.schedules import Entry, FileSchedules, Firing, Watch
from atom_workflows.core.states import StepState
from atom_workflows.core.workflow import CatchUp
from atom_workflows.documents import SCHEMA, STEPS, changes_fields, read_changes
from atom_workflows.errors import NewerVersion
from atom_workflows.language_documents import deadline_fields, read_deadline
from atom_workflows.ports import Document

SCHEDULES: Final = "schedules"
TICK_ID: Final = "~tick"


def schedules_path(file_id: str) -> str:
    """Return the path of the document that names a file with schedules."""
    return f"{SCHEDULES}/{file_id}"


def tick_path(file_id: str) -> str:
    """Return the path of the document that holds a file's schedules."""
    return f"{SCHEDULES}/{file_id}/{STEPS}/{TICK_ID}"


def name_fields(schedules: FileSchedules) -> dict[str, Any]:
    """Return the stored fields of the document that names the file."""
    return {"schema": SCHEMA, "path": schedules.path}


def tick_fields(schedules: FileSchedules) -> dict[str, Any]:
    """Return the stored fields of a file's schedules."""
    parts = {
        "entries": [
            {
                "id": one.id,
                "cron": one.cron,
                "params": one.params,
                "templates": one.templates,
                "catch_up": one.catch_up.value,
                "within_s": one.within.total_seconds(),
                "after": one.after.isoformat(),
            }
            for one in schedules.entries
        ],
        "deadline": deadline_fields(schedules.deadline),
        "firing": [
            {
                "schedule": one.schedule_id,
                "cron": one.cron,
                "params": one.params,
                "templates": one.templates,
                "at": one.at.isoformat(),
                "window_start": None if one.window_start is None else one.window_start.isoformat(),
            }
            for one in schedules.firing
        ],
        "watches": [
            [one.run_id, *(at.isoformat() for at in (one.at, one.late_at, one.look_at) if at is not None)]
            for one in schedules.watches
        ],
    }
    return {
        # Versions without schedules do not ask for documents of this schema.
        "schema": LOOPS_SCHEMA,
        "kind": NodeKind.SCHEDULE.value,
        "state": StepState.PENDING.value,
        # Never 0, so no query for released steps finds it.
        "remaining": 1,
        "due_at": schedules.due_at,
        "path": schedules.path,
        "generation": schedules.generation,
        "zone": schedules.zone,
        "registered_at": schedules.registered_at,
        "paused_at": schedules.paused_at,
        "deleted_at": schedules.deleted_at,
        # Stored as text, because Firestore cannot store every value that a parameter may have.
        "schedules": json.dumps(parts, separators=(",", ":"), ensure_ascii=False),
        # Not among the parts, which an earlier version writes again without what it does not know.
        **changes_fields(schedules.changes),
    }


def read_tick(document: Document) -> FileSchedules:
    """Read a file's schedules from their document.

    Raises `NewerVersion` if a newer version wrote them.
    """
    stored = document.fields
    if stored.get("schema") != LOOPS_SCHEMA:
        raise NewerVersion(
            document.path, f"its schema is {stored.get('schema')}, but this version reads {LOOPS_SCHEMA}"
        )
    parts = json.loads(stored["schedules"])
    return FileSchedules(
        path=stored["path"],
        generation=stored["generation"],
        zone=stored["zone"],
        registered_at=stored.get("registered_at"),
        paused_at=stored.get("paused_at"),
        deleted_at=stored.get("deleted_at"),
        deadline=read_deadline(parts["deadline"]),
        changes=read_changes(stored),
        entries=tuple(
            Entry(
                id=one["id"],
                cron=one["cron"],
                params=one["params"],
                templates=one["templates"],
                catch_up=CatchUp(one["catch_up"]),
                within=timedelta(seconds=one["within_s"]),
                after=datetime.fromisoformat(one["after"]),
            )
            for one in parts["entries"]
        ),
        firing=tuple(
            Firing(
                schedule_id=one["schedule"],
                cron=one["cron"],
                params=one["params"],
                templates=one["templates"],
                at=datetime.fromisoformat(one["at"]),
                window_start=None if one["window_start"] is None else datetime.fromisoformat(one["window_start"]),
            )
            for one in parts["firing"]
        ),
        watches=tuple(
            Watch(run_id=run_id, **dict(zip(_WATCH_TIMES, map(datetime.fromisoformat, times), strict=False)))
            for run_id, *times in parts["watches"]
        ),
    )


_WATCH_TIMES: Final = ("at", "late_at", "look_at")
