"""Serve a workflow's history, and stream its changes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, request

from atom_client.console.app import Console, answer, this_console
from atom_client.console.feeds import Feed, Feeds
from atom_client.console.filters import number_of
from atom_client.console.live import (
    LEAST_PAUSE_S,
    POLL_S,
    ProblemNote,
    WatchedRun,
    run_key,
    stream,
    this_feeds,
    version_after,
    watch_newest,
)
from atom_client.views.as_json import moment_text
from atom_client.views.live_run import steps_among
from atom_client.views.live_runs import MOST_LISTENED, LiveRuns
from atom_client.views.run_list import is_under_way, known_runs, timed_run
from atom_client.views.run_references import is_beginning_of_id
from atom_client.views.workflow_history import (
    MOST_RUNS_SHOWN,
    MOST_STEPS_READ,
    KnownRuns,
    cells_of,
    read_workflow_history,
)
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.documents import run_path
from atom_workflows.errors import NewerVersion
from atom_workflows.ports import Document, Store
from atom_workflows.run_documents import run_record

if TYPE_CHECKING:
    from datetime import datetime

histories = Blueprint("histories", __name__)

MOST_FOLLOWED: Final = 10
"""The maximum number of open runs whose steps a history follows.

For other runs, only the state of the run is updated live.
"""

_USUAL_RUNS: Final = 20


# A workflow's name may contain a slash, so it is not part of the path.
@histories.get("/history")
def show_history() -> Response:
    """Respond with a workflow's newest runs and their steps' states."""
    console, name = this_console(), request.args.get("workflow", "")
    store, now = console.services.store, console.services.clock.now()
    most = number_of("runs", _USUAL_RUNS, most=MOST_RUNS_SHOWN)
    if console.feeds is None:
        return answer({**read_workflow_history(store, name, most_runs=most).as_fields(now), "as_of": moment_text(now)})
    with watch_newest(console.feeds) as feed, ExitStack() as leaving:
        at = f"{feed.name}.{feed.wait_until_known()}"
        with feed.locked() as state:
            newest = state.newest()
        under_way = _OpenRuns(console.feeds, leaving)
        under_way.begin(_runs_of(name, newest)[:most])
        known = KnownRuns(newest=newest, are_all=len(newest) < MOST_LISTENED, nodes=under_way.nodes)
        history = read_workflow_history(store, name, most_runs=most, known=known)
        documents = history.documents + under_way.documents
        return answer({**history.as_fields(now), "documents": documents, "at": at, "as_of": moment_text(now)})


def _runs_of(workflow: str, documents: Sequence[Document]) -> list[RunRecord]:
    known = known_runs(documents, [])
    return [run_record(one) for one in known if one.fields.get("workflow") == workflow]


class _OpenRuns:
    """Reads the nodes of the first few runs under way from their feeds.

    The feeds then already have the nodes when viewers follow the runs.
    """

    def __init__(self, feeds: Feeds, leaving: ExitStack) -> None:
        self._feeds = feeds
        self._leaving = leaving
        self._known: dict[str, Feed[WatchedRun]] = {}
        self.documents = 0

    def begin(self, runs: Sequence[RunRecord]) -> None:
        """Listen to runs, newest first, so that no one waits for one after the other."""
        left = MOST_STEPS_READ
        for run in runs:
            left -= run.step_count
            if left < 0:
                return
            self._find(run)

    def nodes(self, run: RunRecord) -> Sequence[StepRecord] | None:
        """Return a run's nodes, or None if it will not be followed."""
        feed = self._find(run)
        if feed is None:
            return None
        feed.wait_until_known()
        with feed.locked() as state:
            found = list(state.nodes.values())
        self.documents += len(found)
        return found

    def _find(self, run: RunRecord) -> Feed[WatchedRun] | None:
        if run.id not in self._known and is_under_way(run) and len(self._known) < MOST_FOLLOWED:
            watching = self._feeds.watch(run_key(run.id), lambda: WatchedRun(run))
            self._known[run.id] = self._leaving.enter_context(watching)
        return self._known.get(run.id)


@histories.get("/live/history")
def follow_history() -> Response:
    """Stream a workflow's changed runs and their changed cells.

    `run` names the runs under way whose steps are shown; runs that begin later are followed, too.
    """
    console, feeds, after = this_console(), this_feeds(), request.args.get("after", "")
    name, shown = request.args.get("workflow", ""), request.args.getlist("run")[:MOST_RUNS_SHOWN]

    def lines() -> Generator[dict[str, Any]]:
        with watch_newest(feeds) as feed, ExitStack() as leaving:
            followed = _Followed(feeds, leaving)
            yield from _history_lines(console, feed, version_after(feed, after), followed, (name, shown))

    return stream(lines())


class _Followed:
    """The runs whose steps one viewer follows."""

    def __init__(self, feeds: Feeds, leaving: ExitStack) -> None:
        self._feeds = feeds
        self._leaving = leaving
        self._runs: dict[str, tuple[Feed[WatchedRun], ExitStack]] = {}
        self._since: dict[str, int] = {}

    def add(self, run: RunRecord) -> None:
        """Follow a run, unless already followed, over the limit, or not begun.

        Until a run has begun, it has no steps.
        """
        if run.id in self._runs or len(self._runs) >= MOST_FOLLOWED or run.started_at is None:
            return
        stack = self._leaving.enter_context(ExitStack())
        feed = stack.enter_context(self._feeds.watch(run_key(run.id), lambda: WatchedRun(run)))
        self._runs[run.id], self._since[run.id] = (feed, stack), 0

    def news(self, now: datetime) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the runs that have changed since the last call, and the ids of those that were deleted.

        Each run comes with the cells of its changed steps.
        """
        found: list[dict[str, Any]] = []
        gone: list[str] = []
        for run_id, (feed, _) in list(self._runs.items()):
            try:
                news = feed.wait(self._since[run_id], 0.0)
            except NewerVersion:
                self._leave(run_id)
                continue
            self._since[run_id] = news.version
            with feed.locked() as state:
                run, steps = state.run, steps_among(state.nodes, news.keys)
                is_all = feed.is_known and feed.version == news.version
                is_deleted, has_ended = state.is_deleted, state.has_ended and is_all
            if is_deleted:
                gone.append(run_id)
            elif news.keys:
                found.append({**timed_run(run, now), "cells": cells_of(steps, now)})
            if is_deleted or has_ended:
                self._leave(run_id)
        return found, gone

    def _leave(self, run_id: str) -> None:
        _, stack = self._runs.pop(run_id)
        stack.close()


def _history_lines(
    console: Console, feed: Feed[LiveRuns], since: int, followed: _Followed, wanted: tuple[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """Yield what changes in a history, given its workflow and the runs whose steps the page shows."""
    (name, shown), note, pause = wanted, ProblemNote(), 0.0
    yield {}
    feed.wait_until_known()
    runs, missing = _find_shown(console.services.store, feed, shown)
    for run in runs:
        followed.add(run)
    while not feed.is_stopping:
        news = feed.wait(since, pause)
        now, since = console.services.clock.now(), news.version
        with feed.locked() as state:
            changed = _runs_of(name, [state.runs[key] for key in news.keys if key in state.runs])
            deleted = state.deleted.intersection(news.keys)
        for run in changed:
            # Larger ones are not shown.
            if is_under_way(run) and run.step_count <= MOST_STEPS_READ:
                followed.add(run)
        found, gone = followed.news(now)
        line: dict[str, Any] = {}
        if changed or found:
            line["runs"] = [*(timed_run(run, now) for run in changed), *found]
        if left := {*gone, *deleted, *missing}:
            line["gone"], missing = sorted(left), []
        line |= note.changes(news.problem)
        if line:
            line |= {"at": f"{feed.name}.{since}", "as_of": moment_text(now)}
        yield line
        time.sleep(LEAST_PAUSE_S)
        # The runs have feeds of their own.
        pause = POLL_S


def _find_shown(store: Store, feed: Feed[LiveRuns], ids: Sequence[str]) -> tuple[list[RunRecord], list[str]]:
    """Return the runs of these ids, and the ids that no run has any longer."""
    with feed.locked() as state:
        found = {one: state.runs[one] for one in ids if one in state.runs}
    others = [run_path(one) for one in ids if one not in found and is_beginning_of_id(one)]
    found |= {one.id: one for one in store.get(others) if one is not None}
    return list(map(run_record, known_runs(list(found.values()), []))), [one for one in ids if one not in found]
