"""Feeds whose listeners fail, are slow, or come back after an outage."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from typing import Final

import pytest

from atom_client.console import feeds as feeds_module
from atom_client.console.feeds import Feeds
from atom_client.views.live_runs import LiveDocuments
from atom_workflows.errors import NewerVersion, StoreUnavailable
from atom_workflows.listening import Batch, Bookmark, Listener, Listening
from atom_workflows.ports import Query
from support.deadline import eventually

ALL: Final = Batch(read_time=datetime(2026, 1, 1, tzinfo=UTC))
LOST: Final = Batch(problem="Firestore does not answer: 503")


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice at once that no one watches any longer."""
    monkeypatch.setattr(feeds_module, "_CHECK_S", 0.01)


def once(may_answer: threading.Event, *batches: Batch) -> Iterator[Batch]:
    """Yield these batches once that is allowed."""
    assert may_answer.wait(30)
    yield from batches


class Scripted:
    """Yields batches one after the other, and then nothing until it is closed."""

    documents_read = 0

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """True once it was closed."""
        return self._closed.is_set()

    def take(self, within_s: float) -> Batch | None:
        """Return the next batch, if there is one."""
        batch = None if self.is_closed else next(self._batches, None)
        if batch is None:
            self._closed.wait(within_s)
        return batch

    def bookmark(self) -> Bookmark | None:
        """Return nothing."""

    def close(self) -> None:
        """End all waiting."""
        self._closed.set()


class Lines:
    """A listener whose listenings are made one after the other."""

    def __init__(self, *listenings: Scripted) -> None:
        self._next = list(listenings)
        self.opened: list[Scripted] = []

    def listen(self, query: Query, *, since: Bookmark | None = None) -> Listening:  # noqa: ARG002 (as in the port)
        """Return the next one."""
        return self.listen_to([])

    def listen_to(self, paths: Sequence[str], *, since: Bookmark | None = None) -> Listening:  # noqa: ARG002 (as in the port)
        """Return the next one, or fail once if there is none."""
        if not self._next:
            self._next.append(Scripted([ALL]))
            raise StoreUnavailable("not yet")
        self.opened.append(self._next.pop(0))
        return self.opened[-1]


def state() -> LiveDocuments:
    """Return what watches a document."""
    return LiveDocuments(["c/a"])


def test_a_problem_is_forgotten_when_a_feed_resumes() -> None:
    """A connection that was lost before everyone left is no problem of the one that is made for the next viewer."""
    may_answer = threading.Event()
    lines = Lines(Scripted([ALL, LOST]), Scripted(once(may_answer, ALL)))
    feeds = Feeds(lines, lingers_s=0.0)
    with feeds.watch("key", state) as feed:
        version = feed.wait_until_known()
        eventually(lambda: feed.wait(version, 1.0).problem, within_s=30, what="the loss")
    eventually(lambda: not feeds.listening, within_s=30, what="the end of the listener")
    with feeds.watch("key", state) as feed:
        assert feed.wait(0, 0.0).problem == ""
        may_answer.set()
        feed.wait_until_known()
    feeds.close()


def test_a_short_loss_does_not_keep_documents_from_being_known() -> None:
    """While a view opens, a connection that is restored within moments is no failure."""
    may_answer = threading.Event()
    feeds = Feeds(Lines(Scripted(chain([LOST], once(may_answer, ALL)))))
    with feeds.watch("key", state) as feed:
        eventually(lambda: feed.wait(0, 1.0).problem, within_s=30, what="the loss")
        # Whatever the listener reports is applied only while someone waits.
        with feed.locked():
            may_answer.set()
            assert feed.wait_until_known() == 2
    feeds.close()


class TwoDocuments:
    """Two listeners; a newer version wrote what the first one reports."""

    size = 0

    def listen(self, listener: Listener, since: Sequence[Bookmark | None]) -> list[Listening]:  # noqa: ARG002 (as in the protocol)
        """Listen to both."""
        return [listener.listen_to(["c/a"]), listener.listen_to(["c/b"])]

    def apply(self, number: int, batch: Batch) -> Iterable[str]:  # noqa: ARG002 (as in the protocol)
        """Refuse what the first one reports."""
        if number == 0:
            raise NewerVersion("run r", "schema 99")
        return ()


def test_a_failed_feed_listens_no_longer() -> None:
    """If one document cannot be read, all listeners of the feed are closed, though viewers may still be there."""
    lines = Lines(Scripted([ALL]), Scripted([ALL]))
    feeds = Feeds(lines)
    with feeds.watch("key", TwoDocuments) as feed:
        with pytest.raises(NewerVersion):
            feed.wait_until_known()
        eventually(lambda: all(one.is_closed for one in lines.opened), within_s=30, what="the end of both listeners")
    feeds.close()


def test_a_viewer_that_waits_keeps_no_other_one_waiting() -> None:
    """While one view reads what it needs to begin, another one is opened."""
    feeds = Feeds(Lines(Scripted([ALL]), Scripted([ALL])))
    reads, may_go_on = threading.Event(), threading.Event()

    def make_slowly() -> LiveDocuments:
        reads.set()
        assert may_go_on.wait(30)
        return state()

    def watch() -> None:
        with feeds.watch("slow", make_slowly):
            pass

    slow = threading.Thread(target=watch)
    slow.start()
    assert reads.wait(30)
    other = threading.Thread(target=lambda: feeds.knows("another"))
    other.start()
    other.join(1.0)
    is_waiting = other.is_alive()
    may_go_on.set()
    slow.join(30)
    other.join(30)
    assert not is_waiting
    feeds.close()


class SlowToClose(Scripted):
    """Is closed only once all others are being closed too."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__([ALL])
        self._barrier = barrier
        self._is_first = threading.Lock()

    def close(self) -> None:
        """Wait for the others, if no one does yet."""
        if self._is_first.acquire(blocking=False):
            self._barrier.wait(10)
            super().close()


def test_listeners_are_closed_together() -> None:
    """Ctrl-C waits for the slowest listener only, not for one after the other."""
    barrier = threading.Barrier(3)
    lines = Lines(*(SlowToClose(barrier) for _ in range(3)))
    feeds = Feeds(lines)
    with ExitStack() as watching:
        for key in "abc":
            watching.enter_context(feeds.watch(key, state)).wait_until_known()
        feeds.close()
        eventually(lambda: all(one.is_closed for one in lines.opened), within_s=30, what="the end of all")


def test_a_viewer_whose_listener_cannot_begin_leaves_again() -> None:
    """A feed that could not begin has no viewer, and the next one begins it."""
    feeds = Feeds(Lines(), lingers_s=0.0)
    with pytest.raises(StoreUnavailable), feeds.watch("key", state):
        pytest.fail("the feed cannot begin")
    with feeds.watch("key", state) as feed:
        feed.wait_until_known()
    eventually(lambda: not feeds.listening, within_s=30, what="the end of the listener")
    feeds.close()
