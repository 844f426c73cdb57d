"""Read runs and their steps for display, without the nodes that the compiler adds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from atom_client.deployment import with_place
from atom_client.errors import Failure, Misuse
from atom_client.text import listing
from atom_workflows.core.graph import is_internal
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.documents import RUNS, run_path, run_record, step_record, steps_path
from atom_workflows.errors import RunNotFound
from atom_workflows.ports import Document, Query, Store

PAGE: Final = 500
MOST_RUNS_LOOKED_AT: Final = 2_000
"""The maximum number of runs that a search by state reads.

An index on state and time would cost two more writes for every run.
"""

_MOST_CANDIDATES: Final = 10
_RUN_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def read_run(store: Store, run_id: str) -> RunRecord | None:
    """Return the stored run, if it exists."""
    document = store.get([run_path(run_id)])[0]
    return None if document is None else run_record(document)


def read_steps(store: Store, run_id: str) -> list[StepRecord]:
    """Return the user's steps in the order in which they were started.

    Steps that were never started come last.
    """
    documents = _pages(store, Query(collection=steps_path(run_id), limit=PAGE))
    steps = [step_record(document) for document in documents if not is_internal(document.id)]
    return sorted(steps, key=lambda step: (step.started_at or _LAST, step.id))


def newest_runs(store: Store, *, limit: int, state: RunState | None) -> list[RunRecord]:
    """Return the newest runs, or the newest runs in one state."""
    if limit <= 0:
        return []
    size = limit if state is None else PAGE
    query = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=size)
    found: list[RunRecord] = []
    for looked_at, document in enumerate(_pages(store, query), start=1):
        run = run_record(document)
        if state in {None, run.state}:
            found.append(run)
        if len(found) == limit or looked_at == MOST_RUNS_LOOKED_AT:
            break
    return found


def full_run_id(store: Store, text: str) -> str:
    """Complete a run's id from its beginning.

    Raises `Misuse` if the text is empty, `RunNotFound` if no id begins with it, and `Failure` if several ids do.
    """
    if not text.strip():
        raise Misuse(
            f"the run's id is empty; `{with_place('runs list')}` lists the ids, and their first characters are enough"
        )
    if not _RUN_ID.fullmatch(text):
        raise RunNotFound(text)
    if read_run(store, text) is not None:
        return text
    # Runs are sorted by path, so the ids that begin with the text directly follow it.
    behind = Query(collection=RUNS, after=[run_path(text)], limit=_MOST_CANDIDATES + 1)
    candidates = [document.id for document in store.query(behind) if document.id.startswith(text)]
    if not candidates:
        raise RunNotFound(text)
    if len(candidates) > 1:
        more = " and others" if len(candidates) > _MOST_CANDIDATES else ""
        names = listing(candidates[:_MOST_CANDIDATES], most=_MOST_CANDIDATES)
        raise Failure(f"{text} could be any of {names}{more}; give more of the id")
    return candidates[0]


def _pages(store: Store, query: Query) -> Iterator[Document]:
    """Yield all documents of a query, page by page."""
    while True:
        page = store.query(query)
        yield from page
        if query.limit is None or len(page) < query.limit:
            return
        last = page[-1]
        after = [*(last.fields[name] for name, _ in query.order_by), last.path]
        query = Query(collection=query.collection, order_by=query.order_by, after=after, limit=query.limit)
