"""The queries that live pages listen to.

They are for runs, a run and its steps, a loop's items, and schedules. A listener costs a read for each document sent to
it: all of them at first, and then those that change. So items are listened to only where they are shown, and a page
that reconnects within 30 minutes resumes from its bookmark.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from atom_client.views.queries import outlines_without_items
from atom_client.views.run_list import OPEN_STATES, RunFilter
from atom_workflows.core.item_ids import item_id
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.documents import RUNS, run_path, step_path
from atom_workflows.listening import Bookmark, Listener, Listening
from atom_workflows.ports import Query
from atom_workflows.schedule_documents import SCHEDULES, tick_path

USUAL_RUNS: Final = 200
"""How many runs to listen to by default."""

_OPEN: Final = frozenset(OPEN_STATES)


def listen_to_runs(
    listener: Listener, wanted: RunFilter, *, most: int = USUAL_RUNS, since: Bookmark | None = None
) -> Listening:
    """Listen to runs, including the wanted ones.

    Filter them with `RunFilter.matches`: unwanted runs are sent as well, since there is no index that combines time
    with state or workflow. If only open runs are wanted, of which there are few, those are sent, no matter how old;
    otherwise, the newest runs are sent.
    """
    if wanted.states and _OPEN.issuperset(wanted.states):
        return listener.listen(Query(collection=RUNS, where=wanted.conditions(), limit=most), since=since)
    newest = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=most)
    return listener.listen(newest, since=since)


def listen_to_run(listener: Listener, run_id: str, *, since: Bookmark | None = None) -> Listening:
    """Listen to a run's own document."""
    return listener.listen_to([run_path(run_id)], since=since)


def listen_to_steps(listener: Listener, run: RunRecord, *, since: Bookmark | None = None) -> Listening:
    """Listen to the outlines of a run's nodes, without its items.

    A large run has over 10,000 of these documents, which are sent once. Large fields are sent only with those that
    change.
    """
    return listener.listen(outlines_without_items(run), since=since)


def listen_to_items(
    listener: Listener, expander: StepRecord, indexes: Iterable[int], *, since: Bookmark | None = None
) -> Listening:
    """Listen to some items of a step with `forEach`.

    These may be the items on a page. `expander` is the node that created them.
    """
    paths = [step_path(expander.run_id, item_id(expander.each, index, expander.expansion)) for index in indexes]
    return listener.listen_to(paths, since=since)


def listen_to_schedule_names(listener: Listener, *, since: Bookmark | None = None) -> Listening:
    """Listen for changes in which files have schedules."""
    return listener.listen(Query(collection=SCHEDULES), since=since)


def listen_to_schedules(listener: Listener, file_ids: Iterable[str], *, since: Bookmark | None = None) -> Listening:
    """Listen to the schedules of files, given the ids of their documents."""
    return listener.listen_to([tick_path(one) for one in file_ids], since=since)
