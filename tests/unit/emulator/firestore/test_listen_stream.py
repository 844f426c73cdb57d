"""The stream of a listener, in the protocol's messages and without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from atom_emulator.firestore import messages as pb
from atom_emulator.firestore.counters import Counters
from atom_emulator.firestore.database import Database
from atom_emulator.firestore.errors import FirestoreError, InvalidArgument, ResourceExhausted, Unavailable
from atom_emulator.firestore.listen_stream import MOST_TARGETS, ListenStream
from atom_emulator.firestore.writes import Put, Remove

NAME = "projects/p/databases/d"
ROOT = f"{NAME}/documents"
KINDS = ("NO_CHANGE", "ADD", "REMOVE", "CURRENT", "RESET")


@pytest.fixture
def counters() -> Counters:
    """Return counters at zero."""
    return Counters()


@pytest.fixture
def stream(database: Database, counters: Counters) -> ListenStream:
    """Return a stream that never waits."""
    return ListenStream(lambda _: database, counters, idle_s=0)


def query(number: int = 1, **options: Any) -> Any:
    """Return a request to listen to the collection `c`."""
    request = pb.ListenRequest(database=NAME)
    request.add_target.target_id = number
    request.add_target.query.parent = ROOT
    request.add_target.query.structured_query.from_.add(collection_id="c")
    for name, value in options.items():
        setattr(request.add_target, name, value)
    return request


def documents(number: int, *paths: str) -> Any:
    """Return a request to listen to some documents."""
    request = pb.ListenRequest(database=NAME)
    request.add_target.target_id = number
    request.add_target.documents.documents.extend(f"{ROOT}/{path}" for path in paths)
    return request


def describe(response: Any) -> str:
    """Return a response in a few words."""
    kind = response.WhichOneof("response_type")
    if kind == "target_change":
        change = response.target_change
        return " ".join((KINDS[change.target_change_type], *map(str, change.target_ids)))
    one = getattr(response, kind)
    document = one.document.name if kind == "document_change" else one.document
    numbers = one.target_ids if kind == "document_change" else one.removed_target_ids
    return " ".join((kind.removeprefix("document_"), document.removeprefix(f"{ROOT}/"), *map(str, numbers)))


def until_no_change(responses: Iterator[Any]) -> list[Any]:
    """Return the responses up to one that says that all targets are at one moment."""
    taken = []
    for response in responses:
        taken.append(response)
        if describe(response) == "NO_CHANGE":
            break
    return taken


def told(responses: Iterator[Any]) -> list[str]:
    """Return the same in words."""
    return list(map(describe, until_no_change(responses)))


def write(database: Database, *paths: str, **fields: Any) -> None:
    """Write documents in one commit."""
    database.commit([Put(path=path, fields=fields) for path in paths])


def test_a_target_is_added_shown_and_then_current(stream: ListenStream, database: Database) -> None:
    """The documents come between the target's addition and its being current."""
    write(database, "c/a", "c/b")
    stream.request(query())
    assert told(stream.responses()) == ["ADD 1", "change c/a 1", "change c/b 1", "CURRENT 1", "NO_CHANGE"]


def test_changes_follow_with_a_newer_token(stream: ListenStream, database: Database) -> None:
    """Changes, departures and deletions come with a token that resumes after them."""
    write(database, "c/a", "c/b")
    stream.request(query())
    responses = stream.responses()
    first = until_no_change(responses)[-1].target_change
    database.commit([Put(path="c/a", fields={"n": 1}), Remove(path="c/b")])
    changes = until_no_change(responses)
    assert list(map(describe, changes)) == ["change c/a 1", "delete c/b 1", "NO_CHANGE"]
    last = changes[-1].target_change
    assert last.resume_token != first.resume_token
    assert last.read_time.ToNanoseconds() >= first.read_time.ToNanoseconds()


def test_an_idle_stream_reports_that_nothing_has_changed(stream: ListenStream) -> None:
    """After a while without changes a listener gets a newer token alone."""
    stream.request(query())
    responses = stream.responses()
    until_no_change(responses)
    assert told(responses) == ["NO_CHANGE"]


def test_targets_of_one_stream_share_its_moments(stream: ListenStream, database: Database) -> None:
    """A commit that concerns several targets is reported to all of them before the moment is said to be complete."""
    stream.request(query(1))
    stream.request(documents(2, "c/a", "c/none"))
    responses = stream.responses()
    assert told(responses) == [
        "ADD 1",
        "ADD 2",
        "CURRENT 1",
        "delete c/a 2",
        "delete c/none 2",
        "CURRENT 2",
        "NO_CHANGE",
    ]
    write(database, "c/a")
    assert told(responses) == ["change c/a 1", "change c/a 2", "NO_CHANGE"]


def test_a_removed_target_is_silent(stream: ListenStream, database: Database) -> None:
    """After its removal a target reports nothing, and its number may be used again."""
    stream.request(query(1))
    responses = stream.responses()
    until_no_change(responses)
    stream.request(pb.ListenRequest(database=NAME, remove_target=1))
    stream.request(documents(1, "c/b"))
    write(database, "c/a")
    assert told(responses) == ["REMOVE 1", "ADD 1", "delete c/b 1", "CURRENT 1", "NO_CHANGE"]


def test_a_target_for_one_look_is_removed_after_it(stream: ListenStream) -> None:
    """A target that is wanted once is removed when it is current."""
    stream.request(query(1, once=True))
    responses = stream.responses()
    assert told(responses) == ["ADD 1", "CURRENT 1", "NO_CHANGE"]
    assert describe(next(responses)) == "REMOVE 1"


def test_a_target_without_a_number_gets_one(stream: ListenStream) -> None:
    """The server numbers targets whose requests leave that to it."""
    stream.request(query(7))
    stream.request(query(0))
    assert told(stream.responses())[:2] == ["ADD 7", "ADD 8"]


def test_a_resumed_target_is_not_reset(stream: ListenStream, database: Database, counters: Counters) -> None:
    """With a token, only what has changed is sent and counted as read."""
    write(database, *(f"c/{number}" for number in range(20)))
    stream.request(query())
    token = until_no_change(stream.responses())[-1].target_change.resume_token
    write(database, "c/7", n=1)
    other = ListenStream(lambda _: database, counters, idle_s=0)
    other.request(query(1, resume_token=token))
    assert told(other.responses()) == ["ADD 1", "change c/7 1", "CURRENT 1", "NO_CHANGE"]
    assert b'"reads": 21' in counters.as_json()


def test_an_unknown_token_resets_the_target(stream: ListenStream, database: Database) -> None:
    """With another server's token, all is sent again after a reset."""
    write(database, "c/a")
    stream.request(query(1, resume_token=b"1234.1"))
    assert told(stream.responses()) == ["ADD 1", "RESET 1", "change c/a 1", "CURRENT 1", "NO_CHANGE"]


def refused_query(change: Callable[[Any], Any]) -> Any:
    """Return a request to listen to a query that was changed."""
    request = query()
    change(request.add_target.query)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (refused_query(lambda one: one.structured_query.select.fields.add(field_path="n")), 3, "'select' clauses"),
        (refused_query(lambda one: one.structured_query.find_nearest.SetInParent()), 12, "find_nearest"),
        (refused_query(lambda one: setattr(one, "parent", "projects/p/databases/other/documents")), 3, "not in"),
        (documents(1, "c"), 3, "lacks a document id"),
        (pb.ListenRequest(database=NAME, add_target={"target_id": 1}), 12, "structured query or documents"),
    ],
)
def test_a_refused_target_leaves_the_others_alone(stream: ListenStream, request_: Any, code: int, message: str) -> None:
    """What cannot be listened to is removed at once, with a sentence, and the stream goes on."""
    stream.request(request_)
    stream.request(query(2))
    responses = until_no_change(stream.responses())
    assert list(map(describe, responses)) == ["ADD 1", "REMOVE 1", "ADD 2", "CURRENT 2", "NO_CHANGE"]
    cause = responses[1].target_change.cause
    assert (cause.code, message in cause.message) == (code, True)


def test_a_stream_has_only_so_many_targets(stream: ListenStream) -> None:
    """A target beyond the limit is refused."""
    for number in range(1, MOST_TARGETS + 2):
        stream.request(documents(number, "c/a"))
    responses = until_no_change(stream.responses())
    refused = next(one for one in responses if describe(one).startswith("REMOVE"))
    assert "up to 100 targets" in refused.target_change.cause.message


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([query(1), query(1)], "already has a target 1"),
        ([query(-1)], "must be positive"),
        ([pb.ListenRequest(database=NAME)], "must add or remove"),
        ([pb.ListenRequest(database="x", remove_target=1)], "not a name of the form"),
        ([query(1), pb.ListenRequest(database="projects/p/databases/e", remove_target=1)], "open another one"),
    ],
)
def test_a_request_that_makes_no_sense_ends_the_stream(
    stream: ListenStream, requests: Sequence[Any], message: str
) -> None:
    """The stream ends with a sentence that says what was wrong."""
    for request in requests:
        stream.request(request)
    with pytest.raises(InvalidArgument, match=message):
        list(stream.responses())


@pytest.mark.parametrize("error", [None, Unavailable("over")])
def test_a_stream_ends_with_the_first_reason(stream: ListenStream, error: FirestoreError | None) -> None:
    """A stream that was ended twice ends for the first reason."""
    stream.end(error)
    stream.end(Unavailable("too late"))
    if error is None:
        assert list(stream.responses()) == []
    else:
        with pytest.raises(Unavailable, match="over"):
            list(stream.responses())


def test_more_requests_than_can_wait_end_the_stream(stream: ListenStream) -> None:
    """Requests that come faster than they are answered do not pile up."""
    for _ in range(1_001):
        stream.request(query())
    with pytest.raises(ResourceExhausted, match="more than 1,000 requests"):
        list(stream.responses())
