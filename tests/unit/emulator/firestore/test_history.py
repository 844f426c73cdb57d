"""Documents that are kept in a file: what comes back, and what happens if the file cannot be used."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom_emulator.firestore import history as firestore_history
from atom_emulator.firestore import messages as pb
from atom_emulator.firestore.database import Database
from atom_emulator.firestore.errors import Unavailable
from atom_emulator.firestore.history import HISTORY, History
from atom_emulator.firestore.paths import NAME
from atom_emulator.firestore.queries import Compare, Op, Order, Query
from atom_emulator.firestore.server import FirestoreServer
from atom_emulator.firestore.stored_fields import decode_stored, encode_stored
from atom_emulator.firestore.values import GeoPoint, Reference, identical
from atom_emulator.firestore.writes import ABSENT, Precondition, Put, Remove
from atom_emulator.sqlite_file import SqliteFileError

NAMED = "projects/p/databases/(default)"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file that does not exist yet."""
    return tmp_path / "history.db"


@contextmanager
def opened(file: Path, now: Callable[[], datetime] = lambda: NOW, **options: bool) -> Iterator[Database]:
    """Open the file's database."""
    with closing(History(file, **options)) as history:
        yield Database(now, history.database(NAMED))


def contents(file: Path) -> dict[str, Any]:
    """Return the fields of every document in the file."""
    with opened(file) as database:
        found, _ = database.query(Query(collection=None))
        return {record.path: record.fields for record in found}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.builds(Reference, st.just(NAMED), st.just("a/b"))
    | st.builds(GeoPoint, st.floats(-90, 90), st.floats(-180, 180)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=4))
def test_every_value_comes_back(fields: dict[str, Any]) -> None:
    """A document's fields are the same after they were written as text and read again, in value and type."""
    assert identical(decode_stored("a/b", encode_stored(fields)), fields)


def test_documents_outlive_the_database(file: Path) -> None:
    """What was written, changed and deleted is the same for the next process, as are times, queries and versions."""
    with opened(file) as database:
        database.commit([Put(path=f"runs/{name}", fields={"n": name, "at": NOW}) for name in "abc"])
        database.commit([Put(path="runs/b", fields={"n": "z"}, mask=(("n",),)), Remove(path="runs/c")])
        (before,), _ = database.get(["runs/b"])
    with opened(file) as database:
        (after, gone), _ = database.get(["runs/b", "runs/c"])
        assert gone is None
        assert before is not None
        assert after is not None
        assert (after.fields, after.created, after.updated) == (before.fields, before.created, before.updated)
        found, _ = database.query(Query(collection="runs", order_by=(Order(("n",), descending=True),)))
        assert [record.path for record in found] == ["runs/b", "runs/a"]
        database.commit([Put(path="runs/b", fields={"n": 1}, precondition=Precondition(updated=before.updated))])


def test_commit_times_never_go_back(file: Path) -> None:
    """A commit is later than every commit before it, even if the clock was set back before a restart."""
    with opened(file) as database:
        database.commit([Put(path="runs/a")])
        last = database.commit([Remove(path="runs/a")]).time
    with opened(file, lambda: datetime(2020, 1, 1, tzinfo=UTC)) as database:
        assert database.commit([Put(path="runs/a")]).time > last
        last = database.commit([Put(path="runs/b")]).time
    with opened(file, lambda: datetime(2020, 1, 1, tzinfo=UTC)) as database:
        assert database.commit([Put(path="runs/c")]).time > last


def test_databases_are_kept_apart(file: Path) -> None:
    """Two databases of a server may have documents of the same name."""
    with closing(History(file)) as history:
        for name in ("one", "other"):
            Database(lambda: NOW, history.database(name)).commit([Put(path="runs/a", fields={"of": name})])
    with closing(History(file)) as history:
        (record,), _ = Database(lambda: NOW, history.database("one")).get(["runs/a"])
    assert record is not None
    assert record.fields == {"of": "one"}


def test_many_documents_are_found_by_an_index(file: Path) -> None:
    """A query of documents that were read from the file may use an index, and so may a change of one of them."""
    with opened(file) as database:
        database.commit([Put(path=f"runs/{n}", fields={"n": n}) for n in range(100)])
    with opened(file) as database:
        query = Query(collection="runs", where=Compare(("n",), Op.AT_LEAST, 98), order_by=(Order(NAME),))
        assert [record.path for record in database.query(query)[0]] == ["runs/98", "runs/99"]
        database.commit([Put(path="runs/98", fields={"n": 0})])
        assert [record.path for record in database.query(query)[0]] == ["runs/99"]


def test_a_fresh_start_keeps_only_runs(file: Path) -> None:
    """A database that begins afresh sees nothing of what was there, and adds only the documents of its runs."""
    with opened(file) as database:
        database.commit([Put(path="runs/old"), Put(path="control/checker", fields={"until": 1})])
    with opened(file, afresh=True) as database:
        database.commit([Put(path="control/checker", fields={"until": 2}, precondition=ABSENT), Put(path="runs/new")])
        assert database.get(["runs/old"])[0] == [None]
    assert contents(file) == {"runs/old": {}, "runs/new": {}, "control/checker": {"until": 1}}


def test_a_commit_of_any_size_is_kept(file: Path) -> None:
    """A commit may write and delete thousands of documents."""
    with opened(file) as database:
        database.commit([Put(path=f"runs/{n}", fields={"n": n}) for n in range(12_000)])
        database.commit([Remove(path=f"runs/{n}") for n in range(1, 12_000)])
    assert contents(file) == {"runs/0": {"n": 0}}


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """Let no file grow beyond the size that this one has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(one.stat().st_size for one in file.parent.glob(f"{file.name}*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_cannot_be_kept_changes_nothing(file: Path) -> None:
    """On a full disk, a commit is refused, memory and file stay as they were, and later commits succeed again."""
    text = {"text": "x" * 500_000}
    with opened(file) as database:
        database.commit([Put(path="runs/a", fields={"n": 1})])
        with full_disk(file), pytest.raises(Unavailable, match="its disk reports an error, or is full"):
            database.commit([Put(path="runs/a", fields={"n": 2}), Put(path="runs/b", fields=text)])
        assert database.get(["runs/b"])[0] == [None]
        (kept,), _ = database.get(["runs/a"])
        assert kept is not None
        assert kept.fields == {"n": 1}
        assert contents(file) == {"runs/a": {"n": 1}}
        database.commit([Put(path="runs/b", fields=text)])
    assert contents(file) == {"runs/a": {"n": 1}, "runs/b": text}


def test_a_full_disk_is_unavailable_to_a_client(file: Path) -> None:
    """A client is answered UNAVAILABLE with a sentence if its commit cannot be kept."""
    with closing(History(file)) as history:
        server = FirestoreServer(history=history)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            commit = channel.unary_unary(
                "/google.firestore.v1.Firestore/Commit",
                request_serializer=pb.CommitRequest.SerializeToString,
                response_deserializer=pb.CommitResponse.FromString,
            )
            request = pb.CommitRequest(database=NAMED)
            request.writes.add().update.name = f"{NAMED}/documents/runs/a"
            commit(request, timeout=60)
            request.writes[0].update.fields["text"].string_value = "x" * 900_000
            with full_disk(file), pytest.raises(grpc.RpcError) as refused:
                commit(request, timeout=60)
        server.stop()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert str(file) in (refused.value.details() or "")


@pytest.mark.parametrize("damage", ["text", "page", "truncated"])
def test_a_damaged_file_is_refused(file: Path, damage: str) -> None:
    """A file that is not whole is named with what is wrong with it, and is left as it is."""
    with opened(file) as database:
        database.commit([Put(path=f"runs/{n}", fields={"text": "x" * 1000}) for n in range(100)])
    content = file.read_bytes()
    broken = {"text": b"hello " * 5000, "page": content[:8192] + b"\xff" * 4096 + content[12288:]}
    file.write_bytes(broken.get(damage, content[: len(content) // 2]))
    left = file.read_bytes()
    with pytest.raises(SqliteFileError, match="is damaged"), closing(History(file)) as history:
        history.check()
    assert file.read_bytes() == left


def test_a_damaged_document_is_named(file: Path) -> None:
    """A document whose text was changed by hand is named when it is read."""
    with opened(file) as database:
        database.commit([Put(path="runs/a", fields={"n": 1})])
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("""UPDATE documents SET fields = '{"n":'""")
        connection.commit()
    with opened(file) as database, pytest.raises(Unavailable, match="runs/a is damaged"):
        database.query(Query(collection="runs", where=Compare(("n",), Op.EQUAL, 1)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"PRAGMA user_version = {HISTORY.version + 1}", "has format 2, but this version of atom-workflows reads only"),
        ("PRAGMA application_id = 7", "not an atom-workflows history"),
    ],
)
def test_a_foreign_file_is_refused(file: Path, change: str, said: str) -> None:
    """A file in another format, or of another program, is not touched."""
    with closing(History(file)), closing(sqlite3.connect(file)) as connection:
        connection.execute(change)
    with pytest.raises(SqliteFileError, match=said):
        History(file)


def test_what_a_refused_file_says_tells_what_to_do(file: Path) -> None:
    """Each reason why a file cannot be used comes with a way out, whoever opens it."""
    file.mkdir()
    for read_only in (False, True):
        with pytest.raises(SqliteFileError, match=r"it is a folder; to start a new one, move this one elsewhere"):
            History(file, read_only=read_only)
    file.rmdir()
    file.write_bytes(b"hello " * 5000)
    with pytest.raises(SqliteFileError, match=r"it is damaged.*; to start a new one, move this one elsewhere"):
        History(file, read_only=True)
    with pytest.raises(SqliteFileError, match=r"no such file or directory; work in another folder"):
        History(file.parent / "none" / "history.db")


@pytest.mark.parametrize("begun", [False, True])
def test_a_file_whose_creation_was_cut_short_has_no_documents(file: Path, *, begun: bool) -> None:
    """A process that dies while it creates the file leaves one that is read as an empty one, and then used."""
    file.touch()
    if begun:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    left = file.read_bytes()
    with opened(file, read_only=True) as database:
        assert database.query(Query(collection="runs"))[0] == []
    assert file.read_bytes() == left
    with opened(file) as database:
        database.commit([Put(path="runs/a")])
    assert set(contents(file)) == {"runs/a"}


def test_no_one_else_can_read_the_file(file: Path) -> None:
    """The file and its log are the owner's alone, since they contain what jobs were given."""
    with opened(file) as database:
        database.commit([Put(path="runs/a")])
        assert {one.stat().st_mode & 0o777 for one in file.parent.glob(f"{file.name}*")} == {0o600}


_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from atom_emulator.firestore.database import Database
from atom_emulator.firestore.history import History
from atom_emulator.firestore.writes import Put
database = Database(lambda: datetime.now(UTC), History(Path(sys.argv[1])).database(sys.argv[2]))
number = 0
while True:
    number += 1
    database.commit([Put(path=f"runs/{name}", fields={"n": number, "text": "x" * 3000}) for name in "ab"])
    print(number, flush=True)
"""


@pytest.mark.parametrize("commits", [1, 40, 400])
def test_an_acknowledged_commit_survives_a_kill(file: Path, commits: int) -> None:
    """What was acknowledged before SIGKILL is there afterwards, and no commit is there in part."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, file, NAMED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == commits:
            os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    found = contents(file)
    assert found["runs/a"] == found["runs/b"]
    assert found["runs/a"]["n"] in {acknowledged, acknowledged + 1}


def test_a_query_decodes_each_document_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many fields a query selects, a document of the history is decoded once for it."""
    with opened(file) as database:
        database.commit([Put(path="a/b", fields={"x": 1, "y": 2, "z": {"w": 3}})])
    decoded: list[str] = []

    def counted(path: str, text: str) -> dict[str, Any]:
        decoded.append(path)
        return decode_stored(path, text)

    monkeypatch.setattr(firestore_history, "decode_stored", counted)
    with opened(file) as database:
        found, _ = database.query(Query(collection="a", select=(("x",), ("y",), ("z", "w"), ("none",))))
    assert ([record.fields for record in found], decoded) == ([{"x": 1, "y": 2, "z": {"w": 3}}], ["a/b"])
