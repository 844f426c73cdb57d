"""One subscription's messages: ready, waiting or leased."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from atom_emulator.pubsub.messages import Delivery, PubsubMessage, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from atom_emulator.pubsub.messages import SubscriptionSettings

_STALE_ALARMS_KEPT: Final = 64


@dataclass(slots=True, eq=False)
class Entry:
    """A message that is not yet acknowledged.

    While leased, it has an `ack_id` and `due` is the deadline. While it waits, `due` is when it becomes ready again.
    """

    message: PubsubMessage
    attempts: int = 0
    ack_id: str = ""
    due: float | None = None


class Backlog:
    """A subscription's messages; each is ready, waiting, leased, or held back by its ordering key.

    Messages past their retention are dropped when their turn comes. With `ordered` settings only one message per key is
    delivered at a time; the next one follows only after it was acknowledged, dropped or dead-lettered. `on_removed` is
    called with each message that was.
    """

    def __init__(
        self,
        settings: SubscriptionSettings,
        *,
        lease_prefix: str = "",
        on_removed: Callable[[PubsubMessage], None] | None = None,
    ) -> None:
        self.settings = settings
        self._lease_prefix = lease_prefix
        self._on_removed = on_removed
        self.tally = Tally()
        self._ready: deque[Entry] = deque()
        self._leases: dict[str, Entry] = {}
        self._waiting = 0
        self._alarms: list[tuple[float, int, Entry]] = []
        self._held: dict[str, deque[Entry]] = {}
        self._serial = 0

    def __len__(self) -> int:
        """Return the number of messages that are not yet acknowledged."""
        held = sum(map(len, self._held.values()))
        return len(self._ready) + len(self._leases) + self._waiting + held

    @property
    def ready(self) -> bool:
        """True if `lease` may find a message."""
        return bool(self._ready)

    @property
    def leased(self) -> int:
        """The number of leased messages."""
        return len(self._leases)

    def add(self, message: PubsubMessage) -> None:
        """Add a new message."""
        entry = Entry(message)
        # A key is in `_held` while one of its messages is ready, waiting or leased; later ones queue there.
        key = message.ordering_key if self.settings.ordered else ""
        if not key:
            self._ready.append(entry)
        elif key in self._held:
            self._held[key].append(entry)
        else:
            self._held[key] = deque()
            self._ready.append(entry)

    def lease(self, now: float, limit: int) -> list[Delivery]:
        """Lease up to `limit` ready messages until the ack deadline."""
        deliveries: list[Delivery] = []
        oldest, deadline = now - self.settings.retention_s, now + self.settings.ack_deadline_s
        while self._ready and len(deliveries) < limit:
            entry = self._ready.popleft()
            if entry.message.publish_time <= oldest:
                self._remove(entry)
            else:
                self._serial += 1
                entry.attempts += 1
                entry.ack_id = f"{self._lease_prefix}{self._serial}"
                self._leases[entry.ack_id] = entry
                self._set_alarm(entry, deadline)
                deliveries.append(
                    Delivery(ack_id=entry.ack_id, message=entry.message, attempt=entry.attempts, deadline=deadline)
                )
        self.tally.delivered += len(deliveries)
        return deliveries

    def ack(self, ack_id: str) -> bool:
        """Forget a message.

        Returns False, and changes nothing, if that lease has expired.
        """
        entry = self._leases.pop(ack_id, None)
        if entry is None:
            return False
        entry.due = None
        self.tally.acked += 1
        self._remove(entry)
        return True

    def nack(self, ack_id: str, now: float) -> Entry | None:
        """Return a message for redelivery.

        Returns the entry if it must be dead-lettered instead.
        """
        entry = self._leases.get(ack_id)
        return None if entry is None else self._fail(entry, now)

    def extend(self, ack_id: str, deadline: float) -> None:
        """Move the deadline of a lease, unless it has expired."""
        entry = self._leases.get(ack_id)
        if entry is not None:
            self._set_alarm(entry, deadline)

    def advance(self, now: float) -> list[Entry]:
        """Let time pass, and return the entries to dead-letter.

        This ends the leases and waits that are due.
        """
        dead: list[Entry] = []
        while (due := self.next_due()) is not None and due <= now:
            entry = heappop(self._alarms)[2]
            if not entry.ack_id:
                self._waiting -= 1
                self._make_ready(entry)
                continue
            self.tally.expired += 1
            if self._fail(entry, due) is not None:
                dead.append(entry)
        return dead

    def next_due(self) -> float | None:
        """Return the time at which `advance` next has something to do."""
        alarms = self._alarms
        while alarms and alarms[0][2].due != alarms[0][0]:
            heappop(alarms)
        return alarms[0][0] if alarms else None

    def put_back(self, entry: Entry, now: float) -> None:
        """Redeliver an entry that could not be dead-lettered."""
        if self._wait_s(entry) > 0:
            self._waiting += 1
            self._set_alarm(entry, now + self._wait_s(entry))
        else:
            self._make_ready(entry)

    def remove_dead(self, entry: Entry) -> None:
        """Remove an entry that was dead-lettered."""
        self.tally.dead_lettered += 1
        self._remove(entry)

    def _fail(self, entry: Entry, now: float) -> Entry | None:
        del self._leases[entry.ack_id]
        entry.ack_id = ""
        entry.due = None
        self.tally.nacked += 1
        dead_letters = self.settings.dead_letters
        if dead_letters is not None and entry.attempts >= dead_letters.max_attempts:
            return entry
        self.put_back(entry, now)
        return None

    def _wait_s(self, entry: Entry) -> float:
        backoff = self.settings.backoff
        return backoff.delay_s(entry.attempts) if backoff else 0.0

    def _make_ready(self, entry: Entry) -> None:
        entry.due = None
        self._ready.append(entry)

    def _set_alarm(self, entry: Entry, due: float) -> None:
        # A superseded alarm stays in the heap and is recognized by its time; when most are stale, the heap is rebuilt.
        entry.due = due
        self._serial += 1
        heappush(self._alarms, (due, self._serial, entry))
        if len(self._alarms) > _STALE_ALARMS_KEPT + 2 * (len(self._leases) + self._waiting):
            self._alarms = [alarm for alarm in self._alarms if alarm[2].due == alarm[0]]
            heapify(self._alarms)

    def _remove(self, entry: Entry) -> None:
        if self._on_removed is not None:
            self._on_removed(entry.message)
        held = self._held.get(entry.message.ordering_key) if entry.message.ordering_key else None
        if held:
            self._ready.append(held.popleft())
        elif held is not None:
            del self._held[entry.message.ordering_key]
