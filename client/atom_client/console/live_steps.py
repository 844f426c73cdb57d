"""Stream changes to a step's page."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from flask import Blueprint, Response, request

from atom_client.console.app import Console, this_console
from atom_client.console.feeds import Feed, Feeds
from atom_client.console.live import (
    EXPLANATION_READS_PER_S,
    KEEP_ALIVE_S,
    LEAST_PAUSE_S,
    POLL_S,
    ProblemNote,
    stream,
    this_feeds,
    version_after,
)
from atom_client.console.watched_items import ItemsViewer, items_asked, news_of_items, problem_of_items, watching_items
from atom_client.views.live_runs import LiveDocuments
from atom_client.views.run_references import require_run
from atom_workflows.core.item_ids import expander_id, item_id, parse_item_id
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Store
from atom_workflows.step_documents import step_record

live_steps = Blueprint("live_steps", __name__)


class WatchedStep(LiveDocuments):
    """What a step's page depends on, and when it may be reread."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(paths)
        self.due_at = 0.0

    def note_reads(self, documents: int) -> None:
        """Delay the next read in proportion to the documents this one read."""
        self.due_at = time.monotonic() + documents / EXPLANATION_READS_PER_S


def watch_step(console: Console, feeds: Feeds, run_id: str, step_id: str) -> AbstractContextManager[Feed[WatchedStep]]:
    """Watch a step, the nodes behind it, and its run."""
    paths = _paths_of_step(console.services.store, run_id, step_id)
    return feeds.watch(("documents", *paths), lambda: WatchedStep(paths))


@live_steps.get("/runs/<run_id>/steps/<step_id>/live")
def follow_step(run_id: str, step_id: str) -> Response:
    """Tell a step's page when to reload, and stream its items' changes.

    A new state is reported at once, and anything else only as often as the cost of reading the page allows.
    """
    console, feeds, after, pages = this_console(), this_feeds(), request.args.get("after", ""), items_asked()
    run = require_run(console.services.store, run_id)

    def lines() -> Generator[dict[str, Any]]:
        with (
            watch_step(console, feeds, run.id, step_id) as feed,
            watching_items(console.services.store, feeds, console.item_pages, run, pages) as viewers,
        ):
            # The first line comes at once, and shows that the connection works.
            yield {}
            feed.wait_until_known()
            yield from _step_lines(feed, version_after(feed, after), viewers)

    return stream(lines())


def _step_lines(feed: Feed[WatchedStep], since: int, viewers: Mapping[str, ItemsViewer]) -> Iterator[dict[str, Any]]:
    states: dict[str, object] | None = None
    is_outdated, note, pause = False, ProblemNote(), 0.0
    while not feed.is_stopping:
        news = feed.wait(since, pause)
        since, is_outdated = news.version, is_outdated or bool(news.keys)
        with feed.locked() as state:
            newest, due_in = dict(state.states), state.due_at - time.monotonic()
        line: dict[str, Any] = {}
        if is_outdated and (newest != states or due_in <= 0):
            is_outdated, line = False, {"changed": True, "at": f"{feed.name}.{since}"}
        states = newest if not is_outdated else states
        line |= note.changes(news.problem or problem_of_items(viewers))
        if items := news_of_items(viewers, viewers if news.keys else ()):
            line["items"] = items
        yield line
        time.sleep(LEAST_PAUSE_S)
        pause = min(KEEP_ALIVE_S, max(0.0, due_in)) if is_outdated else KEEP_ALIVE_S
        pause = min(pause, POLL_S) if viewers else pause


def _paths_of_step(store: Store, run_id: str, step_id: str) -> list[str]:
    """Return the paths of the documents behind a step or an item.

    These are the run and either the item, or the step's node and the node that creates its items.
    """
    item = parse_item_id(step_id)
    if item is None:
        return [run_path(run_id), step_path(run_id, step_id), step_path(run_id, expander_id(step_id))]
    expander = store.get([step_path(run_id, expander_id(item.each))])[0]
    expansion = 1 if expander is None else step_record(expander).expansion
    return [run_path(run_id), step_path(run_id, item_id(item.each, item.index, expansion))]
