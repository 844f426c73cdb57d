"""The Listener port, on the embedded Firestore and on Google's emulator.

Google's emulator differs from the service, as it is documented, in two ways that these tests allow for. After every
change it resets the target and sends all documents again, and it does so for each token or time from which one resumes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import grpc
import pytest

from atom_client.errors import explain
from atom_workflows.adapters.firestore.listener import FirestoreListener
from atom_workflows.errors import StoreError
from atom_workflows.listening import Batch, Listening
from atom_workflows.ports import Create, Query, Update
from contract.backends import Watched
from contract.refusing import Refusing
from contract.relay import Relay

WAIT_S: Final = 60.0
ON_SERVERS: Final = pytest.mark.parametrize("watched", ["embedded", "google"], indirect=True)
ALL: Final = Query(collection="c")
OPEN: Final = Query(collection="c", where=[("state", "==", "open")])
OUTLINES: Final = Query(collection="c", fields=("n",))
NEWEST: Final = Query(collection="c", order_by=[("n", "descending")], limit=2)


def taken(listening: Listening) -> Batch:
    """Return the next batch, which must come."""
    batch = listening.take(WAIT_S)
    assert batch is not None, "nothing came"
    return batch


def ids(documents: Sequence[Any]) -> list[str]:
    """Return the ids of documents, sorted."""
    return sorted(document.id for document in documents)


def create(watched: Watched, *names: str, **fields: Any) -> None:
    """Create documents in one commit."""
    watched.store.commit([Create(path=f"c/{name}", fields={"n": 0, **fields}) for name in names])


def update(watched: Watched, name: str, **fields: Any) -> None:
    """Update a document."""
    watched.store.commit([Update(path=f"c/{name}", fields=fields)])


class View:
    """What a page would show: the documents of all batches so far."""

    def __init__(self, listening: Listening) -> None:
        self.listening = listening
        self.fields: dict[str, Any] = {}

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Apply batches until the documents are as they should be."""
        deadline = time.monotonic() + WAIT_S
        while not condition(self.fields):
            assert time.monotonic() < deadline, self.fields
            self.apply(self.listening.take(1.0) or Batch())

    def apply(self, batch: Batch) -> None:
        """Apply a batch, which must fit what is known."""
        for document in batch.added:
            assert document.path not in self.fields
        for document in batch.changed:
            assert document.path in self.fields
        for path in batch.removed:
            del self.fields[path]
        self.fields |= {document.path: document.fields for document in (*batch.added, *batch.changed)}


@pytest.fixture
def listen(watched: Watched, request: pytest.FixtureRequest) -> Callable[..., Listening]:
    """Return what listens to a query until the test is over."""

    def begin(query: Query = ALL, **options: Any) -> Listening:
        listening = watched.listener.listen(query, **options)
        request.addfinalizer(listening.close)
        return listening

    return begin


def test_the_first_batch_has_all_documents(watched: Watched, listen: Callable[..., Listening]) -> None:
    """All documents come at first, with their fields, in one batch that is current."""
    create(watched, "a", "b", text="ä")
    batch = taken(listen())
    assert ids(batch.added) == ["a", "b"]
    assert batch.added[0].fields == {"n": 0, "text": "ä"}
    assert (list(batch.changed), list(batch.removed), batch.is_current) == ([], [], True)
    assert batch.read_time is not None


def test_the_first_batch_comes_without_documents(listen: Callable[..., Listening]) -> None:
    """A listener to nothing learns that there is nothing."""
    batch = taken(listen())
    assert (list(batch.added), batch.is_current) == ([], True)


def test_additions_changes_and_deletions_are_told_apart(watched: Watched, listen: Callable[..., Listening]) -> None:
    """Each kind of change is reported as what it is, and only the documents that changed."""
    create(watched, "a", "b")
    listening = listen()
    taken(listening)
    create(watched, "c")
    batch = taken(listening)
    assert (ids(batch.added), ids(batch.changed), list(batch.removed)) == (["c"], [], [])
    update(watched, "a", n=1)
    batch = taken(listening)
    assert (ids(batch.added), ids(batch.changed), list(batch.removed)) == ([], ["a"], [])
    assert batch.changed[0].fields["n"] == 1
    watched.delete("c/b")
    batch = taken(listening)
    assert (ids(batch.added), ids(batch.changed), list(batch.removed)) == ([], [], ["c/b"])


def test_a_listeners_version_guards_an_update(watched: Watched, listen: Callable[..., Listening]) -> None:
    """The version of a document that was listened to is the store's own."""
    create(watched, "a")
    document = taken(listen()).added[0]
    watched.store.commit([Update(path="c/a", fields={"n": 1}, guard=document.version)])
    assert watched.store.get(["c/a"])[0].fields["n"] == 1  # type: ignore[union-attr] # it exists


def test_a_document_comes_and_goes_with_the_filter(watched: Watched, listen: Callable[..., Listening]) -> None:
    """What falls out of the filter is removed, and what comes to match is added."""
    create(watched, "a", state="open")
    create(watched, "b", state="closed")
    listening = listen(OPEN)
    assert ids(taken(listening).added) == ["a"]
    update(watched, "a", state="closed")
    assert list(taken(listening).removed) == ["c/a"]
    update(watched, "b", state="open")
    assert ids(taken(listening).added) == ["b"]


def test_a_window_moves(watched: Watched, listen: Callable[..., Listening]) -> None:
    """A newer document pushes the oldest one out of the window, and a deletion lets it back in."""
    for number, name in enumerate("abc"):
        create(watched, name, n=number)
    listening = listen(NEWEST)
    assert ids(taken(listening).added) == ["b", "c"]
    create(watched, "d", n=3)
    batch = taken(listening)
    assert (ids(batch.added), list(batch.removed)) == (["d"], ["c/b"])
    watched.delete("c/d")
    batch = taken(listening)
    assert (ids(batch.added), list(batch.removed)) == (["b"], ["c/d"])


def test_documents_are_listened_to_by_path(watched: Watched) -> None:
    """A document may be missing at first, and be created and deleted later."""
    create(watched, "a")
    listening = watched.listener.listen_to(["c/a", "c/b"])
    assert ids(taken(listening).added) == ["a"]
    create(watched, "b", "other")
    assert ids(taken(listening).added) == ["b"]
    watched.delete("c/a")
    assert list(taken(listening).removed) == ["c/a"]
    listening.close()


def test_no_documents_cannot_be_listened_to(watched: Watched) -> None:
    """Whoever names no document has made a mistake."""
    with pytest.raises(ValueError, match="no document to listen to"):
        watched.listener.listen_to([])


def test_several_listeners_do_not_disturb_each_other(watched: Watched, listen: Callable[..., Listening]) -> None:
    """Each listener is told what concerns it, and another one's end does not matter."""
    create(watched, "a", state="open")
    views = [View(listen(query)) for query in (ALL, OPEN, NEWEST)]
    for view in views:
        view.until(lambda fields: len(fields) == 1)
    views[1].listening.close()
    create(watched, "b", state="closed")
    for view in (views[0], views[2]):
        view.until(lambda fields: len(fields) == 2)
    assert views[1].listening.take(0) is None


def test_a_commit_is_never_seen_in_part(watched: Watched, listen: Callable[..., Listening]) -> None:
    """Documents that are always changed together are together in every batch."""
    names = [f"d{number}" for number in range(20)]
    create(watched, *names)
    view = View(listen())
    view.until(lambda fields: len(fields) == len(names))

    def write() -> None:
        for number in range(1, 21):
            watched.store.commit([Update(path=f"c/{name}", fields={"n": number}) for name in names])

    writer = threading.Thread(target=write)
    writer.start()
    while {one["n"] for one in view.fields.values()} != {20}:
        view.apply(taken(view.listening))
        assert len({one["n"] for one in view.fields.values()}) == 1
    writer.join()


def test_whoever_takes_slowly_gets_the_newest_version(watched: Watched, listen: Callable[..., Listening]) -> None:
    """Changes that were not taken in time become one, and what came and went again is not reported."""
    create(watched, "a")
    listening = listen()
    taken(listening)
    other = listen()
    for number in range(1, 6):
        update(watched, "a", n=number)
    # Both listeners have a connection of their own. Whatever the first one has by then, the second one does not skip.
    View(other).until(lambda fields: bool(fields) and fields["c/a"]["n"] == 5)
    view = View(listening)
    view.fields["c/a"] = {"n": 0}
    view.until(lambda fields: fields["c/a"]["n"] == 5)


@pytest.mark.parametrize("name", ["ä ö", "日本語", "😀", "a%2Fb", "~places.train~1.0", "train[0]~2", "a'\"`\\"])
def test_any_id_can_be_listened_to(watched: Watched, listen: Callable[..., Listening], name: str) -> None:
    """Ids come back as they were written, in queries and by path."""
    create(watched, name)
    assert ids(taken(listen()).added) == [name]
    listening = watched.listener.listen_to([f"c/{name}"])
    assert ids(taken(listening).added) == [name]
    listening.close()


def test_a_bookmark_goes_on_where_it_was_made(watched: Watched, listen: Callable[..., Listening]) -> None:
    """Whoever comes back with a bookmark is told only what has changed meanwhile."""
    create(watched, *(f"d{number}" for number in range(50)))
    before = listen()
    assert before.bookmark() is None
    taken(before)
    mark = before.bookmark()
    before.close()
    update(watched, "d7", n=1)
    create(watched, "new")
    watched.delete("c/d8")
    after = listen(since=mark)
    batch = taken(after)
    assert (ids(batch.added), ids(batch.changed), list(batch.removed)) == (["new"], ["d7"], ["c/d8"])
    # The service bills two reads. Google's emulator sends all documents again.
    assert after.documents_read == (2 if watched.backend != "google" else 50)


def test_a_bookmark_without_changes_costs_nothing(watched: Watched, listen: Callable[..., Listening]) -> None:
    """A page that is opened again reads nothing if nothing has changed, and learns that it is current."""
    create(watched, "a", "b")
    before = listen(NEWEST)
    taken(before)
    after = listen(NEWEST, since=before.bookmark())
    batch = taken(after)
    assert (batch.added, batch.changed, batch.removed, batch.is_current) == ([], [], [], True)
    assert after.documents_read == (0 if watched.backend != "google" else 2)


@pytest.mark.parametrize("watched", ["in-process", "embedded"], indirect=True)
def test_a_bookmark_of_another_server_is_no_harm(watched: Watched, listen: Callable[..., Listening]) -> None:
    """With a token that the server does not know, all is read again, and only differences are reported."""
    create(watched, "a", "b")
    before = listen()
    taken(before)
    mark = before.bookmark()
    assert mark is not None
    update(watched, "a", n=1)
    after = listen(since=mark._replace(token=b"of another server"))
    batch = taken(after)
    assert (ids(batch.added), ids(batch.changed), list(batch.removed)) == ([], ["a"], [])
    assert after.documents_read == 2


@ON_SERVERS
def test_a_lost_connection_is_reported_and_made_again(
    watched: Watched, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is one batch with a sentence, and the return one with exactly what was missed."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", relay.address)
    listening = FirestoreListener(project=watched.project, database="(default)").listen(ALL)
    create(watched, "a", "b", "c")
    view = View(listening)
    view.until(lambda fields: len(fields) == 3)
    read = listening.documents_read
    relay.cut()
    lost = taken(listening)
    assert (lost.is_current, lost.added) == (False, [])
    assert "Firestore does not answer: 503 Socket closed" in lost.problem
    update(watched, "a", n=1)
    watched.delete("c/b")
    relay.mend()
    back = taken(listening)
    assert (back.is_current, ids(back.added), ids(back.changed), list(back.removed)) == (True, [], ["a"], ["c/b"])
    assert listening.documents_read - read == (1 if watched.backend != "google" else 2)
    listening.close()


@ON_SERVERS
def test_a_stream_is_opened_again_after_its_time(
    watched: Watched, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old stream is replaced without a word, and nothing is missed."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", relay.address)
    listener = FirestoreListener(project=watched.project, database="(default)", stream_s=2.0)
    listening = listener.listen(ALL)
    view = View(listening)
    create(watched, "a")
    view.until(lambda fields: bool(fields) and relay.opened > 1)
    update(watched, "a", n=1)
    view.until(lambda fields: fields["c/a"]["n"] == 1)
    listening.close()


def test_ten_thousand_documents(watched: Watched, listen: Callable[..., Listening]) -> None:
    """All steps of a large run come in one batch, and later changes alone."""
    for start in range(0, 10_000, 500):
        create(watched, *(f"{number:05}" for number in range(start, start + 500)), task="x" * 200)
    listening = listen()
    batch = taken(listening)
    assert len(batch.added) == 10_000
    assert listening.documents_read == 10_000
    update(watched, "00042", n=1)
    batch = taken(listening)
    assert (ids(batch.added), ids(batch.changed), list(batch.removed)) == ([], ["00042"], [])
    if watched.backend != "google":
        assert listening.documents_read == 10_001


def test_selected_fields_are_all_that_comes(watched: Watched, listen: Callable[..., Listening]) -> None:
    """The first documents and those that change have only the fields that the query selects."""
    create(watched, "a", "b", task="x" * 200)
    listening = listen(OUTLINES)
    batch = taken(listening)
    assert [dict(one.fields) for one in batch.added] == [{"n": 0}, {"n": 0}]
    # Google's emulator sends all documents again to whoever goes on from a time.
    assert listening.documents_read == (2 if watched.backend != "google" else 4)
    update(watched, "a", n=1)
    create(watched, "c", task="x")
    view = View(listening)
    view.fields = {one.path: one.fields for one in batch.added}
    view.until(lambda fields: len(fields) == 3 and fields["c/a"]["n"] == 1)
    assert view.fields == {"c/a": {"n": 1}, "c/b": {"n": 0}, "c/c": {"n": 0}}
    assert listening.documents_read == 4 or watched.backend == "google"
    watched.delete("c/b")
    view.until(lambda fields: len(fields) == 2)


def test_nothing_is_missed_between_the_first_read_and_the_stream(
    watched: Watched, listen: Callable[..., Listening]
) -> None:
    """Documents that change while the first ones are read are there in their newest version."""
    create(watched, "a", task="x")
    for number in range(1, 31):
        listening = listen(OUTLINES)
        update(watched, "a", n=number)
        view = View(listening)
        newest = {"c/a": {"n": number}}
        view.until(newest.__eq__)
        listening.close()


def test_selected_fields_go_on_from_a_bookmark(watched: Watched, listen: Callable[..., Listening]) -> None:
    """Whoever comes back reads only what has changed, with the same fields."""
    create(watched, *(f"d{number}" for number in range(50)), task="x")
    before = listen(OUTLINES)
    taken(before)
    mark = before.bookmark()
    before.close()
    update(watched, "d7", n=1)
    after = listen(OUTLINES, since=mark)
    batch = taken(after)
    assert (ids(batch.added), ids(batch.changed), dict(batch.changed[0].fields)) == ([], ["d7"], {"n": 1})
    assert after.documents_read == (1 if watched.backend != "google" else 50)


def test_a_window_of_selected_fields_moves(watched: Watched, listen: Callable[..., Listening]) -> None:
    """A limit holds for the documents that are read first and for those that come."""
    for number, name in enumerate("abc"):
        create(watched, name, n=number, task="x")
    listening = listen(replace(NEWEST, fields=("n",)))
    assert ids(taken(listening).added) == ["b", "c"]
    create(watched, "d", n=3, task="x")
    batch = taken(listening)
    assert (ids(batch.added), dict(batch.added[0].fields), list(batch.removed)) == (["d"], {"n": 3}, ["c/b"])


def test_many_documents_are_read_in_pages(watched: Watched, listen: Callable[..., Listening]) -> None:
    """All outlines of a large run come in one batch, which reads each of them once."""
    for start in range(0, 5_000, 500):
        create(watched, *(f"{number:05}" for number in range(start, start + 500)), task="x" * 200)
    listening = listen(OUTLINES)
    batch = taken(listening)
    assert len(batch.added) == 5_000
    assert listening.documents_read == 5_000 or watched.backend == "google"


def test_closing_twice_is_no_error(watched: Watched, listen: Callable[..., Listening]) -> None:
    """A closed listener returns nothing at once, even to someone who waits."""
    create(watched, "a")
    listening = listen()
    taken(listening)
    results: list[Batch | None] = []
    waiting = threading.Thread(target=lambda: results.append(listening.take(WAIT_S)))
    waiting.start()
    listening.close()
    waiting.join(WAIT_S)
    listening.close()
    assert results == [None]
    assert listening.take(WAIT_S) is None


@pytest.mark.parametrize(
    "status", ["PERMISSION_DENIED", "FAILED_PRECONDITION", "NOT_FOUND", "UNIMPLEMENTED", "UNAUTHENTICATED"]
)
def test_a_refusal_ends_it_with_a_sentence(refusing: Refusing, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """What will not change by itself is raised by every call, in the service's words."""
    refusing.code, refusing.text = grpc.StatusCode[status], "what the service says"
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", refusing.address)
    listening = FirestoreListener(project="p", database="(default)").listen(ALL)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"Firestore refused to listen: .*what the service says"):
            listening.take(WAIT_S)
    listening.close()


def test_a_missing_permission_is_explained(refusing: Refusing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who may not read is told which role is missing."""
    refusing.code, refusing.text = grpc.StatusCode.PERMISSION_DENIED, "Missing or insufficient permissions."
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", refusing.address)
    listening = FirestoreListener(project="p", database="(default)").listen(ALL)
    with pytest.raises(StoreError) as caught:
        listening.take(WAIT_S)
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST")
    assert "Your account needs roles/datastore" in (explain(caught.value) or "")
    listening.close()


def test_an_unreachable_server_is_reported_once(refusing_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a server that is not there gets one batch that says so."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", refusing_address)
    listening = FirestoreListener(project="p", database="(default)").listen(ALL)
    batch = taken(listening)
    assert batch.problem.startswith("Firestore does not answer: 503")
    assert batch.read_time is None
    assert listening.take(1.0) is None
    assert listening.bookmark() is None
    listening.close()
