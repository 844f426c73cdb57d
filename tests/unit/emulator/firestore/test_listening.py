"""Listeners on the database: what each look reports adds up to what a query finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom_emulator.firestore.database import Database
from atom_emulator.firestore.errors import InvalidArgument, Unavailable
from atom_emulator.firestore.listening import (
    MOST_DELETED,
    Changes,
    DocumentsTarget,
    Listener,
    QueryTarget,
    ResumePoint,
    Target,
    decode_token,
)
from atom_emulator.firestore.paths import NAME
from atom_emulator.firestore.queries import Compare, Cursor, Op, Order, Query
from atom_emulator.firestore.writes import Put, Remove

FILTERED = Query(collection="c", where=Compare(("n",), Op.AT_LEAST, 2))
WINDOW = Query(collection="c", order_by=(Order(("n",), descending=True),), limit=2)
QUERIES = {
    "a filter": FILTERED,
    "a group": Query(collection="c", group=True),
    "a window": WINDOW,
    "an offset": Query(collection="c", order_by=(Order(("n",)),), offset=1),
    "a cursor": Query(collection="c", order_by=(Order(("n",)),), start=Cursor((1,), before=False)),
}
PATHS = ("c/a", "c/b", "c/c", "c/a/c/x", "other/a")


class Client:
    """Listens to one target, and applies what it is told to what it knows."""

    def __init__(self, database: Database, target: Target, since: ResumePoint | int | None = None) -> None:
        self.database, self.target = database, target
        self.known: dict[str, int] = {}
        self.woken = 0
        self.listener = Listener(self._wake)
        database.listen(self.listener, 1, target, since)
        self.point = ResumePoint("", 0)

    def _wake(self) -> None:
        self.woken += 1

    def look(self) -> Changes:
        """Look, and return what was reported."""
        looked, self.point = self.database.look(self.listener)
        changes = looked.get(1, Changes())
        if changes.is_reset:
            self.known.clear()
        for path in (*changes.left, *changes.deleted):
            self.known.pop(path, None)
        self.known |= {record.path: record.updated for record in changes.shown}
        return changes

    def resume(self) -> Client:
        """Return another listener that knows what this one knows."""
        self.database.stop_listening(self.listener)
        other = Client(self.database, self.target, decode_token(self.point.encode()))
        other.known = dict(self.known)
        return other


def write(database: Database, **numbers: int) -> None:
    """Write documents of the collection `c` in one commit."""
    database.commit([Put(path=f"c/{name}", fields={"n": number}) for name, number in numbers.items()])


def paths(changes: Changes) -> list[str]:
    """Return the paths of the documents that were shown."""
    return [record.path for record in changes.shown]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(PATHS), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.sampled_from(PATHS), st.just(0)),
        st.tuples(st.sampled_from(["look", "resume"]), st.just(""), st.just(0)),
    ),
    max_size=30,
)


@pytest.mark.parametrize("name", QUERIES)
@given(operations=OPERATIONS)
def test_what_is_reported_adds_up_to_what_the_query_finds(
    name: str, operations: Sequence[tuple[str, str, int]]
) -> None:
    """After each look, also of one that resumed, a listener knows the query's result."""
    database = Database(lambda: datetime(2030, 1, 1, tzinfo=UTC))
    query = QUERIES[name]
    client = Client(database, QueryTarget(query))
    client.look()
    for kind, path, number in operations:
        if kind == "put":
            database.commit([Put(path=path, fields={"n": number})])
        elif kind == "delete":
            database.commit([Remove(path=path)])
        else:
            client = client.resume() if kind == "resume" else client
            client.look()
            assert client.known == {one.path: one.updated for one in database.query(query)[0]}
    client = client.resume()
    client.look()
    assert client.known == {one.path: one.updated for one in database.query(query)[0]}


def test_a_document_that_no_longer_matches_has_left(database: Database) -> None:
    """A document that falls out of the filter is reported as left, and not as deleted."""
    write(database, a=2, b=2)
    client = Client(database, QueryTarget(FILTERED))
    client.look()
    write(database, a=1)
    database.commit([Remove(path="c/b")])
    changes = client.look()
    assert (list(changes.shown), list(changes.left), list(changes.deleted)) == ([], ["c/a"], ["c/b"])


def test_a_missing_document_is_reported_at_first(database: Database) -> None:
    """A listener to a document learns at once that it does not exist, and later that it does."""
    client = Client(database, DocumentsTarget(["c/a"]))
    assert list(client.look().deleted) == ["c/a"]
    write(database, a=1)
    assert paths(client.look()) == ["c/a"]


def test_changes_of_one_commit_are_reported_together(database: Database) -> None:
    """No look shows half of a commit, and several commits become one look."""
    client = Client(database, QueryTarget(FILTERED))
    client.look()
    write(database, a=2, b=3)
    write(database, a=5)
    assert sorted(paths(client.look())) == ["c/a", "c/b"]
    assert paths(client.look()) == []


def test_a_listener_is_woken_for_its_own_documents_alone(database: Database) -> None:
    """A commit elsewhere does not wake a listener."""
    client = Client(database, QueryTarget(FILTERED))
    client.look()
    database.commit([Put(path="other/a", fields={"n": 2})])
    assert client.woken == 0
    write(database, a=2)
    assert client.woken == 1


def test_whoever_has_gone_is_forgotten(database: Database) -> None:
    """A listener that has gone is woken no more, and may go twice."""
    client = Client(database, QueryTarget(FILTERED))
    client.look()
    for _ in range(2):
        database.stop_listening(client.listener)
    write(database, a=2)
    assert client.woken == 0


def test_who_resumes_is_shown_only_what_has_changed(database: Database) -> None:
    """Of many documents, one that resumes reads those that changed after it left."""
    database.commit([Put(path=f"c/{number}", fields={"n": 2}) for number in range(100)])
    client = Client(database, QueryTarget(FILTERED))
    assert len(client.look().shown) == 100
    database.stop_listening(client.listener)
    database.commit([Put(path="c/7", fields={"n": 3}), Remove(path="c/8"), Put(path="c/9", fields={"n": 0})])
    changes = client.resume().look()
    assert (paths(changes), list(changes.left), list(changes.deleted)) == (["c/7"], ["c/9"], ["c/8"])
    assert not changes.is_reset


def test_an_unchanged_window_is_not_read_again(database: Database) -> None:
    """Who resumes a window of the newest documents reads nothing if none has changed."""
    write(database, a=1, b=2, c=3)
    client = Client(database, QueryTarget(WINDOW))
    client.look()
    assert client.resume().look() == Changes()


def test_a_time_can_be_resumed_from(database: Database) -> None:
    """A read time, as the protocol allows, resumes like a token of that moment."""
    write(database, a=2)
    time = database.query(FILTERED)[1]
    write(database, b=2)
    assert paths(Client(database, QueryTarget(FILTERED), time).look()) == ["c/b"]


@pytest.mark.parametrize("token", [b"", b"junk", b"\xff.1", b"other.1", b".99999999999999999999999"])
def test_a_token_from_elsewhere_begins_anew(database: Database, token: bytes) -> None:
    """A token of another process, or of none, voids what was shown before."""
    write(database, a=2)
    changes = Client(database, QueryTarget(FILTERED), decode_token(token)).look()
    assert changes.is_reset
    assert paths(changes) == ["c/a"]


def test_a_time_that_is_still_to_come_begins_anew(database: Database, advance: Callable[[float], None]) -> None:
    """Nobody can know documents of the future, so such a time voids what was shown before."""
    advance(100)
    time = database.query(FILTERED)[1] + 1
    advance(-50)
    assert Client(database, QueryTarget(FILTERED), time).look().is_reset


def test_too_many_deletions_begin_anew(database: Database) -> None:
    """Who resumes from before the deletions that are remembered is shown everything."""
    write(database, a=2)
    client = Client(database, QueryTarget(FILTERED))
    client.look()
    gone = [f"other/{number}" for number in range(MOST_DELETED + 1)]
    database.commit([Put(path=path) for path in gone])
    database.commit([Remove(path=path) for path in gone])
    client = client.resume()
    assert client.look().is_reset
    assert client.known.keys() == {"c/a"}


def test_a_slow_listener_is_dropped(database: Database) -> None:
    """A listener for which too many documents wait is refused with what to do, and holds none of them."""
    listener = Listener(lambda: None, most_touched=2)
    database.listen(listener, 1, QueryTarget(FILTERED))
    database.look(listener)
    write(database, a=2, b=2, c=2)
    with pytest.raises(Unavailable, match=r"more than 2 changed documents wait for it\. Connect again and resume"):
        database.look(listener)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"select": (("n",),)}, "'select' clauses are not supported"),
        ({"where": Compare(("n",), Op.IN, [])}, "non-empty array"),
        ({"limit": -1}, "must not be negative"),
        ({"start": Cursor((1, 2, 3), before=True)}, "cursor"),
        ({"where": Compare(NAME, Op.EQUAL, "a")}, "must be a Key"),
    ],
)
def test_a_query_that_cannot_be_listened_to_is_refused(query: dict[str, Any], message: str) -> None:
    """A target is refused when it is added, and not when the first document is written."""
    with pytest.raises(InvalidArgument, match=message):
        QueryTarget(Query(collection="c", **query))
