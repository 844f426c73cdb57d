"""The checker: woken by a tick, it sweeps the steps that are due, again and again for as long as that is useful.

Cloud Scheduler ticks once a minute, jobs are to be looked at every few seconds: so a tick starts a *burst* of sweeps,
which one instance at a time holds a lease for. With nothing in flight a tick is one query.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.sweep import Swept, due_query, sweep
from atom_workflows.documents import BURST_LEASE_PATH, SCHEMA
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.events import SweepPage, TickEvent
from atom_workflows.ports import Create, Update, Version

SHORTEST_GAP: Final = 0.2
"""Between two looks, as a share of the interval between rounds."""


def handle_tick(services: Services, event: TickEvent) -> None:
    """Handle an event of the topic `tick`."""
    if isinstance(event, SweepPage):
        if services.clock.now() <= event.valid_until:
            sweep(services, until=event.until, after=event.after)
    elif _is_anything_in_flight(services) and _burst(services) and _is_anything_in_flight(services):
        # A job put in flight behind our last look; its wake-up found the lease still held and went away.
        _burst(services)


def _is_anything_in_flight(services: Services) -> bool:
    until = services.clock.now() + services.settings.burst
    return bool(services.store.query(due_query(until, limit=1)))


def _burst(services: Services) -> bool:
    """Look at all that is due, every interval; whether that ended because nothing was in flight any more.

    Otherwise its time was over, or another instance is at it. What becomes due between two such rounds gets its first
    look then, by itself: nothing is looked at twice for it.
    """
    ends_at = services.clock.now() + services.settings.burst
    lease = _BurstLease(services=services, until=ends_at)
    if not lease.take():
        decision_log.dropped("sweep.held", "another instance is sweeping")
        return False
    next_round = seen_until = services.clock.now()
    while True:
        now = services.clock.now()
        is_round = now >= next_round
        swept = sweep(services, until=now + services.settings.burst, since=None if is_round else seen_until)
        is_idle = is_round and not swept.in_flight and not swept.published
        if is_idle:
            break
        seen_until = now
        next_round = now + services.settings.check_interval if is_round else next_round
        wake_at = _next_look(services, swept, next_round)
        if wake_at >= ends_at:
            break
        services.clock.sleep(max(0.0, (wake_at - services.clock.now()).total_seconds()))
    lease.give_back()
    return is_idle


def _next_look(services: Services, swept: Swept, next_round: datetime) -> datetime:
    """When to look again: at the next round, or when something becomes due before, though not for each one singly."""
    if swept.next_due is None:
        return next_round
    soonest = services.clock.now() + services.settings.check_interval * SHORTEST_GAP
    return min(next_round, max(swept.next_due, soonest))


@dataclass(slots=True)
class _BurstLease:
    """The right to sweep, for as long as a burst may take: if its holder dies, the next tick finds it over."""

    services: Services
    until: datetime
    _version: Version | None = None

    def take(self) -> bool:
        """Whether nobody else holds it."""
        document = self.services.store.get([BURST_LEASE_PATH])[0]
        # The id makes two racers' writes differ.
        fields = {"schema": SCHEMA, "holder": uuid.uuid4().hex, "until": self.until}
        if document is None:
            return self._write(Create(path=BURST_LEASE_PATH, fields=fields))
        if document.fields["until"] > self.services.clock.now():
            return False
        return self._write(Update(path=BURST_LEASE_PATH, fields=fields, guard=document.version))

    def give_back(self) -> None:
        """Let the next tick take it at once."""
        now = self.services.clock.now()
        if now < self.until:
            self._write(Update(path=BURST_LEASE_PATH, fields={"until": now}, guard=self._version))

    def _write(self, write: Create | Update) -> bool:
        try:
            self._version = self.services.store.commit([write])[0].version
        except (AlreadyExists, Conflict):
            return False
        return True
