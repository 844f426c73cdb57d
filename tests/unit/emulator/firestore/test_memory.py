"""The in-process store: the port's promises on the embedded database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.errors import AlreadyExists, Conflict, StoreError
from atom_workflows.ports import Create, Delete, Document, Query, Store, Update

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PATH = "runs/r1/steps/a"


class Color(StrEnum):
    """A state as the coordinator stores it."""

    RED = "red"


@pytest.fixture
def store() -> MemoryStore:
    """Give an empty store whose clock stands still."""
    return MemoryStore(lambda: NOW)


def one(store: Store, path: str = PATH) -> Document:
    """Return a document that must exist."""
    (document,) = store.get([path])
    assert document is not None
    return document


def test_it_is_a_store(store: MemoryStore) -> None:
    """Documents are returned in the requested order, None for missing ones."""
    port: Store = store
    (result,) = port.commit([Create(path=PATH, fields={"a": 1})])
    missing, found = port.get(["runs/none", PATH])
    assert missing is None
    assert found == Document(path=PATH, fields={"a": 1}, version=result.version)
    assert found.id == "a"


def test_nothing_is_shared_with_the_caller(store: MemoryStore) -> None:
    """Changing a value outside the store changes nothing that is stored."""
    given: dict[str, Any] = {"list": [1], "map": {"x": {}}}
    store.commit([Create(path=PATH, fields=given)])
    given["list"].append(2)
    dict(one(store).fields)["map"]["x"]["y"] = 1
    assert one(store).fields == {"list": [1], "map": {"x": {}}}


def test_values_come_back_as_plain_ones(store: MemoryStore) -> None:
    """Enums become text, tuples lists, and times UTC."""
    east = timezone(timedelta(hours=2))
    store.commit([Create(path=PATH, fields={"e": Color.RED, "t": (1,), "w": NOW.astimezone(east), "b": True})])
    fields = one(store).fields
    assert fields == {"e": "red", "t": [1], "w": NOW, "b": True}
    assert [type(fields[name]) for name in "etb"] == [str, list, bool]
    assert fields["w"].tzinfo is UTC


def test_create_and_update_refusals(store: MemoryStore) -> None:
    """Refused writes raise the port's errors and write nothing."""
    (first,) = store.commit([Create(path=PATH, fields={"a": 1})])
    store.commit([Update(path=PATH, fields={"a": 2}, guard=first.version)])
    refused: list[tuple[type[Exception], Any]] = [
        (AlreadyExists, Create(path=PATH, fields={})),
        (Conflict, Update(path="runs/none", fields={"a": 1})),
        (Conflict, Update(path=PATH, fields={"a": 3}, guard=first.version)),
        (Conflict, Update(path="runs/none", fields={"a": 3}, guard=first.version)),
        (StoreError, Update(path=PATH, fields={"a": 3}, guard="foreign")),
        (StoreError, Update(path=PATH, fields={"a": [[1]]})),
        (StoreError, Create(path="runs/__x__", fields={})),
    ]
    for error, write in refused:
        with pytest.raises(error):
            store.commit([Create(path="runs/other", fields={}), write])
    assert store.get(["runs/other"]) == [None]
    assert one(store).fields == {"a": 2}


def test_a_document_may_appear_once_in_a_commit(store: MemoryStore) -> None:
    """Two writes of one document are a mistake."""
    with pytest.raises(StoreError):
        store.commit([Delete(path=PATH), Delete(path=PATH)])


def test_increments_answer_their_values(store: MemoryStore) -> None:
    """Each increment's new value is returned, and a missing field counts as 0."""
    store.commit([Create(path=PATH, fields={"a": 1, "keep": {"x": 1}})])
    (result,) = store.commit([Update(path=PATH, fields={"s": "x"}, increments={"b": -2, "a": 3})])
    assert result.increments == {"a": 4, "b": -2}
    assert one(store).fields == {"a": 4, "b": -2, "s": "x", "keep": {"x": 1}}
    assert one(store).version == result.version


def test_a_field_is_replaced_whole(store: MemoryStore) -> None:
    """An update names top-level fields, dots and all, and never merges maps."""
    store.commit([Create(path=PATH, fields={"a": {"x": 1}, "a.x": 1})])
    store.commit([Update(path=PATH, fields={"a": {"y": 2}, "a.x": 3})])
    assert one(store).fields == {"a": {"y": 2}, "a.x": 3}


def test_delete_may_find_nothing(store: MemoryStore) -> None:
    """Deleting twice is fine."""
    store.commit([Create(path=PATH, fields={})])
    for _ in range(2):
        store.commit([Delete(path=PATH)])
    assert store.get([PATH]) == [None]


def test_queries_page_through_a_group(store: MemoryStore) -> None:
    """A group's matches come in order and go on behind a document."""
    store.commit(
        [
            Create(path=f"runs/{run}/steps/{step}", fields={"schema": 1, "due_at": NOW + timedelta(seconds=step)})
            for run in "ab"
            for step in range(3)
        ]
    )
    store.commit([Create(path="runs/a/steps/never", fields={"schema": 1})])
    query = Query(
        collection="steps",
        group=True,
        where=[("schema", "==", 1), ("due_at", "<=", NOW + timedelta(seconds=1))],
        order_by=[("due_at", "ascending")],
    )
    assert [found.path for found in store.query(query)] == [
        "runs/a/steps/0",
        "runs/b/steps/0",
        "runs/a/steps/1",
        "runs/b/steps/1",
    ]
    assert store.count(query) == 4
    rest = Query(
        collection="steps",
        group=True,
        order_by=query.order_by,
        where=query.where,
        after=(NOW, "runs/b/steps/0"),
        limit=1,
    )
    assert [found.path for found in store.query(rest)] == ["runs/a/steps/1"]


def test_queries_in_one_collection(store: MemoryStore) -> None:
    """A path with a parent means that collection alone, and `in` takes a list."""
    store.commit([Create(path=f"runs/{run}/steps/{run}", fields={"s": Color.RED}) for run in "ab"])
    found = store.query(Query(collection="runs/a/steps", where=[("s", "in", [Color.RED, "blue"])]))
    assert [document.path for document in found] == ["runs/a/steps/a"]
    assert store.query(Query(collection="runs")) == []
