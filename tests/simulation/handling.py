"""Handles a delivery as a function does, with what becomes of an event that fails again and again."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import TYPE_CHECKING, Final

from atom_emulator.testing.world import START
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.hints import handle_hint
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.errors import StoreUnavailable
from atom_workflows.handlers.delivery import give_up_or_redeliver
from atom_workflows.messages.dead_letters import REPLAY_OF, read_dead_letter, replay_message
from atom_workflows.messages.envelope import MESSAGE_PUBLISHED, ReceivedEvent
from atom_workflows.messages.internal import read_job_ended, read_steps_event, read_tick_event
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import HeldMessage, Message

if TYPE_CHECKING:
    from simulation.bus import Delivery

NOT_KEPT: Final = frozenset({"tick", "jobs"})
"""The topics whose events leave no dead letter: the next one does their work, or a poll."""

_IN_VAIN: Final = 0.5
"""How often an event that fails in any case is handled first."""


class GaveUp(Exception):
    """The handler failed by this cause, and its event was acknowledged all the same."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(repr(cause))
        self.cause = cause


def handle(services: Services, delivery: Delivery, chance: Random) -> None:
    """Handle a delivery as its function does.

    Raises `GaveUp` from the handler's error if the event never comes again.
    """
    try:
        _handle(services, delivery, chance)
    except Exception as error:
        if not give_up_or_redeliver(services, delivery.message.topic, _as_received(delivery), error):
            raise
        raise GaveUp(error) from error


def is_kept(letter: Message, delivery: Delivery) -> bool:
    """Return True if this dead letter would bring the same event again."""
    if letter.raw is None:
        return False
    held = HeldMessage(id="letter", data=letter.raw, attributes=letter.attributes, published_at=START, lease=None)
    try:
        again = replay_message(read_dead_letter(held), actor="ana@example.com")
    except ValueError:
        return False
    same = (again.topic, json.loads(again.raw or b""), again.attributes[REPLAY_OF])
    return same == (delivery.message.topic, json.loads(_data(delivery.message)), delivery.message_id)


def _handle(services: Services, delivery: Delivery, chance: Random) -> None:
    if not delivery.fails or chance.random() < _IN_VAIN:
        _call_handler(services, delivery)
    if delivery.fails:
        raise StoreUnavailable("no answer in time, whenever this event is handled")


def _call_handler(services: Services, delivery: Delivery) -> None:
    body = delivery.message.body
    if delivery.message.topic == "start":
        handle_start(services, read_start_event(body, event_id=delivery.message_id))
    elif delivery.message.topic == "steps":
        handle_steps(services, read_steps_event(body))
    elif delivery.message.topic == "jobs":
        handle_hint(services, read_job_ended(body))
    else:
        handle_tick(services, read_tick_event(body))


def _as_received(delivery: Delivery) -> ReceivedEvent:
    message = {
        "data": base64.b64encode(_data(delivery.message)).decode(),
        "attributes": dict(delivery.message.attributes),
        "messageId": delivery.message_id,
    }
    payload = {"message": message, "deliveryAttempt": delivery.attempt}
    return ReceivedEvent(id=delivery.message_id, type=MESSAGE_PUBLISHED, payload=payload)


def _data(message: Message) -> bytes:
    return json.dumps(message.body).encode()
