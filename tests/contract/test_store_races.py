"""The Store port under concurrency: one winner, no lost increment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.ports import Create, Query, Store, Update

RACERS = 50


def winners(run: Callable[[int], object]) -> list[int]:
    """Which of the racers, all at once, were not refused."""

    def won(number: int) -> bool:
        try:
            run(number)
        except (AlreadyExists, Conflict):
            return False
        return True

    with ThreadPoolExecutor(RACERS) as pool:
        return [number for number, first in enumerate(pool.map(won, range(RACERS))) if first]


def test_one_of_fifty_creators_wins(store: Store) -> None:
    """Of fifty racing creates one succeeds, and its fields are stored."""
    [winner] = winners(lambda number: store.commit([Create(path="c/d", fields={"by": number})]))
    [found] = store.get(["c/d"])
    assert found is not None
    assert found.fields == {"by": winner}


def test_one_of_fifty_holders_of_a_guard_wins(store: Store) -> None:
    """Of fifty racing updates with one guard one succeeds."""
    [created] = store.commit([Create(path="c/d", fields={"by": -1})])
    guard = created.version
    [winner] = winners(lambda number: store.commit([Update(path="c/d", fields={"by": number}, guard=guard)]))
    [found] = store.get(["c/d"])
    assert found is not None
    assert found.fields == {"by": winner}


def test_racing_increments_all_count_and_each_sees_a_value_of_its_own(store: Store) -> None:
    """Of fifty racing decrements exactly one is answered 0."""
    store.commit([Create(path="c/d", fields={"remaining": RACERS})])

    def decrement(_: int) -> int:
        return store.commit([Update(path="c/d", increments={"remaining": -1})])[0].increments["remaining"]

    with ThreadPoolExecutor(RACERS) as pool:
        assert sorted(pool.map(decrement, range(RACERS))) == list(range(RACERS))


def test_reads_see_every_commit_that_was_answered_before(store: Store) -> None:
    """Every read finds a commit that was answered before it."""

    def write_and_read(number: int) -> bool:
        path = f"c/{number}"
        store.commit([Create(path=path, fields={"number": number})])
        query = Query(collection="c", where=[("number", "==", number)])
        return store.get([path])[0] is not None and len(store.query(query)) == store.count(query) == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(40)))
