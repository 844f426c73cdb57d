"""Stream changes to an open page, as lines of JSON."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flask import Blueprint, Response, request

from atom_client.console.app import this_console
from atom_client.console.filters import read_number, wanted_runs
from atom_client.console.run_answers import run_answer, run_rows, step_rows
from atom_client.console.watched_items import ItemsViewer, items_asked, news_of_items, problem_of_items, watching_items
from atom_client.errors import Failure, explain, is_temporary
from atom_client.views.as_json import moment_text
from atom_client.views.counted_reads import CountedReads
from atom_client.views.explanations import look_around_nodes
from atom_client.views.live_run import THE_RUN, LiveRun, steps_among
from atom_client.views.live_runs import MOST_LISTENED, LiveRuns
from atom_client.views.queries import read_nodes_with_attempts
from atom_client.views.run_list import OPEN_STATES, RunFilter, known_runs, timed_run
from atom_client.views.run_references import require_run
from atom_workflows.documents import run_path
from atom_workflows.errors import StoreUnavailable
from atom_workflows.run_documents import run_record

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from atom_client.console.app import Console
    from atom_client.console.feeds import Feed, Feeds, News
    from atom_client.views.loops import LoopView
    from atom_workflows.coordinator.services import Services
    from atom_workflows.core.records import RunRecord, StepRecord
    from atom_workflows.ports import Document

live = Blueprint("live", __name__)

KEEP_ALIVE_S: Final = 15.0
"""How long to wait for a change before looking at what else a stream depends on."""

SILENCE_S: Final = 7.5
"""How long after the last line the next empty line is sent.

It shows whether anyone is still listening.
"""

LEAST_PAUSE_S: Final = 0.1
"""Changes in quicker succession are combined into one line."""

COUNT_EVERY_S: Final = 60.0
"""How often to recount the steps of open runs in a list.

Steps that end do not change their runs.
"""

POLL_S: Final = 0.25
"""How often feeds are checked besides the one that a stream waits for, such as those of pages of items."""

EXPLANATION_READS_PER_S: Final = 2.0
"""The budget for explaining a run, in documents per second."""

RETRY_S: Final = 5.0
"""The pause after failing to read an explanation."""

_CPU_SHARE: Final = 0.1
LONGEST_REST_S: Final = 10.0
"""The maximum pause because of the processor time that an explanation took."""

_MOST_VERSIONS: Final = 10**18


class Explained(NamedTuple):
    """Everything in a run's response except its steps.

    It describes one version of the run's feed, and comes with the steps from which it was made.
    """

    version: int
    answer: Mapping[str, Any]
    loops: Mapping[str, LoopView]
    steps: Sequence[StepRecord]


class WatchedRun(LiveRun):
    """A run that viewers share, with its latest explanation."""

    def __init__(self, run: RunRecord) -> None:
        super().__init__(run)
        self.explained = Explained(0, {}, {}, ())
        self._explaining = threading.Lock()
        self._due_at = 0.0
        self._explained_state = ""

    def due_in(self) -> float:
        """Return the seconds until the next explanation is due.

        It is due at once if the run's state has changed.
        """
        is_new = self.run.state.value != self._explained_state
        return 0.0 if is_new else max(0.0, self._due_at - time.monotonic())

    def explain(self, services: Services, feed: Feed[WatchedRun], *, fresh: bool = False) -> Explained:
        """Return the latest explanation, after renewing it if that is due.

        A page that is being opened asks for a `fresh` explanation, since the text contains durations. Other pages keep
        the latest one while the store does not respond.
        """
        with self._explaining:
            with feed.locked():
                version, run, nodes = feed.version, self.run, dict(self.nodes)
            if not fresh and (self.explained.version == version or self.due_in()):
                return self.explained
            began, store = time.monotonic(), CountedReads(services.store)
            try:
                seen = look_around_nodes(replace(services, store=store), run, nodes)
            except StoreUnavailable as error:
                if fresh or not is_temporary(error):
                    raise
                self._due_at, self._explained_state = time.monotonic() + RETRY_S, run.state.value
                return self.explained
            self.explained = Explained(version, run_answer(seen), seen.loops, seen.steps)
            took = time.monotonic() - began
            pause = max(min(LONGEST_REST_S, took / _CPU_SHARE), store.documents / EXPLANATION_READS_PER_S)
            self._due_at, self._explained_state = time.monotonic() + pause, run.state.value
            return self.explained


def run_key(run_id: str) -> Hashable:
    """Return the key of a run's feed."""
    return "run", run_id


def read_watched_run(console: Console, feeds: Feeds, run: RunRecord) -> dict[str, Any]:
    """Return everything about a run from its feed.

    This way, each document shown is read only once.
    """
    with feeds.watch(run_key(run.id), lambda: WatchedRun(run)) as feed:
        feed.wait_until_known()
        explained = feed.state.explain(console.services, feed, fresh=True)
        with feed.locked() as state:
            nodes = dict(state.nodes)
        console.pictures.keep(feed.state.run, nodes)
        return {
            **explained.answer,
            "why_fixed": console.why_fixed(run),
            "steps": step_rows(explained.steps, explained.loops),
            "at": f"{feed.name}.{explained.version}",
        }


def nodes_of(console: Console, run: RunRecord) -> dict[str, StepRecord]:
    """Return a run's nodes with their attempts, but without items.

    They come from the run's feed, if the console has feeds.
    """
    if console.feeds is None:
        return read_nodes_with_attempts(console.services.store, run)
    return _watched_run(console.feeds, run.id, lambda: run)[1]


def run_and_nodes(console: Console, run_id: str) -> tuple[RunRecord, dict[str, StepRecord]]:
    """Return a run and what `nodes_of` returns.

    Nothing is read for a run that is watched.
    """
    store, feeds = console.services.store, console.feeds
    if feeds is not None and feeds.knows(run_key(run_id)):
        return _watched_run(feeds, run_id, lambda: require_run(store, run_id))
    run = require_run(store, run_id)
    return run, nodes_of(console, run)


def _watched_run(feeds: Feeds, run_id: str, read: Callable[[], RunRecord]) -> tuple[RunRecord, dict[str, StepRecord]]:
    with feeds.watch(run_key(run_id), lambda: WatchedRun(read())) as feed:
        feed.wait_until_known()
        with feed.locked() as state:
            return state.run, dict(state.nodes)


@live.get("/runs/<run_id>/live")
def follow_run(run_id: str) -> Response:
    """Stream a run's changes until it has ended."""
    console, feeds, after = this_console(), this_feeds(), request.args.get("after", "")
    services, pages = console.services, items_asked()
    run = None if feeds.knows(run_key(run_id)) else require_run(services.store, run_id)
    run_id = run_id if run is None else run.id

    def lines() -> Generator[dict[str, Any]]:
        with (
            feeds.watch(run_key(run_id), lambda: WatchedRun(run or require_run(services.store, run_id))) as feed,
            watching_items(services.store, feeds, console.item_pages, feed.state.run, pages) as viewers,
        ):
            yield from _run_lines(services, feed, version_after(feed, after), viewers)

    return stream(lines())


def _run_lines(
    services: Services, feed: Feed[WatchedRun], since: int, viewers: Mapping[str, ItemsViewer]
) -> Iterator[dict[str, Any]]:
    """Yield changes as they come.

    Each is followed by a new explanation of the run, if one is due.
    """
    state, note = feed.state, ProblemNote()
    # The first line comes at once, and shows that the connection works.
    yield {}
    feed.wait_until_known()
    # A page that comes back may have missed the explanation that another viewer caused, so the latest is sent.
    shown, pause = None, 0.0
    while not feed.is_stopping:
        news = feed.wait(since, pause)
        since = news.version
        line = _changes(services, feed, news) | note.changes(news.problem or problem_of_items(viewers))
        yield {**line, **_place(services, feed, since)} if line else line
        if state.is_deleted:
            yield {"error": f"run {state.run.id} was deleted while it was being shown"}
            return
        if items := news_of_items(viewers, news.keys):
            yield {"items": items}
        explained = state.explain(services, feed)
        if explained.version != shown:
            shown = explained.version
            with feed.locked():
                loops = steps_among(state.nodes, explained.loops)
            rows = {"steps": step_rows(loops, explained.loops)} if loops else {}
            yield {**explained.answer, **rows, **_place(services, feed, since)}
        with feed.locked():
            has_ended = state.has_ended and shown == feed.version == since
        if has_ended:
            yield {"ended": True}
            return
        time.sleep(LEAST_PAUSE_S)
        pause = KEEP_ALIVE_S if shown >= since else min(KEEP_ALIVE_S, state.due_in())
        pause = min(pause, POLL_S) if viewers else pause


def _changes(services: Services, feed: Feed[WatchedRun], news: News) -> dict[str, Any]:
    with feed.locked() as state:
        run, steps = state.run, steps_among(state.nodes, news.keys)
    line: dict[str, Any] = {"steps": step_rows(steps, state.explained.loops)} if steps else {}
    return {**line, "run": timed_run(run, services.clock.now())} if THE_RUN in news.keys else line


def _place(services: Services, feed: Feed[WatchedRun], version: int) -> dict[str, Any]:
    return {"at": f"{feed.name}.{version}", "as_of": moment_text(services.clock.now())}


# -- the list of runs --------------------------------------------------------------------------------------------------


def _runs_feed(wanted: RunFilter) -> tuple[Hashable, RunFilter]:
    """Return the key and the filter of the feed with these runs."""
    is_open = wanted.states and set(OPEN_STATES).issuperset(wanted.states)
    listened = RunFilter(states=sorted(wanted.states), workflow=wanted.workflow) if is_open else RunFilter()
    return ("runs", *listened.states, listened.workflow), listened


def read_watched_runs(feeds: Feeds, wanted: RunFilter) -> tuple[list[Document], dict[str, Any]]:
    """Return the newest runs, and the place from which the page continues.

    If the feed listens only to open runs, no runs are returned.
    """
    key, listened = _runs_feed(wanted)
    with feeds.watch(key, lambda: LiveRuns(listened)) as feed:
        version = feed.wait_until_known()
        with feed.locked() as state:
            newest = [] if listened.states else state.newest()
            return newest, {"at": f"{feed.name}.{version}", "note": state.note}


def watch_newest(feeds: Feeds) -> AbstractContextManager[Feed[LiveRuns]]:
    """Watch the newest runs of all workflows, as the list does."""
    key, listened = _runs_feed(RunFilter())
    return feeds.watch(key, lambda: LiveRuns(listened))


# Not below /runs, since a workflow may be named `live`.
@live.get("/live/runs")
def follow_runs() -> Response:
    """Stream a list's changed runs until the page is closed."""
    services, feeds, after = this_console().services, this_feeds(), request.args.get("after", "")
    wanted = wanted_runs(services.clock.now())
    key, listened = _runs_feed(wanted)

    def lines() -> Generator[dict[str, Any]]:
        with feeds.watch(key, lambda: LiveRuns(listened)) as feed:
            yield from _runs_lines(services, feed, (wanted, listened), version_after(feed, after))

    return stream(lines())


def _runs_lines(
    services: Services, feed: Feed[LiveRuns], filters: tuple[RunFilter, RunFilter], since: int
) -> Iterator[dict[str, Any]]:
    """Yield the runs that have changed.

    `filters` are that of the page and that of the feed.
    """
    (wanted, listened), note, pause = filters, ProblemNote(), 0.0
    yield {}
    feed.wait_until_known()
    counted_at, counted = time.monotonic(), dict[str, float]()
    while not feed.is_stopping:
        news = feed.wait(since, pause)
        since, pause = news.version, KEEP_ALIVE_S
        keys = set(news.keys)
        with feed.locked() as state:
            if time.monotonic() - counted_at >= COUNT_EVERY_S:
                counted_at = time.monotonic()
                keys |= state.open_ids()
            found = [state.runs[key] for key in keys if key in state.runs]
            is_full, limit = state.is_full, state.note
        left = [key for key in news.keys if key not in {one.id for one in found}]
        if is_full:
            # Others may have pushed them out: open ones are read again, and older ones are not followed any longer.
            again = services.store.get([run_path(key) for key in left[-MOST_LISTENED:]]) if listened.states else []
            found += [one for one in again if one is not None]
            left = [key for key, one in zip(left[-MOST_LISTENED:], again, strict=True) if one is None] if again else []
        known = list(known_runs(found, []))
        listed = [one for one in known if wanted.matches(one)]
        gone = sorted({*left, *(one.id for one in known)} - {one.id for one in listed})
        line: dict[str, Any] = {"gone": gone} if gone else {}
        if listed:
            # Runs whose progress was counted longest ago come first, since only the first few are counted.
            newest = sorted(map(run_record, listed), key=attrgetter("created_at"), reverse=True)
            runs = sorted(newest, key=lambda run: counted.get(run.id, 0.0))
            line["runs"] = run_rows(services.store, runs, services.clock.now())
            counted |= {row["id"]: time.monotonic() for row in line["runs"] if row.get("progress")}
        line |= note.changes(news.problem)
        if line:
            line |= {"at": f"{feed.name}.{since}", "note": limit}
            line["as_of"] = moment_text(services.clock.now())
        yield line
        time.sleep(LEAST_PAUSE_S)


# -- streams -----------------------------------------------------------------------------------------------------------


def this_feeds() -> Feeds:
    """Return the console's feeds, or refuse the request."""
    feeds = this_console().feeds
    if feeds is None:
        raise Failure("this console shows a folder's stored history, which does not change")
    return feeds


class ProblemNote:
    """Says to a viewer once that there is a problem, and once that there is none any longer."""

    def __init__(self) -> None:
        self._said: str | None = None

    def changes(self, problem: str) -> dict[str, str]:
        """Return the member of a line that says this, or nothing if it has been said."""
        if problem == self._said:
            return {}
        self._said = problem
        return {"problem": problem}


def version_after(feed: Feed[Any], after: str) -> int:
    """Return the version that a viewer has shown.

    Returns 0 if it was a version of another feed.
    """
    name, _, version = after.partition(".")
    return (read_number(version, most=_MOST_VERSIONS) or 0) if name == feed.name else 0


def stream(lines: Generator[dict[str, Any]]) -> Response:
    """Return a response that ends when the lines end.

    A line without members is sent first, and then only to keep the connection alive. After a line with a `problem`,
    the page reconnects if the response ends; an `error` is final.
    """

    def encoded() -> Iterator[str]:
        sent_at = -SILENCE_S
        try:
            # Whoever reads this may leave at any line, and then leaves the feeds, too.
            with closing(lines):
                for line in lines:
                    if line or time.monotonic() - sent_at >= SILENCE_S:
                        yield f"{json.dumps(line, separators=(',', ':'))}\n" if line else "\n"
                        sent_at = time.monotonic()
        except Exception as error:
            # The answer has begun, so its status cannot say so.
            sentence = error.format_message() if isinstance(error, Failure) else explain(error)
            if sentence is None:
                raise
            yield f"{json.dumps({'problem' if is_temporary(error) else 'error': sentence})}\n"

    return Response(encoded(), mimetype="application/x-ndjson")
