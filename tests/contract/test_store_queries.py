"""The Store port: query and count, on every backend."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atom_workflows.errors import Conflict
from atom_workflows.ports import Create, Query, Store, Update

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def fill(store: Store, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Create these documents."""
    store.commit([Create(path=path, fields=fields) for path, fields in documents.items()])


def ids(store: Store, query: Query) -> str:
    """Return the ids that a query finds in order, after checking its count."""
    found = store.query(query)
    assert store.count(query) == len(found)
    return "".join(document.id for document in found)


def pages(store: Store, query: Query, size: int) -> list[str]:
    """Return the paths that a query finds, page by page."""
    found: list[str] = []
    after: tuple[Any, ...] | None = None
    while True:
        page = store.query(
            Query(
                collection=query.collection,
                group=query.group,
                where=query.where,
                order_by=query.order_by,
                after=after,
                limit=size,
            )
        )
        found += [document.path for document in page]
        if len(page) < size:
            return found
        after = (*(page[-1].fields[name] for name, _ in query.order_by), page[-1].path)


NUMBERS: dict[str, dict[str, Any]] = {
    "c/a": {"n": 1, "state": "x"},
    "c/b": {"n": 2, "state": "y"},
    "c/c": {"n": 2.5, "state": "x"},
    "c/d": {"n": 3, "state": "y"},
    "c/e": {"state": "x"},
    "c/f": {"n": None, "state": "x"},
    "c/g": {"n": "2", "state": "x"},
}


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("==", 2, "b"),
        ("==", 2.0, "b"),
        ("==", "2", "g"),
        ("==", None, "f"),
        ("<", 2, "a"),
        ("<=", 2, "ab"),
        (">", 2, "cd"),
        (">=", 2, "bcd"),
        ("in", [1, 3, "2", 99], "adg"),
        ("in", [99], ""),
    ],
)
def test_conditions_compare_values_of_one_type(store: Store, operator: Any, value: Any, expected: str) -> None:
    """A number is compared with numbers only."""
    fill(store, NUMBERS)
    found = store.query(Query(collection="c", where=[("n", operator, value)]))
    assert sorted(document.id for document in found) == list(expected)
    assert store.count(Query(collection="c", where=[("n", operator, value)])) == len(expected)


def test_unequal_finds_other_values_but_not_null_or_nothing(store: Store) -> None:
    """`!=` needs a value to compare with."""
    fill(store, NUMBERS)
    found = store.query(Query(collection="c", where=[("n", "!=", 2)]))
    assert {document.id for document in found} == set("acdg")


def test_all_conditions_must_hold(store: Store) -> None:
    """Conditions on one field or on several narrow the result together."""
    fill(store, NUMBERS)
    both = Query(collection="c", where=[("state", "==", "x"), ("n", ">", 1)])
    between = Query(collection="c", where=[("n", ">", 1), ("n", "<", 3)], order_by=[("n", "descending")])
    assert ids(store, both) == "c"
    assert ids(store, between) == "cb"


def test_a_query_without_conditions_finds_all_by_path(store: Store) -> None:
    """Without an order, documents are ordered by path."""
    fill(store, {"c/b": {}, "c/a": {}, "c/a/c/z": {}, "d/x": {}, "c/B": {}})
    assert ids(store, Query(collection="c")) == "Bab"
    assert ids(store, Query(collection="none")) == ""


def test_documents_come_complete(store: Store) -> None:
    """A query's documents equal those of a get."""
    fill(store, {"c/a": {"n": 1, "map": {"k": [None]}}})
    assert store.query(Query(collection="c")) == store.get(["c/a"])


def test_an_order_leaves_out_documents_without_the_field(store: Store) -> None:
    """An order leaves out documents without its field, but not null."""
    fill(store, {"c/a": {"n": 2}, "c/b": {}, "c/c": {"n": None}, "c/d": {"n": 1}})
    assert ids(store, Query(collection="c", order_by=[("n", "ascending")])) == "cda"
    assert ids(store, Query(collection="c", order_by=[("n", "descending")])) == "adc"


def test_ties_are_ordered_by_path_in_the_direction_of_the_last_order(store: Store) -> None:
    """Equal values are ordered by path, in the last order's direction."""
    fill(store, {f"c/{name}": {"n": int(n)} for name, n in zip("abcd", "2112", strict=True)})
    assert ids(store, Query(collection="c", order_by=[("n", "ascending")])) == "bcad"
    assert ids(store, Query(collection="c", order_by=[("n", "descending")])) == "dacb"


def test_several_orders_apply_one_after_the_other(store: Store) -> None:
    """A second order decides between equal values of the first."""
    fill(store, {f"c/{a}{b}": {"a": a, "b": b} for a in "xy" for b in "123"})
    query = Query(collection="c", order_by=[("a", "descending"), ("b", "ascending")])
    assert ids(store, query) == "y1y2y3x1x2x3"


def test_a_limit_takes_the_first(store: Store) -> None:
    """A limit above the number of documents changes nothing."""
    fill(store, {f"c/{name}": {"n": n} for n, name in enumerate("abc")})
    query = [("n", "descending")]
    assert ids(store, Query(collection="c", order_by=query, limit=2)) == "cb"  # type: ignore[arg-type]  # a literal
    assert ids(store, Query(collection="c", limit=9)) == "abc"


@pytest.mark.parametrize("direction", ["ascending", "descending"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("group", [False, True])
def test_pages_are_the_whole_in_order(store: Store, direction: Any, size: int, *, group: bool) -> None:
    """Pages together hold every document once, in order."""
    times = [NOW, NOW, NOW + SECOND, NOW + SECOND / 1_000_000, NOW, None, NOW + SECOND]
    fill(store, {f"runs/r{place % 2 if group else 0}/steps/{place}": {"at": at} for place, at in enumerate(times)})
    collection = "steps" if group else "runs/r0/steps"
    query = Query(collection=collection, group=group, order_by=[("at", direction)])
    whole = [document.path for document in store.query(query)]
    assert len(whole) == len(times)
    assert pages(store, query, size) == whole


def test_pages_without_an_order_go_by_path(store: Store) -> None:
    """Without an order, `after` is the path alone."""
    fill(store, {f"c/{name}": {"s": 1} for name in "edcba"})
    query = Query(collection="c", where=[("s", "==", 1)])
    assert pages(store, query, 2) == [f"c/{name}" for name in "abcde"]


def test_pages_by_two_orders(store: Store) -> None:
    """`after` holds the values of all orders, then the path."""
    fill(store, {f"c/{place}": {"a": place % 2, "b": place % 3} for place in range(12)})
    query = Query(collection="c", order_by=[("a", "descending"), ("b", "ascending")])
    assert pages(store, query, 2) == [document.path for document in store.query(query)]


def test_a_cursor_may_stand_where_no_document_is(store: Store) -> None:
    """A query continues behind a document that is gone."""
    fill(store, {f"c/{name}": {"n": n} for n, name in enumerate("ace")})
    behind = Query(collection="c", order_by=[("n", "ascending")], after=(1, "c/d"))
    assert ids(store, behind) == "e"


def test_a_group_query_looks_into_every_collection_of_that_name(store: Store) -> None:
    """A group query finds collections of its name at any depth."""
    fill(
        store,
        {
            "runs/r2/steps/a": {"n": 1},
            "runs/r1/steps/b": {"n": 1},
            "steps/c": {"n": 1},
            "runs/r1/other/d": {"n": 1},
            "runs/r1/steps/b/steps/e": {"n": 1},
            "runs/r1/steps/f": {"n": 2},
        },
    )
    query = Query(collection="steps", group=True, where=[("n", "==", 1)])
    assert [document.path for document in store.query(query)] == [
        "runs/r1/steps/b",
        "runs/r1/steps/b/steps/e",
        "runs/r2/steps/a",
        "steps/c",
    ]
    assert store.count(query) == 4


def test_a_collection_query_looks_into_that_one_alone(store: Store) -> None:
    """A collection query finds that one collection's documents only."""
    fill(store, {"runs/r1/steps/a": {}, "runs/r10/steps/b": {}, "steps/c": {}})
    assert ids(store, Query(collection="runs/r1/steps")) == "a"
    assert ids(store, Query(collection="steps")) == "c"


def test_the_checkers_query_finds_due_steps_and_nothing_else(store: Store) -> None:
    """The checker's query finds due steps to the microsecond."""
    microsecond = timedelta(microseconds=1)
    due = {"due": NOW, "overdue": NOW - SECOND, "later": NOW + microsecond, "just": NOW - microsecond}
    fill(store, {f"runs/r/steps/{name}": {"schema": 1, "due_at": at} for name, at in due.items()})
    fill(store, {"runs/r/steps/none": {"schema": 1}, "runs/r/steps/null": {"schema": 1, "due_at": None}})
    fill(store, {"runs/q/steps/text": {"schema": 1, "due_at": "2020-01-01T00:00:00Z"}})
    fill(store, {"runs/q/steps/number": {"schema": 1, "due_at": 0}, "runs/q/steps/old": {"schema": 0, "due_at": NOW}})
    query = Query(
        collection="steps",
        group=True,
        where=[("schema", "==", 1), ("due_at", "<=", NOW)],
        order_by=[("due_at", "ascending")],
    )
    assert [document.id for document in store.query(query)] == ["overdue", "just", "due"]
    assert store.count(query) == 3


def test_a_field_set_to_null_leaves_the_results(store: Store) -> None:
    """A field set to null no longer matches."""
    fill(store, {"c/a": {"due_at": NOW}})
    query = Query(collection="c", where=[("due_at", "<=", NOW)])
    assert ids(store, query) == "a"
    store.commit([Update(path="c/a", fields={"due_at": None})])
    assert ids(store, query) == ""


def test_a_field_in_a_map_can_be_asked_for(store: Store) -> None:
    """A condition's name may go into a map with dots."""
    fill(store, {"c/a": {"labels": {"team": "x"}}, "c/b": {"labels": {"team": "y"}}, "c/d": {"labels": "x"}})
    assert ids(store, Query(collection="c", where=[("labels.team", "==", "y")])) == "b"


def test_a_thousand_documents_come_in_one_answer(store: Store) -> None:
    """A query without a limit is complete."""
    for start in range(0, 1_000, 250):
        fill(store, {f"c/{number:04}": {"n": number} for number in range(start, start + 250)})
    assert [document.fields["n"] for document in store.query(Query(collection="c"))] == list(range(1_000))
    assert store.count(Query(collection="c")) == 1_000


@pytest.mark.parametrize("group", [False, True])
def test_a_query_can_ask_for_some_fields_alone(store: Store, *, group: bool) -> None:
    """A query returns the requested fields, and its conditions use all of them."""
    fill(store, {"runs/r/steps/a": {"n": 1, "task": "x" * 1_000, "map": {"k": [1]}}, "runs/r/steps/b": {"n": 2}})
    query = Query(
        collection="steps" if group else "runs/r/steps",
        group=group,
        where=[("n", ">=", 1)],
        order_by=[("n", "ascending")],
        fields=("map", "task_runner_url"),
    )
    assert [document.fields for document in store.query(query)] == [{"map": {"k": [1]}}, {}]


def test_a_version_that_came_with_some_fields_guards_the_document(store: Store) -> None:
    """A version that was read with some fields guards the whole document."""
    fill(store, {"c/a": {"n": 1, "task": "x"}})
    [found] = store.query(Query(collection="c", fields=("n",)))
    store.commit([Update(path="c/a", fields={"n": 2}, guard=found.version)])
    with pytest.raises(Conflict):
        store.commit([Update(path="c/a", fields={"n": 3}, guard=found.version)])
    [whole] = store.get(["c/a"])
    assert whole is not None
    assert whole.fields == {"n": 2, "task": "x"}
