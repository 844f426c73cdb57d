"""The checker: woken by a tick, it sweeps the steps that are due, again and again for as long as that is useful.

Cloud Scheduler ticks once a minute, jobs are to be looked at every few seconds: so a tick starts a *burst* of sweeps,
which one instance at a time holds a lease for. With nothing in flight a tick is one query.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.sweep import Swept, due_query, sweep
from atom_workflows.documents import BURST_LEASE_PATH, SCHEMA
from atom_workflows.errors import AlreadyExists, Conflict
from atom_workflows.events import SweepPage, TickEvent
from atom_workflows.ports import Create, Update, Version

LEASE_MARGIN: Final = timedelta(seconds=30)
"""How long one sweep may take before another instance may think that the burst died."""


def handle_tick(services: Services, event: TickEvent) -> None:
    """Handle an event of the topic `tick`."""
    if isinstance(event, SweepPage):
        sweep(services, until=event.until, after=event.after)
    elif _is_anything_in_flight(services):
        _burst(services)


def _is_anything_in_flight(services: Services) -> bool:
    until = services.clock.now() + services.settings.burst
    return bool(services.store.query(due_query(until, limit=1)))


def _burst(services: Services) -> None:
    lease = _BurstLease(services=services, holder=uuid.uuid4().hex)
    if not lease.take():
        decision_log.dropped("sweep.held", "another instance is sweeping")
        return
    ends_at = services.clock.now() + services.settings.burst
    while True:
        swept = sweep(services, until=services.clock.now() + services.settings.burst)
        wake_at = _next_look(services, swept, ends_at)
        if wake_at is None or not lease.keep(wake_at):
            break
        services.clock.sleep(max(0.0, (wake_at - services.clock.now()).total_seconds()))
    lease.give_back()


def _next_look(services: Services, swept: Swept, ends_at: datetime) -> datetime | None:
    """When to sweep again, None if that is for the next tick.

    A sweep that published outcomes has set dispatchers to work, whose jobs are not in flight yet: it is followed by
    another even if it left nothing.
    """
    if not swept.in_flight and not swept.published:
        return None
    now = services.clock.now()
    wake_at = now + services.settings.check_interval
    if swept.next_due is not None and now < swept.next_due < wake_at:
        wake_at = swept.next_due
    return wake_at if wake_at < ends_at else None


@dataclass(slots=True)
class _BurstLease:
    """The right to sweep in a burst. A holder that dies loses it soon after its next look was due."""

    services: Services
    holder: str
    _version: Version | None = None

    def take(self) -> bool:
        """Whether nobody else holds it."""
        now = self.services.clock.now()
        document = self.services.store.get([BURST_LEASE_PATH])[0]
        fields = {"schema": SCHEMA, "holder": self.holder, "until": now + LEASE_MARGIN}
        if document is None:
            return self._write(Create(path=BURST_LEASE_PATH, fields=fields))
        if document.fields["until"] > now:
            return False
        return self._write(Update(path=BURST_LEASE_PATH, fields=fields, guard=document.version))

    def keep(self, wake_at: datetime) -> bool:
        """Whether it is still ours, for a sweep at that time."""
        fields = {"until": wake_at + LEASE_MARGIN}
        return self._write(Update(path=BURST_LEASE_PATH, fields=fields, guard=self._version))

    def give_back(self) -> None:
        """Let the next tick take it at once."""
        fields = {"until": self.services.clock.now(), "holder": ""}
        self._write(Update(path=BURST_LEASE_PATH, fields=fields, guard=self._version))

    def _write(self, write: Create | Update) -> bool:
        try:
            self._version = self.services.store.commit([write])[0].version
        except (AlreadyExists, Conflict):
            return False
        return True
