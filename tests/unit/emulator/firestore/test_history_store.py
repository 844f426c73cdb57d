"""The store on a history that no platform has open: it answers like a server's, and reads little for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from atom_emulator.firestore.database import Database
from atom_emulator.firestore.history import History
from atom_emulator.firestore.history_store import HistoryStore
from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.ports import Create, Query

NAMED = "projects/p/databases/(default)"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
_TIMES: list[Any] = [NOW + timedelta(minutes=n % 7) for n in range(40)]
# What no coordinator writes: another type, no value, a time before 1970, and the words of the text.
_TIMES[3:9] = ["late", None, datetime(1960, 1, 1, tzinfo=UTC), '"created_at":{"":["time",5]}', 7, ["a"]]


def refuse() -> NoReturn:
    """Fail the test that writes."""
    raise AssertionError


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of rows that each statement returns is added."""
    found: list[int] = []
    read = History.rows

    def rows(self: History, *words: Any) -> list[tuple[Any, ...]]:
        result = read(self, *words)
        found.append(len(result))
        return result

    monkeypatch.setattr(History, "rows", rows)
    return found


def store_on(file: Path) -> HistoryStore:
    """Return a store on the file."""
    return HistoryStore(file, database=NAMED, refuse=refuse)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Path, MemoryStore]]:
    """Return a file with runs and steps, and a store that has the same in memory."""
    file = tmp_path / "history.db"
    with closing(History(file)) as history:
        store = MemoryStore(database=Database(lambda: NOW, history.database(NAMED)))
        store.commit([Create(path=f"runs/r{n}", fields={"n": n, "created_at": at}) for n, at in enumerate(_TIMES)])
        store.commit([Create(path="runs/none", fields={"n": -1}), Create(path="other/o", fields={"created_at": NOW})])
        store.commit([Create(path=f"runs/r1/steps/s{n}", fields={"created_at": NOW, "n": n}) for n in range(30)])
        yield file, store


_LATER = NOW + timedelta(minutes=3)
_RECENT: Any = [("created_at", ">=", _LATER)]
_NEWEST: Any = [("created_at", "descending")]
_OLDEST: Any = [("created_at", "ascending")]


@pytest.mark.parametrize(
    "query",
    [
        Query(collection="runs"),
        Query(collection="runs", limit=7),
        Query(collection="runs", limit=7, after=["runs/r2"]),
        Query(collection="runs", limit=1_000, fields=["n"]),
        Query(collection="runs", limit=3, where=[("n", "in", [5, 30, 31, 32])]),
        Query(collection="runs", limit=5, where=[("n", ">", 5)]),
        Query(collection="runs", order_by=_NEWEST),
        Query(collection="runs", order_by=_NEWEST, limit=9),
        Query(collection="runs", order_by=_NEWEST, limit=100, fields=["created_at"]),
        Query(collection="runs", order_by=_NEWEST, limit=9, after=[_LATER, "runs/r17"]),
        Query(collection="runs", order_by=_OLDEST, limit=9),
        Query(collection="runs", order_by=_OLDEST, limit=9, after=[_LATER, "runs/r17"]),
        Query(collection="runs", order_by=_OLDEST, limit=9, after=["late", "runs/r3"]),
        Query(collection="runs", order_by=_NEWEST, limit=4, where=_RECENT),
        Query(collection="runs", order_by=_OLDEST, limit=4, where=_RECENT),
        Query(collection="runs", order_by=[("n", "descending")], limit=4),
        Query(collection="runs/r1/steps", order_by=_NEWEST, limit=4),
        Query(collection="steps", group=True, where=[("n", "<", 4)], limit=3),
        Query(collection="none"),
    ],
)
def test_any_query_is_answered_as_by_a_server(both: tuple[Path, MemoryStore], query: Query) -> None:
    """Whatever is read of the file, the documents, their order and their number are those of a server."""
    file, server = both
    own = store_on(file)
    assert [(one.path, one.fields, one.version) for one in own.query(query)] == [
        (one.path, one.fields, one.version) for one in server.query(query)
    ]
    assert own.count(query) == server.count(query)


def test_a_history_without_an_index_is_read_all_the_same(both: tuple[Path, MemoryStore]) -> None:
    """A file that an earlier version made lists its runs, and gets the index once a platform opens it."""
    file, server = both
    query = Query(collection="runs", order_by=_NEWEST, limit=9)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP INDEX runs_by_time")
        assert store_on(file).query(query) == server.query(query)
        History(file).close()
        assert connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'").fetchall() == [
            ("runs_by_time",)
        ]


def test_the_newest_runs_are_found_without_the_others(tmp_path: Path, rows: list[int]) -> None:
    """A page of the newest of any number of runs reads that page, and counting them reads no document."""
    file = tmp_path / "history.db"
    with closing(History(file)) as history:
        store = MemoryStore(database=Database(lambda: NOW, history.database(NAMED)))
        for start in range(0, 3_000, 500):
            runs = [(n, NOW + timedelta(seconds=n)) for n in range(start, start + 500)]
            store.commit([Create(path=f"runs/r{n}", fields={"created_at": at}) for n, at in runs])
    own = store_on(file)
    rows.clear()
    newest = own.query(Query(collection="runs", order_by=_NEWEST, limit=20))
    assert [one.path for one in newest] == [f"runs/r{n}" for n in range(2_999, 2_979, -1)]
    assert own.count(Query(collection="runs")) == 3_000
    assert sum(rows) == 20 + 1


def test_pages_of_a_collection_read_each_document_once(tmp_path: Path, rows: list[int]) -> None:
    """Reading a collection page by page looks at no document twice."""
    file = tmp_path / "history.db"
    with closing(History(file)) as history:
        store = MemoryStore(database=Database(lambda: NOW, history.database(NAMED)))
        for start in range(0, 5_000, 500):
            store.commit([Create(path=f"runs/r/steps/s{n}", fields={}) for n in range(start, start + 500)])
    own, seen = store_on(file), list[str]()
    rows.clear()
    while page := own.query(Query(collection="runs/r/steps", limit=2_000, after=seen[-1:] or None)):
        seen += [one.path for one in page]
    assert len(set(seen)) == len(seen) == 5_000
    assert sum(rows) == 5_000
