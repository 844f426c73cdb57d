"""Serve a workflow's history, and stream its changes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, request

from atom_client.console.app import Console, answer, this_console
from atom_client.console.feeds import Feed, Feeds
from atom_client.console.filters import number_of
from atom_client.console.live import (
    LEAST_PAUSE_S,
    WatchedRun,
    nodes_of,
    run_key,
    stream,
    this_feeds,
    version_after,
    watch_newest,
)
from atom_client.views.as_json import moment_text
from atom_client.views.live_run import steps_among
from atom_client.views.live_runs import MOST_RUNS as MOST_LISTENED
from atom_client.views.live_runs import LiveRuns
from atom_client.views.run_list import known_runs, timed_run
from atom_client.views.run_references import require_run
from atom_client.views.workflow_history import MOST_RUNS, MOST_STEPS_READ, KnownRuns, cells_of, read_workflow_history
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.run_documents import run_record

if TYPE_CHECKING:
    from datetime import datetime

histories = Blueprint("histories", __name__)

MOST_FOLLOWED: Final = 10
"""The maximum number of open runs whose steps a history follows.

For other runs, only the state of the run is updated live.
"""

_USUAL_RUNS: Final = 20
_LOOK_S: Final = 0.25


# A workflow's name may contain a slash, so it is not part of the path.
@histories.get("/history")
def show_history() -> Response:
    """Respond with a workflow's newest runs and their steps' states."""
    console, name = this_console(), request.args.get("workflow", "")
    store, now = console.services.store, console.services.clock.now()
    most = number_of("runs", _USUAL_RUNS, most=MOST_RUNS)
    if console.feeds is None:
        return answer({**read_workflow_history(store, name, most_runs=most).as_fields(now), "as_of": moment_text(now)})
    with watch_newest(console.feeds) as feed:
        at = f"{feed.name}.{feed.wait_until_known()}"
        with feed.locked() as state:
            newest = state.newest()
        followed = _OpenRuns(console, console.feeds)
        known = KnownRuns(newest=newest, are_all=len(newest) < MOST_LISTENED, nodes=followed.nodes)
        history = read_workflow_history(store, name, most_runs=most, known=known)
        documents = history.documents + followed.documents
        return answer({**history.as_fields(now), "documents": documents, "at": at, "as_of": moment_text(now)})


class _OpenRuns:
    """Reads the nodes of the first few open runs from their feeds.

    The feeds then already have the nodes when viewers follow the runs.
    """

    def __init__(self, console: Console, feeds: Feeds) -> None:
        self._console = console
        self._feeds = feeds
        self._runs = 0
        self.documents = 0

    def nodes(self, run: RunRecord) -> Sequence[StepRecord] | None:
        """Return a run's nodes, or None if it will not be followed."""
        if run.state.is_terminal or self._runs >= MOST_FOLLOWED:
            return None
        self._runs += 1
        found = list(nodes_of(self._console, run).values())
        self.documents += len(found)
        return found


@histories.get("/live/history")
def follow_history() -> Response:
    """Stream a workflow's changed runs and their changed cells.

    `run` names the open runs whose steps are shown; runs that begin later are followed, too.
    """
    console, feeds, after = this_console(), this_feeds(), request.args.get("after", "")
    name, shown = request.args.get("workflow", ""), request.args.getlist("run")[:MOST_FOLLOWED]

    def lines() -> Iterator[dict[str, Any]]:
        with watch_newest(feeds) as feed, ExitStack() as leaving:
            followed = _Followed(console, feeds, leaving)
            for run_id in shown:
                followed.add(run_id)
            yield from _history_lines(console, feed, version_after(feed, after), followed, name)

    return stream(lines())


class _Followed:
    """The open runs whose steps one viewer follows."""

    def __init__(self, console: Console, feeds: Feeds, leaving: ExitStack) -> None:
        self._console = console
        self._feeds = feeds
        self._leaving = leaving
        self._runs: dict[str, tuple[Feed[WatchedRun], ExitStack]] = {}
        self._since: dict[str, int] = {}

    def add(self, run_id: str, run: RunRecord | None = None) -> None:
        """Follow a run, unless already followed or over the limit."""
        if run_id in self._runs or len(self._runs) >= MOST_FOLLOWED:
            return
        store, stack = self._console.services.store, self._leaving.enter_context(ExitStack())
        feed = stack.enter_context(
            self._feeds.watch(run_key(run_id), lambda: WatchedRun(run or require_run(store, run_id)))
        )
        self._runs[run_id], self._since[run_id] = (feed, stack), 0

    def news(self, now: datetime) -> Iterator[dict[str, Any]]:
        """Yield each run that has changed since the last call.

        Each comes with the cells of its changed steps.
        """
        for run_id, (feed, stack) in list(self._runs.items()):
            news = feed.wait(self._since[run_id], 0.0)
            self._since[run_id] = news.version
            with feed.locked() as state:
                run, steps, has_ended = state.run, steps_among(state.nodes, news.keys), state.has_ended
            if news.keys:
                yield {**timed_run(run, now), "cells": cells_of(steps, now)}
            if news.version and has_ended:
                stack.close()
                del self._runs[run_id]


def _history_lines(
    console: Console, feed: Feed[LiveRuns], since: int, followed: _Followed, name: str
) -> Iterator[dict[str, Any]]:
    problem, pause = None, 0.0
    yield {}
    feed.wait_until_known()
    while not feed.is_stopping:
        news = feed.wait(since, pause)
        now, since = console.services.clock.now(), news.version
        with feed.locked() as state:
            documents = [state.runs[key] for key in news.keys if key in state.runs]
        changed = [run_record(one) for one in known_runs(documents, []) if one.fields.get("workflow") == name]
        for run in changed:
            # Larger ones are not shown, and until a run has begun, it has no steps.
            if not run.state.is_terminal and 0 < run.step_count <= MOST_STEPS_READ:
                followed.add(run.id, run)
        found = [*(timed_run(run, now) for run in changed), *followed.news(now)]
        line: dict[str, Any] = {"runs": found} if found else {}
        if news.problem != problem:
            line["problem"] = problem = news.problem
        if line:
            line |= {"at": f"{feed.name}.{since}", "as_of": moment_text(now)}
        yield line
        time.sleep(LEAST_PAUSE_S)
        # The feeds of the runs are looked at besides.
        pause = _LOOK_S
