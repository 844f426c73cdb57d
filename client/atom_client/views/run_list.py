"""Lists of runs: filtered, sorted, and a page at a time.

A list reads only a bounded number of documents. There is no index that combines time with state or workflow, since it
would have to be updated with every run. Runs are therefore found by the automatic indexes on state and workflow if few
enough match, and otherwise among the newest runs of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Final, NamedTuple

from atom_client.errors import Misuse
from atom_client.text import local_time, name_of, pages_text
from atom_client.views.as_json import rounded_seconds, run_object
from atom_client.views.items import count_ended_items
from atom_client.views.queries import PAGE, read_pages
from atom_client.views.run_references import LONGEST_NAME, is_beginning_of_id, is_file, started_from
from atom_client.views.run_times import reopening_of, time_in_all, time_taken
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import TERMINAL_STEP_STATES, RunState
from atom_workflows.documents import RUNS, require_known_schema, run_path, steps_path
from atom_workflows.errors import NewerVersion
from atom_workflows.ports import Condition, Document, Query, Store
from atom_workflows.run_documents import run_record

MOST_RUNS_LOOKED_AT: Final = 10_000
"""The maximum number of runs that a search reads, without their parameters and errors."""

MOST_TEXTS_SEARCHED: Final = 1_000
"""The maximum number of runs in which to search for a text.

Each letter that someone types starts another search.
"""

OPEN_STATES: Final = (RunState.QUEUED, RunState.SEEDING, RunState.RUNNING)
FAILED_STATES: Final = (RunState.FAILED, RunState.INVALID)

_FIELDS: Final = (
    *("schema", "state", "workflow", "source", "labels"),
    *("created_at", "started_at", "reopened_at", "admitted_at", "finished_at"),
)
_OF_STEPS: Final = [NodeKind.JOB.value, NodeKind.BARRIER.value, NodeKind.GATHER.value]
_MOST_PROGRESS: Final = 20
"""The maximum number of open runs per list for which steps and items are counted; each count takes a request."""

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class RunOrder(StrEnum):
    """The ways to sort runs: last created, last started or longest first."""

    CREATED = "created"
    STARTED = "started"
    DURATION = "duration"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """The runs to list: those that meet all of the given conditions.

    `workflow` is the name or the file of a workflow, and `id_begins` is a prefix of run ids. `text` occurs in the id,
    the name of the workflow, its file or a label, ignoring case.
    """

    states: Sequence[RunState] = ()
    workflow: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    id_begins: str = ""
    text: str = ""
    order: RunOrder = RunOrder.CREATED

    @property
    def has_conditions(self) -> bool:
        """True if any condition is given."""
        return bool(self.states or self.workflow or self.labels or self.since or self.id_begins or self.text)

    @property
    def most_searched(self) -> int:
        """The maximum number of runs to read."""
        return MOST_TEXTS_SEARCHED if self.text else MOST_RUNS_LOOKED_AT

    def matches(self, document: Document) -> bool:
        """Return True if the run in this document should be listed."""
        run = document.fields
        labels = run.get("labels") or {}
        return (
            document.id.startswith(self.id_begins)
            and self._has_text(document.id, run)
            and (not self.states or run["state"] in self.states)
            and (not self.workflow or self._is_of_workflow(run))
            and all(labels.get(name) == value for name, value in self.labels.items())
            and (self.since is None or run["created_at"] >= self.since)
        )

    def _has_text(self, run_id: str, run: Mapping[str, Any]) -> bool:
        labels = [f"{name}={value}" for name, value in (run.get("labels") or {}).items()]
        texts = [run_id, run.get("workflow") or "", run.get("source", {}).get("path") or "", *labels]
        return any(self.text.casefold() in str(text).casefold() for text in texts)

    def _is_of_workflow(self, run: Mapping[str, Any]) -> bool:
        if is_file(self.workflow) and started_from(str(run.get("source", {}).get("path", "")), self.workflow):
            return True
        return bool(run.get("workflow") == self.workflow)

    def conditions(self) -> list[Condition]:
        """Return the conditions that the store can check without another index."""
        states: list[Condition] = [("state", "in", [state.value for state in self.states])] if self.states else []
        if not self.workflow or is_file(self.workflow):
            return states
        return [*states, ("workflow", "==", self.workflow)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPage:
    """A page of a list of runs.

    `total` is the number of runs on all pages. If `is_complete` is False, only the newest runs were searched.
    `unreadable` has the ids of runs that a newer version wrote, which are left out.
    """

    runs: Sequence[RunRecord]
    total: int
    is_complete: bool = True
    unreadable: Sequence[str] = ()


def read_runs_page(store: Store, wanted: RunFilter, *, number: int, size: int, now: datetime) -> RunsPage:
    """Return a page of runs; page numbers start at 1.

    Raises `NoSuchPage`, or `Misuse` if the workflow's name is too long to search for.
    """
    if len(wanted.workflow) > LONGEST_NAME and not is_file(wanted.workflow):
        raise Misuse(f"--workflow has {len(wanted.workflow):,} characters; at most {LONGEST_NAME} are allowed")
    unreadable: list[str] = []
    begin = (number - 1) * size
    if wanted.has_conditions or wanted.order is not RunOrder.CREATED:
        candidates, is_complete = _candidates(store, wanted)
        found = [one for one in known_runs(candidates, unreadable) if wanted.matches(one)]
        found.sort(key=lambda one: _rank(one.fields, wanted.order, now), reverse=True)
        total = len(found)
        _require_page(number, size, total)
        paths = [run_path(one.id) for one in found[begin : begin + size]]
        shown = [document for document in store.get(paths) if document is not None]
    else:
        total, is_complete = count_runs(store), True
        _require_page(number, size, total)
        shown = _newest(store, total, begin, size)
    runs = [run_record(one) for one in known_runs(shown, unreadable)]
    return RunsPage(runs=runs, total=total, is_complete=is_complete, unreadable=list(dict.fromkeys(unreadable)))


def page_of_newest(
    newest: Sequence[Document], wanted: RunFilter, *, total: int, number: int, size: int
) -> RunsPage | None:
    """Return a page of all runs, made from the known newest ones.

    Returns None if these are not enough for the page.
    """
    begin, end = (number - 1) * size, min(number * size, total)
    if wanted.has_conditions or wanted.order is not RunOrder.CREATED or not begin <= end <= len(newest):
        return None
    unreadable: list[str] = []
    runs = [run_record(one) for one in known_runs(newest[begin:end], unreadable)]
    return RunsPage(runs=runs, total=total, unreadable=unreadable)


class NoSuchPage(Misuse):
    """The list has fewer pages than the requested number."""

    def __init__(self, number: int, *, pages: int, size: int) -> None:
        self.pages = pages
        super().__init__(f"--page {number} does not exist: there {pages_text(pages, size, 'run')}")


class TooFar(Misuse):
    """A page too far from both ends of the list to read."""

    def __init__(
        self, number: int, *, name: str = "--page", advice: str = "--since TIME, --state or --workflow lists fewer runs"
    ) -> None:
        super().__init__(
            f"{name} {number:,} is more than {MOST_RUNS_LOOKED_AT:,} runs from either end of the list, which is too "
            f"far to read; {advice}"
        )


def count_runs(store: Store) -> int:
    """Return how many runs there are."""
    return store.count(Query(collection=RUNS))


def _require_page(number: int, size: int, total: int) -> None:
    pages = max(1, -(-total // size))
    if number > pages:
        raise NoSuchPage(number, pages=pages, size=size)


def _newest(store: Store, total: int, begin: int, size: int) -> list[Document]:
    """Return up to `size` of the newest runs, skipping the first `begin`.

    Reads the list from whichever end is nearer. Raises `Misuse` if there are too many runs to skip.
    """
    end = min(begin + size, total)
    is_from_oldest = total - end < begin
    skips = total - end if is_from_oldest else begin
    if skips > MOST_RUNS_LOOKED_AT:
        page = begin // size + 1
        raise TooFar(page)
    order: Sequence[tuple[str, Any]] = [("created_at", "ascending" if is_from_oldest else "descending")]
    skipped = Query(collection=RUNS, order_by=order, limit=min(skips, PAGE) or 1, fields=("created_at",))
    last = next(islice(read_pages(store, skipped), skips - 1, None), None) if skips else None
    after = None if last is None else [last.fields["created_at"], last.path]
    shown = store.query(Query(collection=RUNS, order_by=order, after=after, limit=(end - begin) or 1))
    return shown[::-1] if is_from_oldest else shown


def _candidates(store: Store, wanted: RunFilter) -> tuple[list[Document], bool]:
    """Return the runs to search, and whether no other run can match."""
    where, most = wanted.conditions(), wanted.most_searched
    if wanted.id_begins:
        begun = list(islice(_that_begin_with(store, wanted.id_begins), most + 1))
        return begun[:most], len(begun) <= most
    if wanted.text:
        # An id may be much older than the newest runs; of those that begin alike, only a page is read.
        begun = list(islice(_that_begin_with(store, wanted.text), PAGE))
        newest, is_complete = _search(store, wanted, where, most)
        return list({one.path: one for one in (*newest, *begun)}.values()), is_complete
    return _search(store, wanted, where, most)


def _search(store: Store, wanted: RunFilter, where: Sequence[Condition], most: int) -> tuple[list[Document], bool]:
    """Return the runs that meet the conditions, or else the newest ones.

    Also returns whether no other run can match.
    """
    if where and wanted.since is None:
        matching = Query(collection=RUNS, where=where, limit=most + 1)
        if store.count(matching) <= most:
            return list(read_pages(store, Query(collection=RUNS, where=where, limit=PAGE, fields=_FIELDS))), True
    recent: list[Condition] = [("created_at", ">=", wanted.since)] if wanted.since else []
    newest = Query(collection=RUNS, where=recent, order_by=[("created_at", "descending")], limit=PAGE, fields=_FIELDS)
    found = list(islice(read_pages(store, newest), most + 1))
    return found[:most], len(found) <= most


def _that_begin_with(store: Store, text: str) -> Iterator[Document]:
    """Yield the runs whose ids begin with the text."""
    if not is_beginning_of_id(text):
        return
    exact = store.get([run_path(text)], fields=_FIELDS)[0]
    if exact is not None:
        yield exact
    # Runs are sorted by path, so the ids that begin with the text directly follow it.
    for document in read_pages(store, Query(collection=RUNS, after=[run_path(text)], limit=PAGE, fields=_FIELDS)):
        if not document.id.startswith(text):
            return
        yield document


def known_runs(documents: Sequence[Document], unreadable: list[str]) -> Iterator[Document]:
    """Yield the runs that this version can read.

    Adds the ids of the others to `unreadable`.
    """
    for document in documents:
        try:
            require_known_schema(document)
        except NewerVersion:
            unreadable.append(document.id)
        else:
            yield document


def _rank(run: Mapping[str, Any], order: RunOrder, now: datetime) -> tuple[Any, datetime]:
    """Return a run's sort key; larger keys come first.

    Runs that are otherwise equal are sorted newest first.
    """
    created, started = run["created_at"], run.get("started_at")
    if order is RunOrder.CREATED:
        return created, created
    if order is RunOrder.STARTED:
        return started or _LONG_AGO, created
    reopened = run.get("reopened_at")
    # A retried run that waits has not begun again.
    if not (started or reopened) or run["state"] == RunState.QUEUED:
        return timedelta(-1), created
    begun = max(filter(None, (reopened, run.get("admitted_at"), started)))
    return (run.get("finished_at") or now) - begun, created


def count_ended_steps(store: Store, run: RunRecord) -> int:
    """Return how many of the user's steps have ended."""
    ended: list[Condition] = [
        ("kind", "in", _OF_STEPS),
        ("state", "in", [state.value for state in TERMINAL_STEP_STATES]),
    ]
    return store.count(Query(collection=steps_path(run.id), where=ended))


def timed_run(run: RunRecord, now: datetime) -> dict[str, Any]:
    """Return a run as an object for JSON output.

    `taken_s` is the time in seconds that it took, or has taken so far. If the run was reopened, that is the time since
    then: `taken_since` says by what, and `in_all_s` counts from its first start.
    """
    taken, in_all = time_taken(run, now), time_in_all(run, now)
    since = None if in_all is None else reopening_of(run)
    return {
        **run_object(run),
        "taken_s": rounded_seconds(taken),
        "taken_since": since,
        "in_all_s": rounded_seconds(in_all),
    }


def is_under_way(run: RunRecord) -> bool:
    """Return True if a run has begun and has not ended, even if it waits in line again."""
    return run.started_at is not None and not run.state.is_terminal


class Progress(NamedTuple):
    """How many steps and items of an open run have ended.

    None if they were not counted.
    """

    steps: int | None = None
    items: int | None = None


def count_progress(store: Store, runs: Sequence[RunRecord]) -> dict[str, Progress]:
    """Return the progress of runs under way by run id.

    If there are many, progress is counted only for the first ones.
    """
    begun = [run for run in runs if is_under_way(run)]
    return {
        run.id: Progress(
            steps=count_ended_steps(store, run),
            # The store would also count the items of earlier attempts of a retried run.
            items=count_ended_items(store, run) if run.item_count and not run.retries else None,
        )
        for run in begun[:_MOST_PROGRESS]
    }


def describe_none(wanted: RunFilter) -> str:
    """Say that no runs were found, and what was searched for."""
    if not wanted.has_conditions:
        return "There are no runs yet."
    conditions = []
    if wanted.id_begins:
        conditions.append(f"has an id that begins with {name_of(wanted.id_begins)}")
    if wanted.text:
        conditions.append(f"has {name_of(wanted.text)} in its id, workflow, file or labels")
    if wanted.states:
        conditions.append(f"is {' or '.join(wanted.states)}")
    if wanted.workflow:
        what = "was started from" if is_file(wanted.workflow) else "is of the workflow"
        conditions.append(f"{what} {name_of(wanted.workflow)}")
    conditions += [f"has the label {name_of(f'{name}={value}')}" for name, value in wanted.labels.items()]
    if wanted.since is not None:
        conditions.append(f"was created since {local_time(wanted.since)}")
    return f"No run {' and '.join(conditions)}."
