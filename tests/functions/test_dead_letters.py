"""Events that are given up: on which delivery, with what reason, and what is kept of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from atom_emulator.pubsub.memory import TakenMessage
from atom_emulator.testing.world import START, World
from atom_workflows.documents import RUNS
from atom_workflows.errors import BusUnavailable, NotStorable, StoreUnavailable
from atom_workflows.messages.dead_letters import LONGEST_REASON, read_dead_letter, replay_message
from atom_workflows.ports import Document, HeldMessage, Message, Query, Write, WriteResult
from atom_workflows.settings import MAX_DELIVERIES
from functions.posting import EVENTS, Deployed, Golden, golden

PUSHED = [path.stem for path in sorted(EVENTS.glob("*-push-*.json"))]
KEPT = [name for name in PUSHED if not name.startswith("checker")]
TICKS = [name for name in PUSHED if name.startswith("checker")]
PUSH = {"Content-Type": "application/json", "User-Agent": "APIs-Google"}


@dataclass(slots=True)
class FailingStore:
    """A store whose every call raises."""

    error: Exception

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:  # noqa: ARG002 (the port names it)
        """Raise."""
        raise self.error

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:  # noqa: ARG002 (the port names it)
        """Raise."""
        raise self.error

    def query(self, query: Query) -> list[Document]:  # noqa: ARG002 (the port names it)
        """Raise."""
        raise self.error

    def count(self, query: Query) -> int:  # noqa: ARG002 (the port names it)
        """Raise."""
        raise self.error


class ClosedBus:
    """A bus that takes nothing."""

    def publish(self, messages: Sequence[Message]) -> None:  # noqa: ARG002 (the port names it)
        """Raise."""
        raise BusUnavailable("topic dead-letters does not exist")


def delivered(name: str, attempt: int | None) -> Golden:
    """Return a golden push with the number of its delivery."""
    event = golden(name)
    return (
        event if attempt is None else Golden(event.function, event.headers, event.body | {"deliveryAttempt": attempt})
    )


def pushed(data: bytes, **attributes: str) -> Golden:
    """Return a push of a start message."""
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes, "messageId": "m-1"}
    return Golden("start", PUSH, {"message": message, "subscription": "projects/demo/subscriptions/start"})


def broken(functions: Deployed, world: World, error: Exception) -> None:
    """Let every call of the store fail."""
    functions.on(replace(world.services, store=FailingStore(error)))


def letter(world: World) -> TakenMessage:
    """Return the one dead letter."""
    [found] = world.bus.take_all("dead-letters")
    return found


def held(found: TakenMessage) -> HeldMessage:
    """Return the letter as it is pulled."""
    return HeldMessage(
        id=found.message_id, data=found.data, attributes=found.attributes, published_at=START, lease=found.ack_id
    )


def replay_of(found: TakenMessage) -> Golden:
    """Return the push of the letter's message, published again."""
    message = replay_message(read_dead_letter(held(found)), actor="ana@example.com")
    assert message.topic == "start"
    return pushed(message.raw or b"", **message.attributes)


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("attempt", [None, 1, MAX_DELIVERIES - 1])
def test_an_event_comes_again_before_its_last_delivery(
    functions: Deployed, world: World, name: str, attempt: int | None
) -> None:
    """A failing event is answered 500 until its last delivery."""
    broken(functions, world, StoreUnavailable("the store is away"))
    assert functions.post(delivered(name, attempt)) == 500
    assert [line["action"] for line in functions.lines] == ["event.failed"]
    assert world.bus.take_all("dead-letters") == []


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("attempt", [MAX_DELIVERIES, MAX_DELIVERIES + 1])
def test_an_event_is_kept_on_its_last_delivery(functions: Deployed, world: World, name: str, attempt: int) -> None:
    """A dead letter has the event's data, its attributes, and the reason."""
    broken(functions, world, StoreUnavailable("the store is away"))
    event = delivered(name, attempt)
    assert functions.post(event) == 204
    [line] = functions.logged("event.given_up")
    assert (line["severity"], "the store is away" in line["message"]) == ("ERROR", True)
    found, message = letter(world), event.body["message"]
    assert found.data == base64.b64decode(message.get("data", ""))
    assert message["attributes"].items() <= found.attributes.items()
    kept = read_dead_letter(held(found))
    assert (kept.topic, kept.deliveries) == ("steps" if event.function == "dispatcher" else "start", attempt)
    assert (kept.reason, kept.error) == ("the store is away", "StoreUnavailable")
    assert kept.attributes == message["attributes"]
    assert not kept.is_hopeless


def test_the_last_delivery_is_a_setting(functions: Deployed) -> None:
    """A deployment whose subscriptions deliver fewer times says so."""
    world = World(max_deliveries=5)
    broken(functions, world, StoreUnavailable("away"))
    assert [functions.post(delivered("start-push-inline", attempt)) for attempt in (4, 5)] == [500, 204]


@pytest.mark.parametrize("name", [name for name in KEPT if name.startswith("dispatcher")])
def test_an_event_whose_work_cannot_be_stored_does_not_come_again(functions: Deployed, world: World, name: str) -> None:
    """What cannot be stored now can never be stored, so its event is a dead letter after its first delivery."""
    broken(functions, world, NotStorable("a document would be too large"))
    assert functions.post(delivered(name, 1)) == 204
    [line] = functions.logged("event.given_up")
    said = "dead-lettered because redelivery cannot help: a document would be too large"
    assert line["message"] == said
    kept = read_dead_letter(held(letter(world)))
    assert (kept.reason, kept.error) == ("a document would be too large", "NotStorable")


@pytest.mark.parametrize("name", TICKS)
def test_a_tick_is_dropped_on_its_last_delivery(functions: Deployed, world: World, name: str) -> None:
    """A tick that fails on its last delivery is dropped."""
    broken(functions, world, StoreUnavailable("away"))
    assert functions.post(delivered(name, MAX_DELIVERIES)) == 204
    [line] = functions.logged("event.given_up")
    assert line["severity"] == "ERROR"
    assert world.bus.take_all("dead-letters") == []


def test_a_defect_is_in_the_letter_by_its_place_alone(functions: Deployed, world: World) -> None:
    """A defect's text is in the log, and only its place in the letter."""
    broken(functions, world, KeyError("a secret"))
    assert functions.post(delivered("start-push-inline", MAX_DELIVERIES)) == 204
    reason = letter(world).attributes["deadLetterReason"]
    assert reason.startswith("internal error KeyError at test_dead_letters.py:")
    assert "secret" not in reason
    [line] = functions.logged("event.given_up")
    assert "Traceback" in line["message"]
    assert "a secret" in line["message"]


@pytest.mark.parametrize("attempt", [1, MAX_DELIVERIES, MAX_DELIVERIES + 1])
@pytest.mark.parametrize("name", ["start-push-inline", "malformed/start-params-is-a-list"])
def test_without_a_place_to_keep_it_an_event_comes_again(
    functions: Deployed, world: World, name: str, attempt: int
) -> None:
    """An event that cannot be kept is not acknowledged."""
    functions.on(replace(world.services, store=FailingStore(StoreUnavailable("away")), bus=ClosedBus()))
    assert functions.post(delivered(name, attempt)) == 500
    [line] = functions.logged("event.failed")
    assert line["message"].startswith("will be redelivered")


def test_a_person_who_posts_gets_an_answer_and_no_letter(functions: Deployed, world: World) -> None:
    """A plain POST that fails leaves no dead letter."""
    assert functions.post(Golden("start", {"Content-Type": "application/json"}, {"workflow_path": 7})) == 400
    broken(functions, world, StoreUnavailable("away"))
    plain = {"workflow_path": "gs://flows/workflows/daily.yaml"}
    assert functions.post(Golden("start", {"Content-Type": "application/json"}, plain)) == 500
    assert world.bus.take_all("dead-letters") == []


@pytest.mark.parametrize("name", ["start-push-path", "start-push-inline", "start-push-bucket-notification"])
def test_a_replayed_start_starts_the_run_that_was_asked_for(functions: Deployed, world: World, name: str) -> None:
    """A replayed start starts the run of the first event, once."""
    broken(functions, world, StoreUnavailable("away"))
    functions.post(delivered(name, MAX_DELIVERIES))
    found = letter(world)
    functions.on(world.services)
    assert [functions.post(event) for event in (replay_of(found), replay_of(found), golden(name))] == [204] * 3
    [run] = world.store.query(Query(collection=RUNS))
    assert world.run_to_end(run.id).state == "SUCCEEDED"


def test_a_replayed_event_that_fails_again_is_the_same_letter(functions: Deployed, world: World) -> None:
    """A letter that fails again keeps its first event's id and attributes, and the name of who replayed it."""
    broken(functions, world, StoreUnavailable("away"))
    functions.post(delivered("start-push-path", MAX_DELIVERIES))
    first = letter(world)
    again = replay_of(first)
    functions.post(Golden(again.function, again.headers, again.body | {"deliveryAttempt": MAX_DELIVERIES}))
    second = letter(world)
    own = {"deadLetterPublishTime", "replayedBy"}
    assert second.attributes.keys() - own == first.attributes.keys() - own
    assert second.attributes["replayedBy"] == "ana@example.com"
    assert second.attributes["deadLetterEvent"] == golden("start-push-path").body["message"]["messageId"]


@pytest.mark.parametrize("path", ["é" * 5_000, "\0\x1b[31m" * 100, "\ud800"])
def test_a_reason_fits_an_attribute(functions: Deployed, world: World, path: str) -> None:
    """A reason is cut to the length of an attribute, as valid text."""
    assert functions.post(pushed(json.dumps({"workflow_path": path, "params": 3}).encode())) == 204
    reason = letter(world).attributes["deadLetterReason"]
    assert 0 < len(reason.encode()) <= LONGEST_REASON


@pytest.mark.parametrize("message", [{}, {"data": "***"}, {"data": "e30=", "attributes": "x"}, {"data": 7}])
def test_a_broken_message_is_kept_as_far_as_it_goes(functions: Deployed, world: World, message: Any) -> None:
    """A broken message is acknowledged, and kept as far as possible."""
    request = Golden("start", PUSH, {"message": message, "subscription": "x", "deliveryAttempt": "many"})
    assert functions.post(request) == 204
    assert letter(world).attributes["deadLetterError"] == "MalformedEvent"
