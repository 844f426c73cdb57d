"""Read runs and steps for display, without nodes that the compiler adds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from atom_client.views.loops import as_seen, is_shown
from atom_workflows.core.expansion import current_nodes
from atom_workflows.core.graph import is_internal
from atom_workflows.core.kinds import LANGUAGE_SCHEMA, LOOPS_SCHEMA, NodeKind, Phase
from atom_workflows.core.places import NUMBERS
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.documents import BURST_LEASE_PATH, RUNS, outputs_collection, run_path, step_path, steps_path
from atom_workflows.language.limits import MAX_ID
from atom_workflows.language.suggestions import Names, Suggestions
from atom_workflows.ports import Condition, Document, Query, Store
from atom_workflows.run_documents import run_record
from atom_workflows.step_documents import step_record

PAGE: Final = 500
_PAGE_OF_OUTLINES: Final = 2_000
"""Documents without their large fields are read in larger pages, since every page takes a query."""

_MOST_BY_ID: Final = 300
_STEP_ID: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{MAX_ID - 1}}}")
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def read_run(store: Store, run_id: str) -> RunRecord | None:
    """Return the stored run, if it exists."""
    document = store.get([run_path(run_id)])[0]
    return None if document is None else run_record(document)


_OF_STEPS: Final = [NodeKind.JOB.value, NodeKind.BARRIER.value, NodeKind.EXPAND.value, NodeKind.GATHER.value]


def read_nodes_of_steps(store: Store, run: RunRecord, *, with_jobs: bool = True) -> dict[str, StepRecord]:
    """Return the nodes of the user's steps by id.

    The items of a step with `forEach` are left out: there may be thousands, so they are not even read. Without their
    jobs, the nodes are read much faster, with only the fields that show how the run's steps are doing.
    """
    query = Query(collection=steps_path(run.id), where=of_steps(run), limit=PAGE)
    if not with_jobs:
        query = replace(query, limit=_PAGE_OF_OUTLINES, fields=_fields_shown(run))
    return {document.id: step_record(document) for document in _read_ahead(store, query)}


def _fields_shown(run: RunRecord) -> list[str]:
    """Return the fields that show how the run's steps are doing.

    Once the run has ended, only a few are needed.
    """
    unused = {"dependents", "expire_at"}
    if run.schema < LANGUAGE_SCHEMA:
        # Only a step under `finally` is shown with what it depends on.
        unused.add("depends_on")
    if run.state.is_terminal:
        unused |= {"policies", "due_at", "claimed_at", "answered", "deferrals", "missing_since", "hinted_at"}
    return [name for name in (*OUTLINE_FIELDS, "outputs") if name not in unused]


def of_steps(run: RunRecord) -> list[Condition]:
    """Return the conditions for a run's nodes except items."""
    # The first versions did not store kinds, and knew no items.
    return [("kind", "in", _OF_STEPS)] if may_have_items(run) else []


def may_have_items(run: RunRecord) -> bool:
    """Return True if the run may have steps with `forEach`."""
    return run.schema >= LOOPS_SCHEMA


def in_order(nodes: Iterable[StepRecord]) -> list[StepRecord]:
    """Return the user's steps among the nodes, in the order they started.

    Steps that were never started come last, and those under `finally` come after all others. Steps with `forEach` are
    included, but their items are not.
    """
    by_id = {node.id: node for node in nodes}
    steps = [as_seen(node, by_id) for node in by_id.values() if is_shown(node)]
    return sorted(steps, key=lambda step: (step.phase is Phase.FINALLY, step.started_at or _LAST, step.id))


_NOT_IN_OUTLINES: Final = frozenset(
    (
        *("run_id", "id", "request", "templates", "constants", "outputs", "sent", "barriers", "hands_over_to", "heirs"),
        "attempts",
        # The lists of a step with `forEach`, and the items.
        *("loop", "item", "item_type"),
    )
)

# A node that hands out places has fields of its own.
_FIELDS: Final = dict.fromkeys((*(one.name for one in dataclass_fields(StepRecord)), *NUMBERS))

OUTLINE_FIELDS: Final = tuple(name for name in _FIELDS if name not in _NOT_IN_OUTLINES)
"""The fields that show how a step is doing. The others, such as a task and its values, may take up 100 KB."""


def read_outlines(store: Store, run_id: str, *, but_succeeded: bool = False) -> dict[str, StepRecord]:
    """Return all nodes of a run by id, without their jobs.

    The nodes that the compiler adds are included, but not those of an earlier expansion (see core/expansion.py). With
    `but_succeeded`, nodes that SUCCEEDED are left out; they are the majority in most runs.
    """
    others = [state.value for state in StepState if state is not StepState.SUCCEEDED]
    where: list[Condition] = [("state", "in", others)] if but_succeeded else []
    return current_nodes(_read_outlines(store, run_id, where))


_BUT_ITEMS: Final = [kind.value for kind in NodeKind if kind is not NodeKind.ITEM]


def read_outlines_without_items(store: Store, run: RunRecord) -> dict[str, StepRecord]:
    """Return a run's nodes by id, without items and jobs."""
    return _read_outlines(store, run.id, [("kind", "in", _BUT_ITEMS)] if run.item_count else [])


def outlines_without_items(run: RunRecord) -> Query:
    """Return the query for a run's nodes, without items and jobs.

    The nodes include their attempts. The query stays the same when the run gets items.
    """
    where: list[Condition] = [("kind", "in", _BUT_ITEMS)] if may_have_items(run) else []
    return Query(collection=steps_path(run.id), where=where, fields=(*OUTLINE_FIELDS, "attempts"))


def read_nodes_with_attempts(store: Store, run: RunRecord) -> dict[str, StepRecord]:
    """Return a run's nodes by id, with kept attempts but without jobs.

    Items are left out.
    """
    where: list[Condition] = [("kind", "in", _BUT_ITEMS)] if run.item_count else []
    return _read_outlines(store, run.id, where, (*OUTLINE_FIELDS, "attempts"))


def _read_outlines(
    store: Store, run_id: str, where: Sequence[Condition], fields: Sequence[str] = OUTLINE_FIELDS
) -> dict[str, StepRecord]:
    query = Query(collection=steps_path(run_id), where=where, limit=_PAGE_OF_OUTLINES, fields=fields)
    return {document.id: step_record(document) for document in _read_ahead(store, query)}


class NodeReader:
    """Reads nodes of a run by id, each only once."""

    def __init__(self, store: Store, run: RunRecord) -> None:
        self._store = store
        self._run = run
        self._known: dict[str, StepRecord | None] = {}

    def read(self, ids: Iterable[str]) -> list[StepRecord]:
        """Return the nodes that exist.

        If many of them have not been read yet, the outlines of all of the run's nodes except items are read instead.
        """
        wanted = list(dict.fromkeys(ids))
        unread = [one for one in wanted if one not in self._known]
        if len(unread) > _MOST_BY_ID:
            self._known = {**read_outlines_without_items(self._store, self._run), **self._known}
        elif unread:
            found = self._store.get([step_path(self._run.id, one) for one in unread])
            self._known |= {
                one: None if document is None else step_record(document)
                for one, document in zip(unread, found, strict=True)
            }
        return [node for one in wanted if (node := self._known.get(one)) is not None]


def read_outputs_of_steps(store: Store, run_id: str, step_ids: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the outputs of the run's steps by id, as JSON values.

    If ids are given, only the outputs of these steps are read.
    """
    if step_ids is None:
        documents = list(read_pages(store, Query(collection=outputs_collection(run_id), limit=PAGE)))
    else:
        paths = [f"{outputs_collection(run_id)}/{one}" for one in step_ids]
        documents = [document for document in store.get(paths) if document is not None]
    return {one.id: json.loads(one.fields["values"]) for one in documents if one.fields.get("values")}


def last_look(store: Store, *, now: datetime) -> datetime | None:
    """Return the time at which the checker last queried jobs, if known.

    During a burst, it is `now`, since the checker then queries jobs every few seconds without recording it.
    """
    lease = store.get([BURST_LEASE_PATH])[0]
    until, seen = (lease.fields.get(name) if lease else None for name in ("until", "seen_until"))
    if isinstance(until, datetime) and until > now:
        return now
    return seen if isinstance(seen, datetime) else None


def newest_runs(store: Store, *, limit: int) -> list[RunRecord]:
    """Return the newest runs.

    Raises `NewerVersion` if a newer version wrote one of them.
    """
    if limit <= 0:
        return []
    query = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=limit)
    return [run_record(document) for document in store.query(query)]


def is_step_id(text: str) -> bool:
    """Return True if this is a valid step id, safe in paths."""
    return _STEP_ID.fullmatch(text) is not None and not (text.startswith("__") and text.endswith("__"))


def similar_step(store: Store, run: RunRecord, text: str) -> str | None:
    """Return the run's step whose id resembles the string."""
    query = Query(collection=steps_path(run.id), where=of_steps(run), limit=PAGE, fields=("state",))
    names = Names(document.id for document in read_pages(store, query) if not is_internal(document.id))
    return Suggestions().nearest(text, names)


def read_pages(store: Store, query: Query) -> Iterator[Document]:
    """Yield all documents of a query, page by page."""
    following: Query | None = query
    while following is not None:
        page = store.query(following)
        yield from page
        following = _following(following, page)


def _read_ahead(store: Store, query: Query) -> Iterator[Document]:
    """Yield all documents of a query, prefetching the next page.

    The caller should consume all of them; otherwise, the prefetched page is wasted.
    """
    with ThreadPoolExecutor(1) as ahead:
        page = store.query(query)
        while (following := _following(query, page)) is not None:
            query, reading = following, ahead.submit(store.query, following)
            yield from page
            page = reading.result()
        yield from page


def _following(query: Query, page: Sequence[Document]) -> Query | None:
    """Return the query for the next page, if there is one."""
    if query.limit is None or len(page) < query.limit:
        return None
    after = [*(page[-1].fields[name] for name, _ in query.order_by), page[-1].path]
    return replace(query, after=after)
