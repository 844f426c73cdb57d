"""Transactions: snapshots, conflicts, phantoms, expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from atom_emulator.firestore.errors import Aborted, InvalidArgument
from atom_emulator.firestore.queries import Compare, Op, Query
from atom_emulator.firestore.writes import Put, Record, Remove

if TYPE_CHECKING:
    from collections.abc import Callable

    from atom_emulator.firestore.database import Database

READY = Query(collection="steps", group=True, where=Compare(("state",), Op.EQUAL, "READY"))


def step(run: str, state: str) -> Put:
    """Build the write of one step."""
    return Put(path=f"runs/{run}/steps/s", fields={"state": state})


def paths(found: tuple[list[Record], int]) -> list[str]:
    """Return the paths that a query found."""
    return [record.path for record in found[0]]


def test_a_changed_read_aborts(database: Database) -> None:
    """A transaction aborts if another one changed what it read."""
    database.commit([step("a", "READY")])
    one = database.begin()
    database.get(["runs/a/steps/s"], one)
    database.commit([step("a", "DONE")])
    with pytest.raises(Aborted):
        database.commit([step("b", "READY")], one)
    assert database.get(["runs/b/steps/s"])[0] == [None]


def test_a_missing_document_that_appears_aborts(database: Database) -> None:
    """Having read that a document is missing counts as reading it."""
    one = database.begin()
    database.get(["runs/a/steps/s"], one)
    database.commit([step("a", "READY")])
    with pytest.raises(Aborted):
        database.commit([step("a", "DONE")], one)


def test_a_deleted_read_aborts(database: Database) -> None:
    """A document that was read and then deleted makes the commit abort."""
    database.commit([step("a", "READY")])
    one = database.begin()
    database.get(["runs/a/steps/s"], one)
    database.commit([Remove(path="runs/a/steps/s")])
    with pytest.raises(Aborted):
        database.commit([step("b", "READY")], one)


def test_what_was_not_read_does_not_matter(database: Database) -> None:
    """Others may write what the transaction has not read."""
    database.commit([step("a", "READY")])
    one = database.begin()
    database.get(["runs/a/steps/s"], one)
    database.commit([step("b", "READY")])
    database.commit([step("b", "DONE")], one)
    assert paths(database.query(READY)) == ["runs/a/steps/s"]


def test_a_write_that_changes_nothing_aborts_no_transaction(database: Database) -> None:
    """Writing the same fields again is no conflict."""
    database.commit([step("a", "READY")])
    one = database.begin()
    database.get(["runs/a/steps/s"], one)
    database.commit([step("a", "READY")])
    database.commit([step("a", "DONE")], one)


@pytest.mark.parametrize(
    ("other", "aborts"),
    [
        (step("new", "READY"), True),
        (step("a", "DONE"), True),
        (Remove(path="runs/a/steps/s"), True),
        (step("new", "DONE"), False),
        (Put(path="else/where", fields={"state": "READY"}), False),
    ],
)
def test_a_query_is_a_read(database: Database, other: Put | Remove, aborts: bool) -> None:  # noqa: FBT001 - a row
    """A transaction aborts if one of its queries would now answer differently."""
    database.commit([step("a", "READY")])
    one = database.begin()
    database.query(READY, one)
    database.commit([other])
    if not aborts:
        database.commit([step("c", "READY")], one)
        return
    with pytest.raises(Aborted):
        database.commit([step("c", "READY")], one)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_transaction_reads_its_snapshot(database: Database, read_only: bool) -> None:  # noqa: FBT001 - a row
    """Commits after a transaction's beginning are not visible in it."""
    database.commit([step("a", "READY"), step("gone", "READY")])
    one = database.begin(read_only=read_only)
    database.commit([step("a", "DONE"), step("new", "READY"), Remove(path="runs/gone/steps/s")])
    assert paths(database.query(READY, one)) == ["runs/a/steps/s", "runs/gone/steps/s"]
    records, _ = database.get(["runs/a/steps/s", "runs/new/steps/s", "runs/gone/steps/s"], one)
    assert [record and record.fields["state"] for record in records] == ["READY", None, "READY"]


def test_a_read_only_transaction_never_aborts_and_never_writes(database: Database) -> None:
    """A read-only transaction never aborts and refuses writes."""
    one, two = database.begin(read_only=True), database.begin(read_only=True)
    database.get(["runs/a/steps/s"], one)
    database.commit([step("a", "READY")])
    database.commit([], one)
    with pytest.raises(InvalidArgument, match="read-only"):
        database.commit([step("a", "DONE")], two)


def test_a_closed_transaction_is_gone(database: Database) -> None:
    """A closed or unknown transaction cannot be used."""
    done, rolled = database.begin(), database.begin()
    database.commit([step("a", "READY")], done)
    database.rollback(rolled)
    for identity in (done, rolled, b"made-up"):
        with pytest.raises(InvalidArgument, match="invalid or closed"):
            database.commit([], identity)
        with pytest.raises(InvalidArgument):
            database.get(["a/b"], identity)
        with pytest.raises(InvalidArgument):
            database.rollback(identity)


def test_an_idle_transaction_expires(database: Database, advance: Callable[[float], None]) -> None:
    """A transaction is closed after a minute without use."""
    one = database.begin()
    for _ in range(4):
        advance(50)
        database.get(["a/b"], one)
    advance(61)
    with pytest.raises(InvalidArgument):
        database.get(["a/b"], one)


def test_a_transaction_expires_in_any_case(database: Database, advance: Callable[[float], None]) -> None:
    """After 270 seconds a transaction is closed, however busy."""
    one = database.begin()
    for _ in range(5):
        advance(50)
        database.get(["a/b"], one)
    advance(50)
    with pytest.raises(InvalidArgument):
        database.get(["a/b"], one)
