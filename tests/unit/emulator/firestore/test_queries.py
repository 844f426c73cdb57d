"""Queries: scope, filters, order, cursors, and that an index never changes an answer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from atom_emulator.firestore.aggregation import Aggregation, AggregationKind
from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.paths import NAME
from atom_emulator.firestore.queries import All, Compare, Cursor, Either, Op, Order, Query
from atom_emulator.firestore.values import Reference
from atom_emulator.firestore.writes import Put, Remove

if TYPE_CHECKING:
    from atom_emulator.firestore.database import Database

N, M = ("n",), ("m",)


def fill(database: Database, documents: dict[str, dict[str, Any]]) -> None:
    """Write documents by path."""
    database.commit([Put(path=path, fields=fields) for path, fields in documents.items()])


def place(database: Database, *paths: str) -> None:
    """Write documents without fields."""
    fill(database, {path: {} for path in paths})


def ids(database: Database, **query: Any) -> str:
    """Return the ids that a query on `c` finds, joined."""
    return "".join(one.segments[-1] for one in database.query(Query(**{"collection": "c"} | query))[0])


@pytest.fixture
def letters(database: Database) -> Database:
    """Give documents a to h in `c`, with many types in `n`."""
    values = {"a": 1, "b": 2.0, "c": None, "d": float("nan"), "e": "2", "f": [1, 2], "g": True}
    fill(database, {f"c/{name}": {"n": value} for name, value in values.items()} | {"c/h": {"m": 1}})
    return database


@pytest.mark.parametrize(
    ("op", "value", "found"),
    [
        (Op.EQUAL, 2, "b"),
        (Op.EQUAL, True, "g"),
        (Op.EQUAL, [1, 2], "f"),
        (Op.NOT_EQUAL, 2, "gdaef"),
        (Op.LESS, 2, "a"),
        (Op.AT_MOST, 2, "ab"),
        (Op.GREATER, 1, "b"),
        (Op.AT_LEAST, 1.0, "ab"),
        (Op.AT_LEAST, "", "e"),
        (Op.IN, [1, "2", 7], "ae"),
        (Op.NOT_IN, [1, "2"], "gdbf"),
        (Op.NOT_IN, [1, None], ""),
        (Op.CONTAINS, 2, "f"),
        (Op.CONTAINS_ANY, [7, 1.0], "f"),
        (Op.IS_NULL, None, "c"),
        (Op.IS_NAN, None, "d"),
        (Op.IS_NOT_NULL, None, "gdabef"),
        (Op.IS_NOT_NAN, None, "gabef"),
    ],
)
def test_an_operator_finds(letters: Database, op: Op, value: Any, found: str) -> None:
    """A range finds one type, `!=` skips null, and a missing field never matches."""
    assert ids(letters, where=Compare(N, op, value)) == found


def test_filters_combine(letters: Database) -> None:
    """`All` and `Either` can be nested."""
    either = Either((Compare(N, Op.EQUAL, 1), Compare(N, Op.EQUAL, "2"), Compare(M, Op.EQUAL, 1)))
    assert ids(letters, where=either) == "aeh"
    assert ids(letters, where=All((either, Compare(N, Op.LESS, 9)))) == "a"


@pytest.mark.parametrize("value", [[], list(range(31)), 5])
def test_a_list_operator_needs_a_list(letters: Database, value: Any) -> None:
    """IN takes 1 to 30 values."""
    with pytest.raises(InvalidArgument):
        ids(letters, where=Compare(N, Op.IN, value))


def test_an_order_leaves_out_documents_without_the_field(letters: Database) -> None:
    """Documents sort across types; one without the ordered field is no result."""
    assert ids(letters, order_by=(Order(N),)) == "cgdabef"
    assert ids(letters, order_by=(Order(N, descending=True),)) == "feba" + "dgc"


def test_names_decide_ties_in_the_last_direction(database: Database) -> None:
    """Ties are ordered by name, in the direction of the last field."""
    fill(database, {f"c/{name}": {"n": 1, "m": name} for name in "bac"})
    assert ids(database) == "abc"
    assert ids(database, order_by=(Order(N),)) == "abc"
    assert ids(database, order_by=(Order(N, descending=True),)) == "cba"
    assert ids(database, order_by=(Order(N), Order(M, descending=True))) == "cba"
    assert ids(database, order_by=(Order(NAME, descending=True),)) == "cba"


def test_an_inequality_orders(database: Database) -> None:
    """Without an order, the field compared unequally is the order."""
    fill(database, {f"c/{name}": {"n": value} for name, value in zip("abc", (3, 1, 2), strict=True)})
    assert ids(database, where=Compare(N, Op.GREATER, 0)) == "bca"
    assert ids(database, where=Compare(N, Op.EQUAL, 3)) == "a"


def test_a_scope_is_a_collection_or_a_group(database: Database) -> None:
    """A group holds all collections of its name below the parent."""
    place(database, "c/a", "c/a/c/b", "x/y/c/d", "x/y/z/e", "xx/y/c/f")
    assert ids(database) == "a"
    assert ids(database, parent="c/a") == "b"
    assert ids(database, group=True) == "abdf"
    assert ids(database, group=True, parent="x/y") == "d"
    assert ids(database, collection=None, parent="x/y") == "de"
    assert ids(database, collection=None, group=True) == "abdef"
    assert ids(database, collection="none") == ""


@pytest.mark.parametrize(
    ("descending", "cursors", "found"),
    [
        (False, {"start": Cursor((2,), before=True)}, "bce"),
        (False, {"start": Cursor((2,), before=False)}, "e"),
        (False, {"end": Cursor((2,), before=True)}, "a"),
        (False, {"end": Cursor((2,), before=False)}, "abc"),
        (True, {"start": Cursor((2,), before=True)}, "cba"),
        (True, {"start": Cursor((2,), before=False)}, "a"),
        (True, {"end": Cursor((2,), before=True)}, "e"),
        (True, {"end": Cursor((2,), before=False)}, "ecb"),
        (False, {"start": Cursor((2, Reference("", "c/b")), before=False)}, "ce"),
        (True, {"start": Cursor((2, Reference("", "c/c")), before=False)}, "ba"),
        (False, {"start": Cursor((2,), before=True), "end": Cursor((2,), before=False)}, "bc"),
        (False, {"start": Cursor((9,), before=True)}, ""),
    ],
)
@pytest.mark.parametrize("crowd", [0, 100])
def test_a_cursor_stands_before_or_after_equal_values(
    database: Database,
    descending: bool,  # noqa: FBT001 - a row of the table
    cursors: dict[str, Cursor],
    found: str,
    crowd: int,
) -> None:
    """A cursor stands before or after all documents with its values."""
    fill(database, {f"c/{name}": {"n": value} for name, value in zip("abce", (1, 2, 2, 3), strict=True)})
    fill(database, {f"c/x{number}": {"m": number} for number in range(crowd)})
    order = (Order(N, descending),)
    assert ids(database, order_by=order, **cursors) == found
    assert ids(database, order_by=order, limit=10, **cursors) == found


def test_a_cursor_has_no_more_values_than_orders(letters: Database) -> None:
    """A cursor with too many values, or a text for the name, is refused."""
    for values in ((1, Reference("", "c/a"), 3), (1, "a")):
        with pytest.raises(InvalidArgument):
            ids(letters, order_by=(Order(N),), start=Cursor(values, before=True))


def test_offset_limit_and_selection(letters: Database) -> None:
    """Offset skips, limit stops, and only the selected fields are answered."""
    assert ids(letters, offset=2, limit=3) == "cde"
    assert ids(letters, limit=0) == ""
    found, _ = letters.query(Query(collection="c", select=(M, NAME), limit=8))
    assert [record.fields for record in found] == [{}] * 7 + [{"m": 1}]
    with pytest.raises(InvalidArgument):
        ids(letters, offset=-1)


def test_names_are_compared_by_their_parts(database: Database) -> None:
    """A range over names takes references."""
    place(database, "c/a", "c/b", "c/c")
    assert ids(database, where=Compare(NAME, Op.GREATER, Reference("", "c/a"))) == "bc"
    assert ids(database, where=Compare(NAME, Op.IN, [Reference("", "c/a"), Reference("", "c/c")])) == "ac"


def test_aggregates(letters: Database) -> None:
    """Counts stop at their limit, and sums and averages use numbers only."""
    fill(letters, {"d/a": {"n": 1}, "d/b": {"n": 2}, "d/c": {"n": "x"}, "d/e": {"m": 2**63 - 1}, "d/f": {"m": 1}})
    kind = AggregationKind
    wanted = [
        Aggregation(kind=kind.COUNT),
        Aggregation(kind=kind.COUNT, up_to=2),
        Aggregation(kind=kind.SUM, field=N),
        Aggregation(kind=kind.AVERAGE, field=N),
        Aggregation(kind=kind.SUM, field=M),
        Aggregation(kind=kind.SUM, field=("none",)),
        Aggregation(kind=kind.AVERAGE, field=("none",)),
    ]
    values, seen, _ = letters.aggregate(Query(collection="d"), wanted)
    assert values == [5, 2, 3, 1.5, float(2**63), 0, None]
    assert isinstance(values[2], int)
    assert seen == 5


def test_collections_and_missing_documents_are_listed(database: Database) -> None:
    """Collections are listed below documents that do not exist, too."""
    place(database, "c/a", "c/b/d/e/f/g", "h/i")
    assert database.collection_ids("") == ["c", "h"]
    assert database.collection_ids("c/b") == ["d"]
    assert database.missing_documents("c") == ["c/b"]


def random_query(dice: random.Random) -> Query:
    """Build a query."""
    comparisons = tuple(
        Compare((dice.choice("nm"),), dice.choice([Op.EQUAL, Op.LESS, Op.AT_MOST, Op.GREATER, Op.AT_LEAST]), value)
        for value in dice.choices([0, 1, 2.0, 3, "a", None, True], k=dice.randint(0, 2))
    )
    down = dice.random() < 0.5
    orders = tuple(Order((name,), down) for name in dice.sample("nm", dice.randint(0, 2)))
    cursor = Cursor((dice.randint(0, 4),), before=dice.random() < 0.5) if orders else None
    return Query(
        collection="c",
        group=dice.random() < 0.5,
        where=All(comparisons) if comparisons else None,
        order_by=orders,
        start=cursor if dice.random() < 0.3 else None,
        end=cursor if dice.random() < 0.3 else None,
        offset=dice.choice([0, 0, 3]),
        limit=dice.choice([None, 1, 5, 500]),
    )


@pytest.mark.parametrize("seed", range(8))
def test_an_index_never_changes_an_answer(database: Database, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query by index answers the same as a scan."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    values = [0, 1, 2.0, 3, 4, "a", "b", None, True, float("nan"), [1]]
    for _ in range(150):
        path = dice.choice(["c/", "x/y/c/", "x/z/c/"]) + str(dice.randrange(60))
        fields = {name: dice.choice(values) for name in "nm" if dice.random() < 0.7}
        writes = [Put(path=path, fields=fields)] if dice.random() < 0.85 else [Remove(path=path)]
        database.commit(writes)
        query = random_query(dice)
        answer = [record.path for record in database.query(query)[0]]
        with monkeypatch.context() as patch:
            patch.setattr("atom_emulator.firestore.storage.SMALL", 10**9)
            assert [record.path for record in database.query(query)[0]] == answer, query
