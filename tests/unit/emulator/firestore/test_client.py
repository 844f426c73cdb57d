"""The real, unmodified client against the server: what a program sees of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter, Or

if TYPE_CHECKING:
    from collections.abc import Callable


def embedded_only(reason: str) -> pytest.MarkDecorator:
    """Skip a test where the tests were pointed at Google's own emulator."""
    return pytest.mark.skipif("FIRESTORE_EMULATOR_HOST" in os.environ, reason=reason)


NOW = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


def race(count: int, run: Callable[[int], Any]) -> list[Any]:
    """Run that many calls at once and return their results or errors."""

    def caught(number: int) -> Any:
        try:
            return run(number)
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(caught, range(count)))


def test_every_type_round_trips(client: Any) -> None:
    """Each type is read as it was written, in value and type."""
    fields = {
        "null": None,
        "bool": True,
        "int": -(2**63),
        "float": 1.5,
        "time": NOW,
        "text": "ä\x00😀",
        "bytes": b"\x00\xff",
        "point": firestore.GeoPoint(1.5, -2.5),
        "list": [1, "a", {"x": []}],
        "map": {"a.b": {"`": 1}, "empty": {}},
        "reference": client.document("a/b"),
    }
    client.document("c/d").set(fields)
    snapshot = client.document("c/d").get()
    assert snapshot.to_dict() == fields
    assert snapshot.create_time == snapshot.update_time


def test_a_missing_document_is_none(client: Any) -> None:
    """Getting what is not there is no error."""
    assert not client.document("c/d").get().exists
    found = {one.id: one.exists for one in client.get_all([client.document("c/d"), client.document("c/e")])}
    assert found == {"d": False, "e": False}


def test_create_refuses_an_existing_document(client: Any) -> None:
    """A second create answers ALREADY_EXISTS."""
    client.document("c/d").create({"a": 1})
    with pytest.raises(exceptions.AlreadyExists):
        client.document("c/d").create({"a": 2})


def test_update_needs_a_document(client: Any) -> None:
    """An update of what is not there answers NOT_FOUND."""
    with pytest.raises(exceptions.NotFound):
        client.document("c/d").update({"a": 1})


def test_update_of_field_paths_transforms_and_deletions(client: Any) -> None:
    """One update sets nested fields, deletes, and computes."""
    document = client.document("c/d")
    document.set({"a": {"b": 1, "c": 2}, "gone": 1, "n": 1, "tags": ["x"], "x.y": 0})
    changes = {
        "a.b": 5,
        "gone": firestore.DELETE_FIELD,
        "n": firestore.Increment(2),
        "tags": firestore.ArrayUnion(["y"]),
        "at": firestore.SERVER_TIMESTAMP,
        client.field_path("x.y"): 1,
    }
    answer = document.update(changes)
    fields = document.get().to_dict()
    at = fields.pop("at")
    assert fields == {"a": {"b": 5, "c": 2}, "n": 3, "tags": ["x", "y"], "x.y": 1}
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=1)
    assert len(answer.transform_results) == 3


def test_a_guard_is_checked(client: Any) -> None:
    """A stale update time answers FAILED_PRECONDITION, the current one goes through."""
    document = client.document("c/d")
    first = document.set({"a": 1})
    document.update({"a": 2}, option=client.write_option(last_update_time=first.update_time))
    with pytest.raises(exceptions.FailedPrecondition):
        document.update({"a": 3}, option=client.write_option(last_update_time=first.update_time))
    with pytest.raises(exceptions.FailedPrecondition):
        document.delete(option=client.write_option(last_update_time=first.update_time))
    assert document.get().to_dict() == {"a": 2}


def test_a_guard_on_a_missing_document_fails(client: Any) -> None:
    """An update time never holds for what is not there."""
    stale = client.document("c/other").set({"a": 1}).update_time
    with pytest.raises(exceptions.FailedPrecondition):
        client.document("c/d").update({"a": 3}, option=client.write_option(last_update_time=stale))


def test_a_write_that_changes_nothing_keeps_the_update_time(client: Any) -> None:
    """A write that changes nothing keeps the update time, stored and answered."""
    document = client.document("c/d")
    first = document.set({"a": 1, "b": {"c": [1]}})
    assert document.set({"b": {"c": [1]}, "a": 1}).update_time == first.update_time
    assert document.update({"a": 1}).update_time == first.update_time
    assert document.get().update_time == first.update_time
    assert document.update({"a": 1.0}).update_time != first.update_time


def test_bad_requests_are_refused(client: Any) -> None:
    """Reserved ids, arrays in arrays and overlarge documents answer INVALID_ARGUMENT."""
    with pytest.raises(exceptions.InvalidArgument):
        client.document("c/__x__").set({"a": 1})
    with pytest.raises(exceptions.InvalidArgument):
        client.document("c/d").set({"a": [[1]]})
    with pytest.raises(exceptions.InvalidArgument):
        client.document("c/d").set({f"a{number}": "x" * 600_000 for number in range(2)})


@embedded_only("Google's emulator makes the other writer wait for the transaction's lock")
def test_a_transaction_detects_a_lost_update(client: Any) -> None:
    """A read-modify-write runs again when another write came between, and loses nothing."""
    document = client.document("c/d")
    document.set({"n": 0})
    runs: list[int] = []

    @firestore.transactional
    def add_one(transaction: Any) -> None:
        seen = document.get(transaction=transaction).get("n")
        runs.append(seen)
        if len(runs) == 1:
            document.update({"n": 10})
        transaction.update(document, {"n": seen + 1})

    add_one(client.transaction())
    assert document.get().to_dict() == {"n": 11}
    assert runs == [0, 10]


def test_racing_transactions_lose_nothing(client: Any) -> None:
    """The counter shows as many increments as transactions succeeded."""
    document = client.document("c/d")
    document.set({"n": 0})

    def add_one(_: int) -> None:
        @firestore.transactional
        def body(transaction: Any) -> None:
            seen = document.get(transaction=transaction).get("n")
            transaction.update(document, {"n": seen + 1})

        body(client.transaction(max_attempts=20))

    answers = race(8, add_one)
    assert document.get().get("n") == answers.count(None)
    assert answers.count(None) > 0


def test_a_transaction_rolls_back(client: Any) -> None:
    """An exception in the body leaves nothing written."""

    @firestore.transactional
    def fail(transaction: Any) -> None:
        transaction.set(client.document("c/d"), {"a": 1})
        raise LookupError

    with pytest.raises(LookupError):
        fail(client.transaction())
    assert not client.document("c/d").get().exists


def test_a_batch_of_five_hundred_is_atomic(client: Any) -> None:
    """Five hundred writes go through at once, or not at all."""
    batch = client.batch()
    for number in range(500):
        batch.create(client.document(f"c/{number:03}"), {"n": number})
    assert len(batch.commit()) == 500
    again = client.batch()
    again.create(client.document("c/new"), {})
    again.create(client.document("c/007"), {})
    with pytest.raises(exceptions.AlreadyExists):
        again.commit()
    assert client.collection("c").count().get()[0][0].value == 500


@embedded_only("Google's emulator takes 4 MiB")
def test_eight_megabytes_are_accepted_in_one_commit(client: Any) -> None:
    """A request may have up to 10 MiB."""
    batch = client.batch()
    for number in range(10):
        batch.set(client.document(f"c/{number}"), {"text": "x" * 800_000})
    batch.commit()
    assert len(client.document("c/9").get().get("text")) == 800_000


def seed_steps(client: Any) -> None:
    """Write four runs with four steps each, two of which are due."""
    batch = client.batch()
    for run in "abcd":
        for step in range(4):
            due = {"due_at": NOW + timedelta(seconds=ord(run) - 97 + step * 10)} if step < 2 else {}
            batch.set(client.document(f"runs/{run}/steps/{step}"), {"schema": 1, "step": step, **due})
    batch.commit()


def paths(query: Any) -> list[str]:
    """Return the results' runs and steps."""
    return ["".join(one.reference.path.split("/")[1::2]) for one in query.stream()]


def test_the_checkers_query(client: Any) -> None:
    """Due steps of all runs come by due time, in pages."""
    seed_steps(client)
    query = (
        client.collection_group("steps")
        .where(filter=FieldFilter("schema", "==", 1))
        .where(filter=FieldFilter("due_at", "<=", NOW + timedelta(seconds=11)))
        .order_by("due_at")
    )
    assert paths(query) == ["a0", "b0", "c0", "d0", "a1", "b1"]
    page = list(query.limit(2).stream())
    assert [one.id for one in page] == ["0", "0"]
    assert paths(query.limit(3).start_after(page[-1])) == ["c0", "d0", "a1"]
    by_name = query.order_by("__name__").limit(2)
    assert paths(by_name.start_after({"due_at": NOW, "__name__": page[0].reference})) == ["b0", "c0"]


def test_queries_filter_order_and_cut(client: Any) -> None:
    """Filters, orders, cursors, projections, offsets and limits work through the client."""
    for name, number in {"a": 3, "b": 1, "c": 2, "d": 2}.items():
        client.document(f"c/{name}").set({"n": number, "tags": [name, "all"], "x": {"y": name}})
    collection = client.collection("c")
    assert [one.id for one in collection.order_by("n", direction="DESCENDING").stream()] == list("adcb")
    assert [one.id for one in collection.order_by("n").limit_to_last(2).get()] == ["d", "a"]
    assert [one.id for one in collection.order_by("n").offset(1).limit(2).stream()] == ["c", "d"]
    either = Or([FieldFilter("n", "==", 3), FieldFilter("x.y", "in", ["b"])])
    assert [one.id for one in collection.where(filter=either).stream()] == ["a", "b"]
    assert len(collection.where(filter=FieldFilter("tags", "array_contains", "all")).get()) == 4
    assert [one.to_dict() for one in collection.select(["x.y"]).limit(1).stream()] == [{"x": {"y": "a"}}]
    assert [one.to_dict() for one in collection.select([]).limit(1).stream()] == [{}]
    assert [one.id for one in collection.order_by("n").start_at({"n": 2}).end_before({"n": 3}).stream()] == ["c", "d"]
    between = collection.where(filter=FieldFilter("n", ">", 1)).where(filter=FieldFilter("n", "!=", 3))
    assert [one.id for one in between.stream()] == ["c", "d"]
    assert collection.where(filter=FieldFilter("n", "==", None)).get() == []


def test_aggregations(client: Any) -> None:
    """Counts, sums and averages come under their aliases."""
    for name, number in {"a": 3, "b": 1, "c": 2}.items():
        client.document(f"c/{name}").set({"n": number})
    query = client.collection("c").count(alias="many").sum("n", alias="sum").avg("n", alias="mean")
    assert {one.alias: one.value for one in query.get()[0]} == {"many": 3, "sum": 6, "mean": 2.0}
    few = client.collection("c").where(filter=FieldFilter("n", "<", 3)).count().get()
    assert few[0][0].value == 2


def test_collections_and_documents_are_listed(client: Any) -> None:
    """Listings include documents that only have something below them."""
    client.document("c/a").set({})
    client.document("c/b/d/e").set({})
    assert [one.id for one in client.collections()] == ["c"]
    assert [one.id for one in client.document("c/b").collections()] == ["d"]
    assert [one.id for one in client.collection("c").list_documents(page_size=1)] == ["a", "b"]


def test_projects_and_databases_are_apart(client: Any) -> None:
    """A document of one database is in no other."""
    client.document("c/d").set({})
    other = firestore.Client(project=client.project, database="other", credentials=client._credentials)
    assert not other.document("c/d").get().exists


def test_bulk_writes_answer_each_for_itself(client: Any) -> None:
    """A bulk writer's refused write leaves the others done."""
    client.document("c/a").set({})
    writer = client.bulk_writer()
    failed: list[int] = []

    def refused(failure: Any, _writer: Any) -> bool:
        failed.append(failure.code)
        return False

    writer.on_write_error(refused)
    for name in "ab":
        writer.create(client.document(f"c/{name}"), {"n": 1})
    writer.close()
    assert client.document("c/b").get().to_dict() == {"n": 1}
    assert client.document("c/a").get().to_dict() == {}
    assert failed == [6]


def test_recursive_delete(client: Any) -> None:
    """A recursive delete finds everything below a document."""
    seed_steps(client)
    client.recursive_delete(client.document("runs/a"))
    assert len(client.collection_group("steps").get()) == 12


def test_what_is_not_emulated_says_so(client: Any) -> None:
    """Partitioning a query answers UNIMPLEMENTED rather than something wrong."""
    with pytest.raises(exceptions.MethodNotImplemented):
        list(client._firestore_api.partition_query({"parent": client._database_string + "/documents"}))
