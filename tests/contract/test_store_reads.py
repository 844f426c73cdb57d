"""The Store port: get, and the values that come back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from atom_workflows.errors import StoreError
from atom_workflows.ports import Create, Query, Store, Update
from contract.backends import firestore_at

MOMENT = datetime(2026, 3, 29, 1, 59, 59, 123456, tzinfo=UTC)

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "float": 0.1,
    "whole float": 1.0,
    "infinity": float("inf"),
    "empty text": "",
    "text": "Grüße, 世界 😀 \x00 \u2028 line\nline",
    "bytes": bytes(range(256)),
    "moment": MOMENT,
    "before 1970": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "empty list": [],
    "empty map": {},
    "list": [1, "a", None, {"deep": [MOMENT, {"er": b"x"}]}],
    "map": {"a.b": 1, "`c`": 2, "d e": {"ü": {"f/g": [True]}}, "1": "digit", "__x": 0},
}


def test_get_answers_in_the_order_asked_for(store: Store) -> None:
    """Documents that are missing answer None, repeated paths answer twice."""
    store.commit([Create(path=f"c/{name}", fields={"name": name}) for name in "abc"])
    asked = ["c/c", "c/none", "c/a", "c/c", "other/a", "c/b"]
    found = store.get(asked)
    assert [None if one is None else one.fields["name"] for one in found] == ["c", None, "a", "c", None, "b"]
    assert [one.path for one in found if one] == ["c/c", "c/a", "c/c", "c/b"]
    assert found[0] == found[3]


def test_get_returns_only_the_named_fields(store: Store) -> None:
    """Fields that are not named are left out, and a document without the named ones is not missing."""
    store.commit(
        [Create(path="c/a", fields={"n": 1, "m": {"x": 2}, "large": "x"}), Create(path="c/b", fields={"o": 3})]
    )
    found = store.get(["c/a", "c/b", "c/none"], fields=("n", "m", "__x"))
    assert [None if one is None else one.fields for one in found] == [{"n": 1, "m": {"x": 2}}, {}, None]
    [alone] = store.get(["c/a"], fields=("n",))
    assert alone is not None
    assert alone.fields == {"n": 1}
    assert alone.version == getattr(found[0], "version", None)


def test_get_of_nothing_is_nothing(store: Store) -> None:
    """Getting no paths returns no documents."""
    assert store.get([]) == []


def test_a_document_above_others_need_not_exist(store: Store) -> None:
    """A document in a subcollection does not make its parent exist."""
    store.commit([Create(path="runs/r/steps/s", fields={})])
    parent, child = store.get(["runs/r", "runs/r/steps/s"])
    assert parent is None
    assert child is not None
    assert (child.id, child.fields) == ("s", {})


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_equal_and_of_their_type(store: Store, name: str) -> None:
    """Values come back equal and of their type, from get and query."""
    value = VALUES[name]
    store.commit([Create(path="c/d", fields={"value": value}), Create(path="c/e", fields={})])
    store.commit([Update(path="c/e", fields={"value": value})])
    for found in (*store.get(["c/d", "c/e"]), *store.query(Query(collection="c"))):
        assert found is not None
        assert found.fields == {"value": value}
        assert isinstance(found.fields["value"], type(value))


def test_a_moment_of_another_zone_is_the_same_moment_in_utc(store: Store) -> None:
    """Times are aware, and in UTC."""
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    store.commit([Create(path="c/d", fields={"at": elsewhere})])
    [found] = store.get(["c/d"])
    assert found is not None
    assert found.fields["at"] == MOMENT
    assert found.fields["at"].utcoffset() == timedelta(0)
    assert found.fields["at"].isoformat() == MOMENT.isoformat()


def test_what_the_caller_holds_is_not_what_is_stored(store: Store) -> None:
    """Changing a value outside the store changes no document."""
    names = ["a"]
    store.commit([Create(path="c/d", fields={"names": names})])
    names.append("b")
    [first] = store.get(["c/d"])
    assert first is not None
    first.fields["names"].append("c")
    [second] = store.get(["c/d"])
    assert second is not None
    assert second.fields == {"names": ["a"]}


@pytest.mark.parametrize("name", ["~end", "a b", "ü-😀", "a.b", "x" * 1_000, "-", "it's #1?&=%2F"])
def test_ids_may_hold_any_text_without_a_slash(store: Store, name: str) -> None:
    """A document's id may be any text without a slash."""
    path = f"runs/{name}/steps/{name}"
    store.commit([Create(path=path, fields={"n": 1})])
    store.commit([Update(path=path, increments={"n": 1})])
    [got] = store.get([path])
    [queried] = store.query(Query(collection=f"runs/{name}/steps"))
    assert got == queried
    assert queried.path == path
    assert queried.id == name
    assert queried.fields == {"n": 2}


@pytest.mark.parametrize(
    "fields",
    [{"nested": [[1]]}, {"large": "x" * (1 << 20)}],
    ids=["a list in a list", "over 1 MiB"],
)
def test_what_firestore_cannot_hold_is_refused(store: Store, fields: dict[str, Any]) -> None:
    """A document that Firestore cannot store raises StoreError."""
    with pytest.raises(StoreError):
        store.commit([Create(path="c/other", fields={}), Create(path="c/d", fields=fields)])
    assert store.get(["c/other", "c/d"]) == [None, None]


def test_reading_several_documents_starts_no_thread(firestore_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading several documents starts no thread."""
    store = firestore_at(firestore_address, monkeypatch)
    store.commit([Create(path=f"c/{name}", fields={}) for name in "ab"])
    started: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    assert [document is not None for document in store.get(["c/a", "c/b"])] == [True, True]
    assert started == []
