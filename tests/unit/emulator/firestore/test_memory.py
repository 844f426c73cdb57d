"""What the in-process store makes of values, beyond the port's promises, which the contract suite tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import pytest

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.errors import StoreError
from atom_workflows.ports import Create, Document, Store, Update

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


def test_values_come_back_as_plain_ones(store: MemoryStore) -> None:
    """Enums become text, tuples lists, and times UTC."""
    east = timezone(timedelta(hours=2))
    store.commit([Create(path=PATH, fields={"e": Color.RED, "t": (1,), "w": NOW.astimezone(east), "b": True})])
    fields = one(store).fields
    assert fields == {"e": "red", "t": [1], "w": NOW, "b": True}
    assert [type(fields[name]) for name in "etb"] == [str, list, bool]
    assert fields["w"].tzinfo is UTC


def test_a_field_is_replaced_whole(store: MemoryStore) -> None:
    """An update names top-level fields, dots and all, and never merges maps."""
    store.commit([Create(path=PATH, fields={"a": {"x": 1}, "a.x": 1})])
    store.commit([Update(path=PATH, fields={"a": {"y": 2}, "a.x": 3})])
    assert one(store).fields == {"a": {"y": 2}, "a.x": 3}


@pytest.mark.parametrize(
    "write",
    [
        Update(path=PATH, fields={"a": 3}, guard="foreign"),
        Update(path=PATH, fields={"a": [[1]]}),
        Create(path="runs/__x__", fields={}),
    ],
    ids=["guard", "value", "id"],
)
def test_a_write_that_firestore_cannot_take_raises_store_error(store: MemoryStore, write: Create | Update) -> None:
    """A foreign guard, a nested list and a reserved id raise StoreError."""
    store.commit([Create(path=PATH, fields={"a": 1})])
    with pytest.raises(StoreError):
        store.commit([write])
