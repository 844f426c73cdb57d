"""Commits: preconditions, masks, transforms, versions, limits."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from atom_emulator.firestore import errors
from atom_emulator.firestore.writes import (
    ABSENT,
    PRESENT,
    Precondition,
    Put,
    Record,
    Remove,
    Transform,
    TransformKind,
    Verify,
)

if TYPE_CHECKING:
    from atom_emulator.firestore.database import Database

PATH = "runs/r1"


def read(database: Database, path: str = PATH) -> Record | None:
    """Return one document."""
    return database.get([path])[0][0]


def stored(database: Database, path: str = PATH) -> Record:
    """Return one document that must exist."""
    record = read(database, path)
    assert record is not None
    return record


def seed(database: Database, fields: dict[str, Any], path: str = PATH) -> int:
    """Write a document and return its version."""
    return database.commit([Put(path=path, fields=fields)]).time


WRITES = [Put(path=PATH, fields={"a": 2}), Remove(path=PATH), Verify(path=PATH)]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: type(write).__name__)
@pytest.mark.parametrize(
    ("precondition", "present", "error"),
    [
        (Precondition(), True, None),
        (Precondition(), False, None),
        (PRESENT, True, None),
        (PRESENT, False, errors.NotFound),
        (ABSENT, True, errors.AlreadyExists),
        (ABSENT, False, None),
        (Precondition(updated=0), True, errors.FailedPrecondition),
        (Precondition(updated=1), False, errors.FailedPrecondition),
    ],
)
def test_a_precondition_decides(
    database: Database,
    write: Any,
    precondition: Precondition,
    present: bool,  # noqa: FBT001 - a row of the table
    error: type[Exception] | None,
) -> None:
    """Each write is refused with its precondition's own error, and changes nothing."""
    if present:
        seed(database, {"a": 1})
    before = read(database)
    guarded = type(write)(path=PATH, precondition=precondition)
    if error is None:
        database.commit([guarded])
        return
    with pytest.raises(error):
        database.commit([guarded])
    assert read(database) == before


def test_a_guard_holds_for_the_version_it_names(database: Database) -> None:
    """A guard with the current update time holds once."""
    version = seed(database, {"a": 1})
    write = Put(path=PATH, fields={"a": 2}, precondition=Precondition(updated=version))
    database.commit([write])
    with pytest.raises(errors.FailedPrecondition):
        database.commit([write])


def test_a_commit_is_all_or_nothing(database: Database) -> None:
    """One refused write undoes those before it."""
    with pytest.raises(errors.NotFound):
        database.commit([Put(path="a/b", fields={"x": 1}), Put(path=PATH, mask=(), precondition=PRESENT)])
    assert read(database, "a/b") is None


def test_writes_of_one_commit_see_each_other(database: Database) -> None:
    """One commit may create, change and delete a document."""
    create = Put(path=PATH, fields={"n": 1}, precondition=ABSENT)
    change = Put(path=PATH, fields={"m": 2}, mask=(("m",),), precondition=PRESENT)
    database.commit([create, change])
    assert stored(database).fields == {"n": 1, "m": 2}
    database.commit([Remove(path=PATH), create])
    assert stored(database).fields == {"n": 1}


def test_versions_grow_strictly_though_the_clock_stands(database: Database) -> None:
    """Each commit has a later time than the one before."""
    times = [seed(database, {"a": number}) for number in range(5)]
    assert times == sorted(set(times))


def test_a_write_that_changes_nothing_keeps_the_version(database: Database) -> None:
    """The update time changes only if a write changes something."""
    version = seed(database, {"a": 1, "tags": ["x"]})
    same = [
        Put(path=PATH, fields={"tags": ["x"], "a": 1}),
        Put(path=PATH, fields={"a": 1}, mask=(("a",), ("gone",))),
        Put(path=PATH, mask=(), transforms=(Transform(("a",), TransformKind.INCREMENT, 0),)),
        Put(path=PATH, mask=(), transforms=(Transform(("tags",), TransformKind.APPEND_MISSING, ["x"]),)),
    ]
    for write in same:
        assert database.commit([write]).outcomes[0].updated == version
    assert database.commit([Put(path=PATH, fields={"a": 1.0, "tags": ["x"]})]).outcomes[0].updated != version


def test_creation_time_survives_changes_but_not_a_deletion(database: Database) -> None:
    """A document is as old as its last creation."""
    first = seed(database, {"a": 1})
    seed(database, {"a": 2})
    assert stored(database).created == first
    database.commit([Remove(path=PATH)])
    again = seed(database, {"a": 3})
    assert stored(database).created == again


def test_a_mask_names_what_changes(database: Database) -> None:
    """A masked field is set, or deleted without a value, and others stay."""
    seed(database, {"a": 1, "b": {"c": 2, "d": 3}, "e": 4})
    fields = {"b": {"c": 9}, "ignored": 1, "new": {"deep": True}}
    mask = (("b", "c"), ("e",), ("new", "deep"), ("b", "x"))
    database.commit([Put(path=PATH, fields=fields, mask=mask)])
    assert stored(database).fields == {"a": 1, "b": {"c": 9, "d": 3}, "new": {"deep": True}}


def test_a_write_without_mask_replaces_all(database: Database) -> None:
    """A plain set leaves nothing of the old fields."""
    seed(database, {"a": 1})
    seed(database, {"b": 2})
    assert stored(database).fields == {"b": 2}


NOW = datetime(2030, 1, 1, tzinfo=UTC)
KIND = TransformKind
TRANSFORMS: list[tuple[TransformKind, Any, Any, Any]] = [
    (KIND.INCREMENT, 5, 2, 7),
    (KIND.INCREMENT, 5, 0.5, 5.5),
    (KIND.INCREMENT, "text", 2, 2),
    (KIND.INCREMENT, 2**63 - 1, 5, 2**63 - 1),
    (KIND.INCREMENT, -(2**63), -5, -(2**63)),
    (KIND.MAXIMUM, 5, 7, 7),
    (KIND.MAXIMUM, 7, 5, 7),
    (KIND.MAXIMUM, 3, 3.0, 3),
    (KIND.MAXIMUM, "text", -1, -1),
    (KIND.MINIMUM, 5, 7, 5),
    (KIND.MINIMUM, 7, 5.5, 5.5),
    (KIND.MINIMUM, 3.0, 3, 3.0),
    (KIND.APPEND_MISSING, [1, "a"], [1.0, "b", "b"], [1, "a", "b"]),
    (KIND.APPEND_MISSING, "text", ["b"], ["b"]),
    (KIND.REMOVE_ALL, [1, 2, 1], [1], [2]),
    (KIND.REMOVE_ALL, "text", [1], []),
    (KIND.REQUEST_TIME, "anything", None, NOW),
]


@pytest.mark.parametrize(("kind", "old", "operand", "new"), TRANSFORMS)
def test_a_transform_computes(database: Database, kind: TransformKind, old: Any, operand: Any, new: Any) -> None:
    """A transform computes its value from the old one and returns it, except lists."""
    seed(database, {"x": old})
    outcome = database.commit([Put(path=PATH, mask=(), transforms=(Transform(("x",), kind, operand),))]).outcomes[0]
    value = stored(database).fields["x"]
    assert (type(value), value) == (type(new), new)
    assert outcome.transformed == ((None,) if isinstance(new, list) else (new,))


@pytest.mark.parametrize(
    ("kind", "operand", "new"), [(KIND.INCREMENT, 3, 3), (KIND.MAXIMUM, 3, 3), (KIND.APPEND_MISSING, [1], [1])]
)
def test_a_transform_creates_what_is_missing(database: Database, kind: TransformKind, operand: Any, new: Any) -> None:
    """On a missing field or document the operand is the result."""
    database.commit([Put(path=PATH, mask=(), transforms=(Transform(("a", "x"), kind, operand),))])
    assert stored(database).fields == {"a": {"x": new}}


@pytest.mark.parametrize("kind", [KIND.MAXIMUM, KIND.MINIMUM])
def test_nan_wins_maximum_and_minimum(database: Database, kind: TransformKind) -> None:
    """The maximum and the minimum of NaN and a number are NaN."""
    for old, operand in ((math.nan, 1), (1, math.nan)):
        seed(database, {"x": old})
        database.commit([Put(path=PATH, mask=(), transforms=(Transform(("x",), kind, operand),))])
        assert math.isnan(stored(database).fields["x"])


def test_transforms_follow_the_update_of_the_same_write(database: Database) -> None:
    """Transforms see their write's own fields, and run in order."""
    transforms = (Transform(("n",), KIND.INCREMENT, 1), Transform(("n",), KIND.INCREMENT, 10))
    outcome = database.commit([Put(path=PATH, fields={"n": 5}, transforms=transforms)]).outcomes[0]
    assert outcome.transformed == (6, 16)


def test_a_transform_needs_a_number(database: Database) -> None:
    """An increment by text is refused."""
    with pytest.raises(errors.InvalidArgument):
        database.commit([Put(path=PATH, transforms=(Transform(("n",), KIND.INCREMENT, "1"),))])


def test_a_document_over_one_mebibyte_is_refused(database: Database) -> None:
    """A document of over 1 MiB is refused, also if it grew by an update."""
    seed(database, {"a": "x" * 1_000_000})
    with pytest.raises(errors.InvalidArgument, match="maximum allowed size"):
        database.commit([Put(path=PATH, fields={"b": "x" * 50_000}, mask=(("b",),))])
    assert set(stored(database).fields) == {"a"}
