"""Feeds: what is watched is listened to once, and by no one when no one looks."""

from __future__ import annotations

import http.client
import threading
from typing import Any

import pytest

from atom_client.console.app import Console
from atom_client.console.feeds import Feed, Feeds
from atom_client.console.server import LaterConsoleServer
from atom_client.views.live_items import LiveItems
from atom_client.views.live_runs import LiveDocuments
from atom_emulator.firestore.memory import MemoryListener, MemoryStore
from atom_emulator.testing.world import World
from atom_workflows.core.item_ids import expander_id, item_id
from atom_workflows.documents import step_path
from atom_workflows.errors import StoreError, StoreUnavailable
from atom_workflows.listening import Batch
from atom_workflows.ports import Create, Update
from support.deadline import eventually


def written(*names: str) -> MemoryStore:
    """Return a store with these documents."""
    store = MemoryStore()
    store.commit([Create(path=f"c/{name}", fields={"n": 0}) for name in names])
    return store


def state() -> LiveDocuments:
    """Return what watches the documents a and b."""
    return LiveDocuments(["c/a", "c/b"])


def test_each_viewer_is_told_what_it_has_not_seen() -> None:
    """A viewer that comes late is told everything, and one that is up to date only what has changed."""
    store = written("a", "b")
    feeds = Feeds(MemoryListener(store))
    with feeds.watch("key", state) as feed:
        version = feed.wait_until_known()
        assert sorted(feed.wait(0, 0.0).keys) == ["c/a", "c/b"]
        assert feed.wait(version, 0.0).keys == []
        store.commit([Update(path="c/a", fields={"n": 1})])
        assert feed.wait(version, 10.0).keys == ["c/a"]
    feeds.close()


def test_viewers_of_one_thing_share_a_feed() -> None:
    """The same key is the same feed; another key is another one."""
    feeds = Feeds(MemoryListener(written("a")))
    with feeds.watch("one", state) as one, feeds.watch("one", state) as same, feeds.watch("other", state) as other:
        assert one is same
        assert one is not other
        assert feeds.listening == 2
    feeds.close()


def test_whoever_comes_back_goes_on_from_the_bookmark() -> None:
    """A feed that no one watches stops listening; its next viewer reads only what has changed meanwhile."""
    store = written("a", "b")
    feeds = Feeds(MemoryListener(store), lingers_s=0.0)
    with feeds.watch("key", state) as feed:
        version = feed.wait_until_known()
        assert feed.documents_read == 2
    eventually(lambda: not feeds.listening, within_s=30, what="the end of the listener")
    store.commit([Update(path="c/b", fields={"n": 1})])
    with feeds.watch("key", state) as again:
        assert again is feed
        again.wait_until_known()
        assert again.wait(version, 0.0).keys == ["c/b"]
        assert again.documents_read == 3
    feeds.close()


def test_too_many_documents_that_no_one_watches_are_forgotten() -> None:
    """What is kept for viewers that may come back is bounded."""
    feeds = Feeds(MemoryListener(written("a")), lingers_s=0.0, most_kept=2)
    for key in range(5):
        with feeds.watch(key, state) as feed:
            feed.wait_until_known()
        eventually(lambda: not feeds.listening, within_s=30, what="the end of the listener")
    assert [feeds.knows(key) for key in range(5)] == [False, False, True, True, True]
    feeds.close()


class Refusing:
    """A listener whose every listening has a problem, or is refused."""

    def __init__(self, batch: Batch | None) -> None:
        self.documents_read = 0
        self._batch = batch
        self._closed = threading.Event()

    def listen(self, *_: Any, **__: Any) -> Refusing:
        """Return what has the problem."""
        return self

    listen_to = listen

    def take(self, within_s: float) -> Batch | None:
        """Report the problem, again and again."""
        if self._batch is None:
            raise StoreError("Firestore refused to listen")
        self._closed.wait(min(within_s, 0.05))
        return self._batch

    def bookmark(self) -> None:
        """Return nothing."""

    def close(self) -> None:
        """Take nothing any longer."""
        self._closed.set()


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        (None, StoreError, "Firestore refused to listen"),
        (Batch(problem="Firestore does not answer: 503"), StoreUnavailable, "does not answer: 503"),
    ],
    ids=["refused", "lost"],
)
def test_what_keeps_documents_from_being_known_is_raised(
    batch: Batch | None, error: type[Exception], words: str
) -> None:
    """A viewer is not left waiting: a refusal or a lost connection is raised, and a refused feed is forgotten."""
    feeds = Feeds(Refusing(batch))
    with feeds.watch("key", state) as feed, pytest.raises(error, match=words):
        feed.wait_until_known()
    feeds.close()
    with feeds.watch("key", state) as other:
        assert isinstance(other, Feed)
        assert (other is not feed) == (batch is None)
    feeds.close()


def test_a_console_connects_only_when_its_page_is_opened() -> None:
    """Until the first request, nothing is made; then it is made once, and closed with the server."""
    made: list[Feeds] = []

    def make() -> Console:
        world = World()
        made.append(Feeds(MemoryListener(world.store.inner)))
        return Console(services=world.services, token="token", place="a test", feeds=made[0])  # noqa: S106 (of a test)

    with LaterConsoleServer(make, token="token") as server:  # noqa: S106 (of a test)
        assert made == []
        host = server.address.removeprefix("http://").partition("/")[0]
        # Another web page may guess the port.
        for headers, status in (({"X-Atom-Token": "a guess"}, 401), ({"Origin": "http://evil.test"}, 403)):
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request("GET", "/api/runs", headers=headers)
            assert (connection.getresponse().status, made) == (status, [])
            connection.close()
        for _ in range(2):
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request("GET", "/api/runs", headers={"X-Atom-Token": "token"})
            response = connection.getresponse()
            assert (response.status, len(made)) == (200, 1)
            response.read()
            connection.close()
        assert made[0].listening == 1
    assert made[0].listening == 0


def test_what_is_deleted_is_known_no_longer() -> None:
    """The deletion of a document is a new state, and a deleted item is on no page."""
    documents = state()
    store = written("a")
    found = [one for one in store.get(["c/a"]) if one is not None]
    documents.apply(0, Batch(added=found))
    assert list(documents.apply(0, Batch(removed=["c/a"]))) == ["c/a"]
    assert documents.states == {}
    world = World()
    run_id = world.start("steps: [{id: train, forEach: [1, 2], task: {imageUri: i}}]")
    world.settle_down()
    paths = [step_path(run_id, item_id("train", index, 1)) for index in range(2)]
    items = LiveItems(world.steps(run_id)[expander_id("train")], [0, 1])
    items.apply(0, Batch(added=[one for one in world.store.get(paths) if one is not None]))
    assert list(items.apply(0, Batch(removed=paths[:1]))) == ["0"]
    assert list(items.items) == [1]
