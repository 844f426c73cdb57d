"""The Store port: commits. Every promise of `ports.Store.commit`, on every backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atom_workflows.errors import AlreadyExists, Conflict, StoreError
from atom_workflows.ports import Create, Document, Store, Update, Upsert, Write

CASES_OF_FAILURE: list[tuple[Write, type[StoreError]]] = [
    (Create(path="c/held", fields={"n": 9}), AlreadyExists),
    (Update(path="c/absent", fields={"n": 9}), Conflict),
    (Update(path="c/absent", increments={"n": 1}), Conflict),
]


def read(store: Store, path: str) -> Document:
    """Return a document, which must exist."""
    found = store.get([path])[0]
    assert found is not None
    return found


def fields_of(store: Store, path: str) -> dict[str, object]:
    """Return a document's fields."""
    return dict(read(store, path).fields)


def test_writes_are_answered_in_their_order_with_the_new_versions(store: Store) -> None:
    """Each result holds the version that a read then finds."""
    paths = [f"c/{name}" for name in "zma"]
    results = store.commit([Create(path=path, fields={"n": 1}) for path in paths])
    assert [result.version for result in results] == [read(store, path).version for path in paths]


def test_create_refuses_a_document_that_exists(store: Store) -> None:
    """A second Create raises AlreadyExists and leaves the first one's fields."""
    store.commit([Create(path="c/d", fields={"n": 1})])
    with pytest.raises(AlreadyExists):
        store.commit([Create(path="c/d", fields={"n": 2})])
    assert fields_of(store, "c/d") == {"n": 1}


@pytest.mark.parametrize(("failing", "error"), CASES_OF_FAILURE)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_commit_does_all_its_writes_or_none(
    store: Store, failing: Write, error: type[StoreError], place: int
) -> None:
    """One write that is refused, wherever it stands, undoes the others."""
    store.commit([Create(path="c/held", fields={"n": 1})])
    before = read(store, "c/held").version
    writes: list[Write] = [Create(path="c/new", fields={}), Upsert(path="c/newer", fields={})]
    with pytest.raises(error):
        store.commit([*writes[:place], failing, *writes[place:]])
    assert store.get(["c/new", "c/newer"]) == [None, None]
    assert read(store, "c/held").version == before


def test_a_refused_guard_undoes_the_rest_of_the_commit(store: Store) -> None:
    """A stale guard raises Conflict; increments beside it count nothing."""
    [first] = store.commit([Create(path="c/step", fields={"state": "a"})])
    store.commit([Create(path="c/dependent", fields={"remaining": 2})])
    store.commit([Update(path="c/step", fields={"state": "b"}, guard=first.version)])
    stale = Update(path="c/step", fields={"state": "c"}, guard=first.version)
    with pytest.raises(Conflict):
        store.commit([Update(path="c/dependent", increments={"remaining": -1}), stale])
    assert fields_of(store, "c/step") == {"state": "b"}
    assert fields_of(store, "c/dependent") == {"remaining": 2}


def test_a_guard_of_a_deleted_document_is_refused(store: Store, delete: Callable[[str], None]) -> None:
    """A guarded update of a document that is gone raises Conflict."""
    [created] = store.commit([Create(path="c/d", fields={"n": 1})])
    delete("c/d")
    with pytest.raises(Conflict):
        store.commit([Update(path="c/d", fields={"n": 2}, guard=created.version)])


def test_a_document_made_again_has_another_version(store: Store, delete: Callable[[str], None]) -> None:
    """A guard of a deleted document does not hold for its successor."""
    [old] = store.commit([Create(path="c/d", fields={"n": 1})])
    delete("c/d")
    [new] = store.commit([Create(path="c/d", fields={"n": 1})])
    assert old.version != new.version
    with pytest.raises(Conflict):
        store.commit([Update(path="c/d", fields={"n": 2}, guard=old.version)])


def test_a_guard_holds_from_a_read_a_query_and_a_result(store: Store) -> None:
    """A version holds as a guard, whether read, queried or answered."""
    [result] = store.commit([Create(path="c/d", fields={"n": 0})])
    assert result.version == read(store, "c/d").version
    [result] = store.commit([Update(path="c/d", fields={"n": 1}, guard=result.version)])
    [result] = store.commit([Update(path="c/d", fields={"n": 2}, guard=read(store, "c/d").version)])
    assert fields_of(store, "c/d") == {"n": 2}
    assert result.version == read(store, "c/d").version


def test_each_changing_write_changes_the_version(store: Store) -> None:
    """Ten updates in quick succession give ten versions."""
    store.commit([Create(path="c/d", fields={"n": 0})])
    versions = [store.commit([Update(path="c/d", increments={"n": 1})])[0].version for _ in range(10)]
    assert all(versions[place] not in versions[:place] for place in range(10))


def test_a_guarded_update_may_only_add_increments(store: Store) -> None:
    """A guard holds for an update without fields, too."""
    [created] = store.commit([Create(path="c/d", fields={"n": 1})])
    [updated] = store.commit([Update(path="c/d", increments={"n": 1}, guard=created.version)])
    assert updated.increments == {"n": 2}
    with pytest.raises(Conflict):
        store.commit([Update(path="c/d", increments={"n": 1}, guard=created.version)])


def test_update_keeps_the_other_fields_and_replaces_named_ones_whole(store: Store) -> None:
    """An update replaces maps and lists as a whole."""
    store.commit([Create(path="c/d", fields={"kept": 1, "map": {"a": 1, "b": 2}, "list": [1, 2]})])
    store.commit([Update(path="c/d", fields={"map": {"c.d": 3}, "list": [], "new": None})])
    assert fields_of(store, "c/d") == {"kept": 1, "map": {"c.d": 3}, "list": [], "new": None}
    store.commit([Update(path="c/d", fields={"map": {}})])
    assert fields_of(store, "c/d")["map"] == {}


def test_increments_answer_the_new_value_and_count_a_missing_field_as_zero(store: Store) -> None:
    """Each increment is answered under its own name."""
    store.commit([Create(path="c/d", fields={"zeta": 10, "other": "kept"})])
    [result] = store.commit([Update(path="c/d", fields={"state": "x"}, increments={"zeta": -3, "alpha": 5, "mid": 0})])
    assert result.increments == {"zeta": 7, "alpha": 5, "mid": 0}
    assert fields_of(store, "c/d") == {"zeta": 7, "alpha": 5, "mid": 0, "other": "kept", "state": "x"}


def test_increments_of_several_documents_are_answered_each_to_its_own(store: Store) -> None:
    """Results are in the order of the writes."""
    store.commit([Create(path=f"c/{name}", fields={"n": start}) for name, start in (("b", 10), ("a", 20))])
    results = store.commit(
        [
            Create(path="c/new", fields={"n": 1}),
            Update(path="c/b", increments={"n": 1}),
            Update(path="c/a", increments={"n": 1}),
            Upsert(path="c/count", increments={"n": 5}),
        ]
    )
    assert [result.increments for result in results] == [{}, {"n": 11}, {"n": 21}, {"n": 5}]


def test_upsert_creates_what_is_missing_and_changes_what_is_there(store: Store) -> None:
    """Named fields are replaced and others stay, as with an update; increments start from zero and are answered."""
    [made] = store.commit([Upsert(path="c/d", fields={"map": {"a": 1}}, increments={"next": 1})])
    assert made.increments == {"next": 1}
    assert fields_of(store, "c/d") == {"map": {"a": 1}, "next": 1}
    [changed] = store.commit([Upsert(path="c/d", fields={"map": {"b": 2}, "new": None}, increments={"next": 2})])
    assert changed.increments == {"next": 3}
    assert changed.version == read(store, "c/d").version != made.version
    assert fields_of(store, "c/d") == {"map": {"b": 2}, "next": 3, "new": None}


def test_upsert_is_undone_with_the_rest_of_its_commit(store: Store) -> None:
    """Beside a guard that no longer holds it makes nothing and counts nothing."""
    store.commit([Upsert(path="c/there", increments={"n": 1})])
    with pytest.raises(Conflict):
        store.commit(
            [
                Upsert(path="c/there", increments={"n": 1}),
                Upsert(path="c/new", fields={"n": 1}),
                Update(path="c/absent", fields={"n": 1}),
            ]
        )
    assert store.get(["c/new"]) == [None]
    assert fields_of(store, "c/there") == {"n": 1}


def test_a_path_twice_in_a_commit_is_refused(store: Store) -> None:
    """A commit that names a document twice raises StoreError and writes nothing."""
    with pytest.raises(StoreError, match="twice"):
        store.commit([Create(path="c/d", fields={"n": 1}), Update(path="c/d", fields={"n": 2})])
    assert store.get(["c/d"]) == [None]


def test_an_empty_commit_is_nothing(store: Store) -> None:
    """A commit without writes is no error."""
    assert store.commit([]) == []


def test_a_commit_takes_500_writes(store: Store) -> None:
    """A full batch is created, and incremented, in one commit."""
    paths = [f"c/{number:03}" for number in range(500)]
    store.commit([Create(path=path, fields={"n": number}) for number, path in enumerate(paths)])
    results = store.commit([Update(path=path, increments={"n": 1}) for path in paths])
    assert [result.increments["n"] for result in results] == list(range(1, 501))
