"""The bus that handlers see: messages come twice, late, in any order, or never."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import DEAD_LETTERS, Message
from simulation.calls import Calls
from simulation.faults import Fault

_REPORTS: Final = "events"
"""The topic of reports to the outside world, to which no function subscribes."""

_ECHOES: Final = 10
_UNTIL_REPLAYED_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message on its way; it arrives at `due`, for the first time or a later one. It `fails` whoever handles it."""

    due: float
    message: Message
    message_id: str
    attempt: int = 1
    fails: bool = False


class FaultyBus:
    """Implements `ports.Bus`. `on_accepted` gets each message that was accepted, also one that will be lost.

    `on_given_up` gets those whose handler failed or died and that never come again, or only as dead letters that users
    replay. `dead_letters` are those that functions kept, by the ids of the events; two deliveries of one may be kept.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        deliveries: int,
        on_accepted: Callable[[Message], None],
        on_given_up: Callable[[Message], None],
    ) -> None:
        self.under_way: list[Delivery] = []
        self.dead_letters: dict[str, list[Message]] = defaultdict(list)
        self._echoes = itertools.count(1)
        self._deliveries = deliveries
        self._on_given_up = on_given_up
        self._calls = calls
        self._chance = calls.faults.chance
        self._on_accepted = on_accepted
        self._published = 0
        self._asked_for_steps: list[Message] = []

    def publish(self, messages: Sequence[Message]) -> None:
        """See `ports.Bus.publish`."""
        self._calls.make("publish", lambda: self._publish([m for m in messages if m.topic != _REPORTS]))

    def send(self, message: Message, *, after_s: float = 0.0) -> None:
        """Accept a message that is published then, as the service does."""
        self._on_accepted(message)
        self._published += 1
        if message.topic == "steps":
            self._asked_for_steps.append(message)
        message_id = f"m{self._published}"
        self._calls.trace.note("accepted", message_id, message)
        if self._calls.strikes(Fault.MESSAGE_LOST):
            return
        self._put(message, message_id, after_s + self._first_delay(), fails=self._calls.strikes(Fault.EVENT_FAILS))
        if self._calls.strikes(Fault.MESSAGE_DUPLICATED):
            later_s = self._chance.uniform(0, self._chance.choice([0, 0, 1, 30, 300]))
            self._put(message, message_id, after_s + later_s)
        if self._calls.strikes(Fault.MESSAGE_OF_OTHER_VERSION):
            self._put(_as_another_version(message), message_id, after_s + self._chance.uniform(0, 30))

    def send_again(self, delivery: Delivery) -> None:
        """Bring back a message whose handler failed or died."""
        if self._calls.strikes(Fault.REDELIVERY_LOST):
            self._on_given_up(delivery.message)
            return
        if delivery.attempt >= self._deliveries:
            self._calls.trace.note("forwarded", delivery.message_id)
            self.give_up(delivery)
            return
        back_off_s = self._chance.uniform(0, 10) if self._chance.random() < 0.7 else self._chance.uniform(0, 600)
        due = self._calls.scheduler.now + back_off_s
        self.under_way.append(replace(delivery, due=due, attempt=delivery.attempt + 1))

    def give_up(self, delivery: Delivery) -> None:
        """Never deliver a message again, unless a user replays its dead letter.

        A replayed dead letter is still the same event.
        """
        self._on_given_up(delivery.message)
        if self._calls.strikes(Fault.LETTER_REPLAYED):
            self._put(delivery.message, delivery.message_id, self._chance.uniform(0, _UNTIL_REPLAYED_S))

    def echo(self, run_id: str) -> None:
        """Deliver messages of a run again that were handled long ago."""
        of_run = [message for message in self._asked_for_steps if message.body["run_id"] == run_id]
        if of_run and self._calls.strikes(Fault.MESSAGES_FROM_BEFORE):
            for message in self._chance.choices(of_run, k=_ECHOES):
                after = self._chance.choice([0, self._chance.uniform(0, 3), self._chance.uniform(0, 12)])
                # An id of its own, by which its dead letter is found.
                self._put(message, f"echo-{next(self._echoes)}", after)

    def take(self, now: float) -> Delivery | None:
        """Take the oldest message that has arrived, or one that overtakes it.

        Returns None if none has arrived.
        """
        arrived = [one for one in self.under_way if one.due <= now]
        if not arrived:
            return None
        chosen = min(arrived, key=lambda one: one.due)
        if len(arrived) > 1 and self._calls.strikes(Fault.MESSAGE_OVERTAKEN):
            chosen = self._chance.choice([one for one in arrived if one is not chosen])
        self.under_way.remove(chosen)
        return chosen

    def has_arrived(self, now: float) -> bool:
        """Return True if there is a message to take."""
        return any(one.due <= now for one in self.under_way)

    def next_arrival(self, now: float) -> float:
        """Return the time at which the next message arrives."""
        return min((one.due for one in self.under_way if one.due > now), default=float("inf"))

    def _accept(self, message: Message) -> None:
        if message.topic == DEAD_LETTERS:
            self._calls.trace.note("buried", message.attributes["deadLetterEvent"])
            self.dead_letters[message.attributes["deadLetterEvent"]].append(message)
        else:
            self.send(message)

    def _publish(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        if self._calls.strikes(Fault.BUS_UNAVAILABLE):
            raise BusUnavailable("no answer in time")
        accepted = len(messages)
        fails = self._calls.strikes(Fault.BUS_UNAVAILABLE_AFTER)
        if fails:
            accepted = self._chance.randint(1, len(messages))
        for message in messages[:accepted]:
            self._accept(message)
        if fails:
            raise BusUnavailable("no answer in time")

    def _first_delay(self) -> float:
        if self._calls.strikes(Fault.MESSAGE_LATE):
            return self._chance.uniform(10, 600)
        if self._calls.strikes(Fault.MESSAGE_DELAYED):
            return self._chance.uniform(0, 40)
        return self._chance.choice([0, 0, 0, self._chance.uniform(0, 2)])

    def _put(self, message: Message, message_id: str, delay_s: float, *, fails: bool = False) -> None:
        due = self._calls.scheduler.now + delay_s
        self.under_way.append(Delivery(due=due, message=message, message_id=message_id, fails=fails))


def _as_another_version(message: Message) -> Message:
    """Return the message as another version would write it.

    It has fields that this version does not know; a tick is as an old schedule sends it.
    """
    body: dict[str, Any] = json.loads(json.dumps(message.body))
    if body.get("type") == "tick":
        return Message(topic=message.topic, body={"wake": True})
    lists = (one for one in body.values() if isinstance(one, list))
    parts: list[Mapping[str, Any]] = [part for one in lists for part in one if isinstance(part, dict)]
    for part in [body, *parts]:
        part |= {"of_a_later_version": 1}  # type: ignore[operator] # json.loads made them dicts
    return Message(topic=message.topic, body=body, attributes=message.attributes)
