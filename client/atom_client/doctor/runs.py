"""Checks for runs that no checker handles or that wait needlessly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from atom_client.deployment import with_place
from atom_client.doctor.findings import Finding, ok, wrong
from atom_client.text import listing, local_time
from atom_workflows.coordinator.groups import count_at_work
from atom_workflows.coordinator.repair import LATE
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import RUNS, SCHEMAS, STEPS
from atom_workflows.ports import Condition, Query
from atom_workflows.run_documents import run_record

_MOST_DUE: Final = 1_000
_MOST_WAITING: Final = 100
_MOST_NAMED: Final = 3
_NEWER_SCHEMAS: Final = range(SCHEMAS[-1] + 1, SCHEMAS[-1] + 6)
"""The schemas that the next versions may write. The query lists them, so that the checker's index can serve it."""


def newer_findings(services: Services) -> Iterator[Finding]:
    """Report steps with newer schemas that no checker handles.

    This version's checker skips them, so they are overdue only if no newer checker is running.
    """
    late = services.clock.now() - LATE
    where: list[Condition] = [("schema", "in", list(_NEWER_SCHEMAS)), ("due_at", "<=", late)]
    query = Query(
        collection=STEPS,
        group=True,
        where=where,
        order_by=[("due_at", "ascending")],
        limit=_MOST_DUE,
        fields=("due_at", "state", "schema"),
    )
    found = [one for one in services.store.query(query) if one.fields.get("state") != StepState.RUNNING]
    if not found:
        return
    schemas = listing(sorted({str(one.fields["schema"]) for one in found}))
    runs = list(dict.fromkeys(one.path.split("/")[1] for one in found))
    since: datetime = found[0].fields["due_at"]
    detail = (
        f"documents with schema {schemas} have been due since {local_time(since)} (runs: "
        f"{listing(runs, most=_MOST_NAMED)}); a newer version started these runs, but this version reads schemas only "
        f"up to {SCHEMAS[-1]}"
    )
    yield wrong("newer runs", detail, "deploy the version that started them, or a newer one, and install it here")


def line_findings(services: Services) -> Iterator[Finding]:
    """Report runs that wait although their group has a free place."""
    query = Query(collection=RUNS, where=[("state", "==", RunState.QUEUED.value)], limit=_MOST_WAITING)
    found: list[str] = []
    waiting = [run_record(one) for one in services.store.query(query) if one.fields.get("schema") in SCHEMAS]
    groups = {run.group.id: run.group for run in waiting if run.group is not None}
    free = {name for name, group in groups.items() if count_at_work(services, group) < group.limit}
    for run in waiting:
        late = run.queued_at is not None and services.clock.now() - run.queued_at > LATE
        if late and run.group is not None and run.group.id in free:
            found.append(run.id)
    if not found:
        yield ok("line", f"QUEUED, behind others in progress: {len(waiting)}" if waiting else "no run is QUEUED")
        return
    doctors = " && ".join(with_place(f"runs doctor {run_id}") for run_id in found[:_MOST_NAMED])
    yield wrong("line", f"waiting although their group has a free place: {listing(found, most=_MOST_NAMED)}", doctors)
