"""Pages of items that viewers watch.

A listener reports each change to the items on a page. When one of them or their step changes, the page's items are
chosen again, since failed items and those under way come first; a budget of documents per second limits how often.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final, NamedTuple

from flask import request

from atom_client.console.feeds import Feed, Feeds
from atom_client.console.filters import read_number
from atom_client.console.run_answers import item_rows, items_answer
from atom_client.errors import Failure
from atom_client.text import name_of
from atom_client.views.counted_reads import CountedReads
from atom_client.views.items import MOST_LOOPS, ItemsPage, choose_indexes, item_paths, read_loop
from atom_client.views.live_items import LiveItems
from atom_client.views.loops import LoopView
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.ports import Store
from atom_workflows.step_documents import step_record

ITEMS_PER_PAGE: Final = 50

CHOICE_READS_PER_S: Final = 10.0
"""The budget for choosing a page's items, in documents per second."""

CHOICE_PAUSE_S: Final = 1.0
"""The least pause between two choices."""

_MOST_PAGES: Final = 1_000_000
_MOST_KNOWN: Final = 100


class NoItems(Failure):
    """The step does not exist, or has no `forEach`."""


class Choice(NamedTuple):
    """Which items are on a page, and how many there are."""

    loop: LoopView
    indexes: Sequence[int]
    number: int
    pages: int


class PageOfItems:
    """The choice of a page's items, shared by its viewers. Thread-safe."""

    def __init__(self, run: RunRecord, step_id: str, number: int) -> None:
        self.run = run
        self.documents_read = 0
        self._step_id = step_id
        self._number = number
        self._lock = threading.Lock()
        self._choice: Choice | None = None
        self._is_outdated = False
        self._due_at = 0.0

    def touch(self) -> None:
        """Choose the items again once that is due."""
        self._is_outdated = True

    def touch_if_old(self) -> None:
        """Choose the items again unless they were chosen a moment ago.

        While no one watches a page, no one touches it.
        """
        if time.monotonic() >= self._due_at:
            self.touch()

    def choose(self, store: Store, *, fresh: bool = False) -> Choice:
        """Return which items are on the page.

        They are chosen again if that is due or if `fresh` is True.
        """
        with self._lock:
            is_due = self._is_outdated and time.monotonic() >= self._due_at
            if self._choice is None or is_due or fresh:
                # What changes during the read needs another one, and so does a read that fails.
                self._is_outdated = False
                reads = CountedReads(store)
                try:
                    self._choice = self._read(reads)
                except Exception:
                    self._is_outdated = True
                    raise
                self.documents_read += reads.documents
                self._due_at = time.monotonic() + max(CHOICE_PAUSE_S, reads.documents / CHOICE_READS_PER_S)
            return self._choice

    def read(self, store: Store) -> dict[str, Any]:
        """Return the page as it is now, without watching it."""
        choice = self.choose(store, fresh=True)
        found = store.get(item_paths(choice.loop, choice.indexes))
        return self.answer(choice, [step_record(document) for document in found if document is not None])

    def answer(self, choice: Choice, items: Sequence[StepRecord]) -> dict[str, Any]:
        """Return the page with these items."""
        page = ItemsPage(loop=choice.loop, items=items, number=choice.number, pages=choice.pages)
        return {**items_answer(self.run, page), "page_size": ITEMS_PER_PAGE}

    def _read(self, store: Store) -> Choice:
        loop = read_loop(store, self.run, self._step_id)
        if loop is None:
            raise NoItems(f"run {self.run.id} has no step {name_of(self._step_id)} with `forEach`")
        number, (indexes, pages) = self._number, choose_indexes(store, loop, number=self._number, size=ITEMS_PER_PAGE)
        if number > pages:
            number, (indexes, pages) = pages, choose_indexes(store, loop, number=pages, size=ITEMS_PER_PAGE)
        return Choice(loop, indexes, number, pages)


class KnownPages:
    """The most recently shown pages of items. Thread-safe."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], PageOfItems] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, run: RunRecord, step_id: str, number: int) -> PageOfItems:
        """Return a page, shared by its viewers."""
        key = (run.id, step_id, number)
        with self._lock:
            found = self._known.pop(key, None) or PageOfItems(run, step_id, number)
            found.run = run
            self._known[key] = found
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
            return found


class ItemsViewer:
    """One viewer of a page of items, until `close`."""

    def __init__(self, page: PageOfItems, store: Store, feeds: Feeds) -> None:
        self._page = page
        self._store = store
        self._feeds = feeds
        self._choice: Choice | None = None
        self._feed: Feed[LiveItems] | None = None
        self._leaving = ExitStack()
        self._since = 0
        self._is_missing = False
        self.problem = ""

    def read(self) -> dict[str, Any]:
        """Return the page as it is now, and watch its items."""
        return self._show(self._page.choose(self._store, fresh=True))

    def news(self, *, has_step_changed: bool) -> dict[str, Any]:
        """Return what has changed since the last call.

        This is the whole page if its items were chosen again, and otherwise only the changed items. `problem` then
        says why they may be out of date, or "".
        """
        if self._is_missing and not has_step_changed:
            return {}
        if has_step_changed:
            self._page.touch()
        elif self._choice is None:
            self._page.touch_if_old()
        try:
            choice = self._page.choose(self._store)
        except NoItems:
            # What else the viewer follows goes on.
            self._is_missing, self.problem = True, ""
            return {}
        self._is_missing = False
        if choice is not self._choice:
            return self._show(choice)
        if self._feed is None:
            return {}
        news = self._feed.wait(self._since, 0.0)
        self._since, self.problem = news.version, news.problem
        if not news.keys:
            return {}
        self._page.touch()
        with self._feed.locked() as state:
            changed = [state.items[int(key)] for key in news.keys if int(key) in state.items]
        return {"items": item_rows(changed)} if changed else {}

    def _show(self, choice: Choice) -> dict[str, Any]:
        self._choice, self.problem = choice, ""
        # The next feed is entered before this one is left, since it may be the same.
        leaving = ExitStack()
        self._feed = None
        if choice.indexes:
            key = ("items", self._page.run.id, choice.loop.step.id, choice.loop.expander.expansion, *choice.indexes)
            self._feed = leaving.enter_context(
                self._feeds.watch(key, lambda: LiveItems(choice.loop.expander, choice.indexes))
            )
        self.close()
        self._leaving = leaving
        items: list[StepRecord] = []
        if self._feed is not None:
            self._since = self._feed.wait_until_known()
            with self._feed.locked() as state:
                items = [state.items[one] for one in choice.indexes if one in state.items]
        return self._page.answer(choice, items)

    def close(self) -> None:
        """Leave the feed."""
        self._leaving.close()


def items_asked() -> dict[str, int]:
    """Return the pages of items that the request names, by step."""
    asked = [one.partition(":") for one in request.args.getlist("items")[:MOST_LOOPS]]
    numbers = {step_id: read_number(page, most=_MOST_PAGES) for page, _, step_id in asked}
    return {step_id: number for step_id, number in numbers.items() if number is not None}


@contextmanager
def watching_items(
    store: Store, feeds: Feeds, known: KnownPages, run: RunRecord, pages: Mapping[str, int]
) -> Iterator[dict[str, ItemsViewer]]:
    """Yield a viewer for each page of items, until the block ends."""
    with ExitStack() as closing_all:
        yield {
            step_id: closing_all.enter_context(closing(ItemsViewer(known.find(run, step_id, number), store, feeds)))
            for step_id, number in pages.items()
        }


def news_of_items(viewers: Mapping[str, ItemsViewer], changed: Collection[str]) -> dict[str, Any]:
    """Return what has changed on pages of items, by step.

    The steps in `changed` have changed themselves.
    """
    found = {step_id: viewer.news(has_step_changed=step_id in changed) for step_id, viewer in viewers.items()}
    return {step_id: news for step_id, news in found.items() if news}


def problem_of_items(viewers: Mapping[str, ItemsViewer]) -> str:
    """Return why some items may be out of date, or ""."""
    return next(filter(None, (viewer.problem for viewer in viewers.values())), "")
