"""Google's own client listens with `on_snapshot`, unmodified, to the embedded Firestore and to Google's emulator."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from contract.backends import Watched
from contract.relay import Relay

WAIT_S: Final = 60.0
pytestmark = pytest.mark.parametrize("watched", ["embedded", "google"], indirect=True)


class Shown(NamedTuple):
    """What a callback got: the ids of all documents, in order, and of those that changed, by kind."""

    ids: list[str]
    changes: dict[str, str]


class Page:
    """Listens, and keeps what its callback gets."""

    def __init__(self, source: Any) -> None:
        self._shown: queue.SimpleQueue[Shown] = queue.SimpleQueue()
        self.watch = source.on_snapshot(self._show)

    def _show(self, documents: Any, changes: Any, _read_time: Any) -> None:
        kinds = {change.document.id: change.type.name for change in changes}
        self._shown.put(Shown([document.id for document in documents], kinds))

    def next(self) -> Shown:
        """Return what the next callback got."""
        return self._shown.get(timeout=WAIT_S)


@pytest.fixture
def listen() -> Iterator[Callable[[Any], Page]]:
    """Return what listens until the test is over."""
    pages: list[Page] = []

    def begin(source: Any) -> Page:
        pages.append(Page(source))
        return pages[-1]

    yield begin
    for page in pages:
        page.watch.unsubscribe()


def write(watched: Watched, **numbers: int) -> None:
    """Write documents of the collection `c` in one commit."""
    batch = watched.client.batch()
    for name, number in numbers.items():
        batch.set(watched.client.document(f"c/{name}"), {"n": number})
    batch.commit()


def test_a_collection(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """Additions, changes and deletions come as such, after the documents that were there."""
    collection = watched.client.collection("c")
    page = listen(collection)
    assert page.next() == Shown([], {})
    write(watched, a=1, b=1)
    assert page.next() == Shown(["a", "b"], {"a": "ADDED", "b": "ADDED"})
    write(watched, a=2)
    assert page.next() == Shown(["a", "b"], {"a": "MODIFIED"})
    collection.document("b").delete()
    assert page.next() == Shown(["a"], {"b": "REMOVED"})


def test_a_filter(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """A document comes and goes as it comes to match, and matches no longer."""
    write(watched, a=2, b=1)
    page = listen(watched.client.collection("c").where(filter=FieldFilter("n", ">=", 2)))
    assert page.next() == Shown(["a"], {"a": "ADDED"})
    write(watched, b=3)
    assert page.next() == Shown(["a", "b"], {"b": "ADDED"})
    write(watched, a=0)
    assert page.next() == Shown(["b"], {"a": "REMOVED"})


def test_an_order_with_a_limit(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """The newest two documents are always the newest two. Google's client sorts them oldest first, on either server."""
    write(watched, a=1, b=2, c=3)
    query = watched.client.collection("c").order_by("n", direction=firestore.Query.DESCENDING).limit(2)
    page = listen(query)
    assert page.next().ids == ["b", "c"]
    write(watched, d=4)
    assert page.next() == Shown(["c", "d"], {"d": "ADDED", "b": "REMOVED"})
    watched.client.document("c/c").delete()
    assert page.next() == Shown(["b", "d"], {"b": "ADDED", "c": "REMOVED"})


def test_a_document(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """A document that is missing at first is shown when it is created."""
    page = listen(watched.client.document("c/a"))
    assert page.next() == Shown([], {})
    write(watched, a=1, b=1)
    assert page.next() == Shown(["a"], {"a": "ADDED"})
    watched.client.document("c/a").delete()
    assert page.next() == Shown([], {"a": "REMOVED"})


def test_a_group(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """A collection group is listened to at any depth."""
    page = listen(watched.client.collection_group("steps"))
    assert page.next().ids == []
    watched.client.document("runs/r/steps/a").set({})
    assert page.next().ids == ["a"]


def test_a_transaction_comes_at_once(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """Both documents that a transaction moves something between change in one callback."""
    write(watched, a=1, b=0)
    page = listen(watched.client.collection("c"))
    page.next()

    @firestore.transactional
    def move(transaction: Any) -> None:
        transaction.update(watched.client.document("c/a"), {"n": 0})
        transaction.update(watched.client.document("c/b"), {"n": 1})

    move(watched.client.transaction())
    assert page.next().changes == {"a": "MODIFIED", "b": "MODIFIED"}


def test_several_listeners_of_one_client(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """Each has a stream of its own, and one that was ended gets nothing more."""
    pages = [listen(watched.client.collection("c")) for _ in range(5)]
    for page in pages:
        page.next()
    pages[0].watch.unsubscribe()
    write(watched, a=1)
    for page in pages[1:]:
        assert page.next().ids == ["a"]
    with pytest.raises(queue.Empty):
        pages[0]._shown.get_nowait()


def test_a_connection_that_breaks(
    watched: Watched, relay: Relay, listen: Callable[[Any], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client connects again by itself and gets what it missed."""
    write(watched, a=1, b=1)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", relay.address)
    page = listen(firestore.Client(project=watched.project).collection("c"))
    assert page.next().ids == ["a", "b"]
    relay.cut()
    write(watched, a=2)
    watched.client.document("c/b").delete()
    relay.mend()
    assert page.next() == Shown(["a"], {"a": "MODIFIED", "b": "REMOVED"})


def test_many_documents(watched: Watched, listen: Callable[[Any], Page]) -> None:
    """Two thousand documents come in one callback, and a change of one alone."""
    for start in range(0, 2_000, 500):
        write(watched, **{f"d{number}": number for number in range(start, start + 500)})
    page = listen(watched.client.collection("c"))
    assert len(page.next().ids) == 2_000
    write(watched, d7=0)
    assert page.next().changes == {"d7": "MODIFIED"}
