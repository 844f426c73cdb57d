"""What a listener's caller is told, from the messages of a stream alone."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.api_core import exceptions as google_errors
from google.cloud.firestore_v1 import types

from atom_workflows.adapters.firestore.listener import FirestoreListening
from atom_workflows.adapters.firestore.messages import FirestoreMessages
from atom_workflows.adapters.firestore.snapshots import CountsDiffer, Snapshots
from atom_workflows.adapters.grpc_calls import message_class
from atom_workflows.listening import Batch

DATABASE: Final = "projects/p/databases/(default)"
TARGET: Final = 1
Message: Final = message_class(types.ListenResponse)
ListenRequest: Final = message_class(types.ListenRequest)
NO_CHANGE, ADD, REMOVE, CURRENT, RESET = range(5)


def target(kind: int, token: bytes = b"t") -> Any:
    """Return a change of the target, or of all if nothing has changed."""
    message = Message()
    message.target_change.target_change_type = kind
    if kind == NO_CHANGE:
        message.target_change.resume_token = token
        message.target_change.read_time.seconds = 1
    else:
        message.target_change.target_ids.append(TARGET)
    return message


def shown(name: str, version: int = 1) -> Any:
    """Return a document that matches."""
    message = Message()
    message.document_change.document.name = f"{DATABASE}/documents/c/{name}"
    message.document_change.document.update_time.seconds = version
    message.document_change.target_ids.append(TARGET)
    return message


def gone(name: str) -> Any:
    """Return a document that changed and matches no longer."""
    message = shown(name)
    message.document_change.removed_target_ids.extend(message.document_change.target_ids)
    del message.document_change.target_ids[:]
    return message


def counted(count: int) -> Any:
    """Return how many documents there are."""
    message = Message()
    message.filter.count = count
    message.filter.target_id = TARGET
    return message


@pytest.fixture
def snapshots() -> Snapshots:
    """Return the state of a target that nothing was said about."""
    return Snapshots(FirestoreMessages(DATABASE).document)


def tell(snapshots: Snapshots, *messages: Any) -> bool:
    """Pass messages on, and return what the last one returned."""
    return [snapshots.receive(message) for message in messages][-1]


def taken(snapshots: Snapshots) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of a batch: added, changed and removed."""
    batch: Batch = snapshots.take()
    removed = [path.removeprefix("c/") for path in batch.removed]
    return [one.id for one in batch.added], [one.id for one in batch.changed], removed


def begin(snapshots: Snapshots, *names: str) -> None:
    """Show documents, and have them taken."""
    snapshots.begin_stream()
    tell(snapshots, target(ADD), *map(shown, names), target(CURRENT), target(NO_CHANGE))
    taken(snapshots)


def test_nothing_is_told_before_the_documents_are_of_one_moment(snapshots: Snapshots) -> None:
    """Documents are there once the target is current and nothing more is to come."""
    snapshots.begin_stream()
    assert not tell(snapshots, target(ADD), shown("a"), target(NO_CHANGE), target(CURRENT))
    assert not snapshots.has_changes
    assert tell(snapshots, target(NO_CHANGE))
    assert taken(snapshots) == (["a"], [], [])


def test_documents_that_are_sent_again_are_no_news(snapshots: Snapshots) -> None:
    """After a reset, only what differs from what was taken is told."""
    begin(snapshots, "a", "b", "c")
    tell(snapshots, target(RESET), shown("a"), shown("b", 2), shown("d"), target(CURRENT), target(NO_CHANGE))
    assert taken(snapshots) == (["d"], ["b"], ["c"])
    tell(snapshots, target(RESET), shown("a"), shown("b", 2), shown("d"), target(CURRENT), target(NO_CHANGE))
    assert not snapshots.has_changes
    assert snapshots.documents_read == 9


def test_a_stream_that_breaks_off_leaves_no_trace(snapshots: Snapshots) -> None:
    """What a stream told before it broke is forgotten, and told again by the next one."""
    begin(snapshots, "a")
    tell(snapshots, shown("a", 2), gone("b"))
    snapshots.begin_stream()
    tell(snapshots, target(ADD), target(CURRENT), target(NO_CHANGE))
    assert taken(snapshots) == ([], [], [])


def test_a_document_that_comes_and_goes_untaken_is_no_news(snapshots: Snapshots) -> None:
    """What was added and removed between two batches was never there."""
    begin(snapshots, "a")
    tell(snapshots, shown("b"), target(NO_CHANGE))
    tell(snapshots, gone("b"), target(NO_CHANGE))
    assert not snapshots.has_changes


def test_a_bookmark_belongs_to_what_was_taken(snapshots: Snapshots) -> None:
    """As long as something waits to be taken, the bookmark is from before it."""
    begin(snapshots, "a")
    tell(snapshots, shown("b"), target(NO_CHANGE, b"later"))
    mark = snapshots.bookmark()
    assert mark is not None
    assert (mark.token, set(mark.versions)) == (b"t", {"c/a"})
    taken(snapshots)
    mark = snapshots.bookmark()
    assert mark is not None
    assert (mark.token, set(mark.versions)) == (b"later", {"c/a", "c/b"})


def test_a_bookmark_moves_on_while_nothing_changes(snapshots: Snapshots) -> None:
    """A quiet listener can be resumed from now, and not only from its last change."""
    begin(snapshots, "a")
    tell(snapshots, target(NO_CHANGE, b"later"))
    mark = snapshots.bookmark()
    assert mark is not None
    assert mark.token == b"later"


def test_a_report_without_a_time_is_no_moment(snapshots: Snapshots) -> None:
    """The service gives a time, in a report about all targets, only once the documents are of one moment."""
    begin(snapshots, "a")
    untimed = target(NO_CHANGE, b"later")
    untimed.target_change.ClearField("read_time")
    assert not tell(snapshots, shown("b"), untimed)
    assert (snapshots.has_changes, snapshots.token) == (False, b"t")
    assert tell(snapshots, target(NO_CHANGE))
    assert taken(snapshots) == (["b"], [], [])


def test_a_moment_without_a_token_keeps_the_one_before(snapshots: Snapshots) -> None:
    """Not every report has a token; without any, everything would be sent again."""
    begin(snapshots, "a")
    assert tell(snapshots, shown("b"), target(NO_CHANGE, b""))
    assert taken(snapshots) == (["b"], [], [])
    assert snapshots.token == b"t"


def test_another_count_has_everything_sent_again(snapshots: Snapshots) -> None:
    """If the service counts other documents than it told of, the next stream begins without a token."""
    begin(snapshots, "a", "b")
    tell(snapshots, shown("c"), gone("a"), counted(2))
    with pytest.raises(CountsDiffer):
        tell(snapshots, counted(1))
    snapshots.begin_anew()
    assert snapshots.token == b""
    snapshots.begin_stream()
    tell(snapshots, target(ADD), shown("b"), target(CURRENT), target(NO_CHANGE))
    assert taken(snapshots) == ([], [], ["a"])


def test_a_target_that_is_taken_away_is_an_error(snapshots: Snapshots) -> None:
    """The service's reason for removing the target is raised as its status."""
    message = target(REMOVE)
    message.target_change.cause.code = 7
    message.target_change.cause.message = "no"
    with pytest.raises(google_errors.PermissionDenied, match="no"):
        tell(snapshots, message)


class Stream(list[Any]):
    """A stream that has come to an end."""

    def cancel(self) -> None:
        """Accept that it is not wanted any more."""


def test_a_failure_of_the_reading_thread_reaches_the_caller() -> None:
    """If the stream brings what no one expects, `take` raises that instead of waiting forever."""
    listening = FirestoreListening(
        lambda *_, **__: Stream(["no message"]), ListenRequest(), Snapshots(FirestoreMessages(DATABASE).document)
    )
    with pytest.raises(AttributeError):
        listening.take(60)
    listening.close()
