"""The checker: a tick wakes it, and it looks at the steps that are due, again and again while that is useful.

Cloud Scheduler ticks once a minute, jobs are to be looked at every few seconds: so a tick starts a *burst* of looks,
for which one instance at a time holds a lease. With nothing in flight a tick is one query.

The first look of a burst reads every due step, and the burst remembers them (in_flight.py). Later looks read only what
has become due since. When more is due than a burst can remember, it looks after what becomes due by itself, as ever,
and leaves the others to rounds (sweep.py), in which several instances share them.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Final

from atom_workflows import log as decision_log
from atom_workflows.coordinator.care import Care
from atom_workflows.coordinator.due_steps import Cursor, is_anything_due, place_of, read_due
from atom_workflows.coordinator.in_flight import InFlight
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.poll import Polls
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.sweep import begin_round, load_round, take_page, take_untaken_page
from atom_workflows.core.graph import END_ID
from atom_workflows.core.polling import WORTH_WAITING, young_age
from atom_workflows.core.states import StepState
from atom_workflows.documents import BURST_LEASE_PATH, SCHEMA
from atom_workflows.errors import AlreadyExists, Conflict, StoreError
from atom_workflows.messages.internal import SweepPage, Tick, TickEvent, TickOrigin, tick_message
from atom_workflows.ports import Create, Update, Version
from atom_workflows.settings import MAX_BURST_S

SHORTEST_GAP: Final = 0.2
"""Between two looks, as a share of the checker's interval."""

OVERLAP: Final = 0.5
"""By how much of the interval a look reaches back behind the last one: instances' clocks differ, and commits take time.
What is missed all the same is read by the next burst, or in a round."""

BETWEEN_BURSTS: Final = timedelta(minutes=2)
"""How far back the first look of a burst goes that cannot remember everything: to the last burst, and a lost tick."""

LONGEST_LEASE: Final = timedelta(seconds=MAX_BURST_S) + timedelta(minutes=1)
"""What a lease may last by our clock, if that of its holder is somewhat ahead."""


def handle_tick(services: Services, event: TickEvent) -> None:
    """Handle an event of the topic `tick`."""
    if isinstance(event, SweepPage):
        take_page(services, event)
    elif is_anything_due(services, services.clock.now() + services.settings.burst):
        origin = _burst(services, event)
        if origin is not None:
            outbox = Outbox(services)
            outbox.add([tick_message(origin)])
            outbox.flush()


def end_of_burst(began: datetime, burst: timedelta, *, is_scheduled: bool) -> datetime:
    """Return when the burst's time is over: one in between ends at the whole minute, when the scheduler ticks.

    Otherwise that tick would find it at work and go away, and no one would look from its end to the tick after.
    """
    minute = began.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return began + burst if is_scheduled else min(began + burst, minute)


def _burst(services: Services, tick: Tick) -> TickOrigin | None:
    """Look at everything that becomes due; return the origin of the tick to follow at once, if one should."""
    began, burst = services.clock.now(), services.settings.burst
    ends_at = end_of_burst(began, burst, is_scheduled=tick.is_scheduled)
    lease = _BurstLease(services=services, until=ends_at)
    if not lease.take():
        decision_log.dropped("sweep.held", "another instance has the lease of the burst")
        return None
    polls = Polls(services=services, until=ends_at)
    looks = _Looks(services=services, ends_at=ends_at, waits_until=began + burst, polls=polls)
    try:
        wake_at = looks.go_on()
    except Exception:
        # Its tick comes again, and should not find the lease taken.
        with suppress(StoreError):
            lease.give_back()
        raise
    finally:
        polls.end()
    lease.give_back()
    if wake_at is not None:
        if ends_at == began + burst:
            return None
        # Not sooner, so that the burst that follows lasts as near to the next tick as the scheduler's own would.
        services.clock.sleep(max(0.0, (ends_at - services.clock.now()).total_seconds()))
        return TickOrigin.BURST
    # A job put in flight behind our last look; its wake-up found the lease still held and went away.
    return TickOrigin.CHECKER if looks.is_anything_new() else None


@dataclass(slots=True)
class _Looks:
    """The looks of one burst.

    `waits_until` is when the burst would end were it not cut short: what is due by then is waited for, if by another.
    """

    services: Services
    ends_at: datetime
    waits_until: datetime
    polls: InitVar[Polls]
    _in_flight: InFlight = field(default_factory=InFlight)
    _care: Care = field(init=False)
    _seen_until: datetime | None = None
    _is_full_round_due: bool = True

    def __post_init__(self, polls: Polls) -> None:
        self._care = Care(self.services, polls, self._in_flight)

    def go_on(self) -> datetime | None:
        """Look until the time is over, or nothing is due soon. Return when the next look is, None if not soon."""
        clock = self.services.clock
        while (wake_at := self.look()) is not None and wake_at < self.ends_at:
            clock.sleep(max(0.0, (wake_at - clock.now()).total_seconds()))
        self._care.hear_all()
        return wake_at

    def look(self) -> datetime | None:
        """Look at what is due, and take answers until the next look. Return when that is, None if not soon."""
        now = self.services.clock.now()
        published = self._care.published
        self._read(now)
        self._care.begin(self._in_flight.take_due(now))
        if self._in_flight.is_full:
            self._see_to_the_round(now)
        while self._care.is_waiting and self.services.clock.now() < (until := self._next(now)):
            self._care.hear(until)
        is_busy = self._care.is_waiting or self._care.published > published
        return self._next(now) if is_busy or not self._is_idle() else None

    def is_anything_new(self) -> bool:
        """Return whether steps became due after the last look."""
        now = self.services.clock.now()
        found = read_due(self.services, until=now + self.services.settings.burst, after=self._known_until(now))
        return any(held.step.id != END_ID and not self._in_flight.knows(held) for held in found.steps)

    def _read(self, now: datetime) -> None:
        """Read what has become due since the last look, the first time everything, and what will be in this burst."""
        until, since = now + self.services.settings.burst, self._known_until(now)
        found = read_due(self.services, until=until, after=since)
        if since is None and found.last is not None and found.last[0] <= now:
            self._in_flight.is_full = True
            since = place_of(now - BETWEEN_BURSTS)
            found = read_due(self.services, until=until, after=since)
        self._in_flight.learn(found.steps, since=since and since[0], now=now)
        while found.last is not None and found.last[0] <= now:
            found = read_due(self.services, until=until, after=found.last)
            self._in_flight.learn(found.steps, since=since and since[0], now=now)
        self._seen_until = now

    def _known_until(self, now: datetime) -> Cursor | None:
        """Return the place up to which steps are known, a little before the last look; None if none is."""
        seen_until = self._seen_until
        return None if seen_until is None else place_of(min(now, seen_until) - self._interval * OVERLAP)

    def _see_to_the_round(self, now: datetime) -> None:
        """Begin a round when the last one is over.

        The first of a burst is over everything, the others over jobs that began lately.
        """
        current = load_round(self.services)
        if current.page is not None:
            take_untaken_page(self.services, current)
        elif self._is_full_round_due:
            self._is_full_round_due = False
            begin_round(self.services, current)
        else:
            # Looks that report nothing new write nothing, so a job's due time is that of its first look.
            begin_round(self.services, current, due_after=now - young_age(self._interval))

    def _is_idle(self) -> bool:
        """Return whether every look within the burst can be left to the next tick, as sleeping is paid for too.

        These are looks at jobs that have run for long, and at whole runs. Retries and timeouts are waited for.
        """
        soon = self.services.clock.now() + self._interval * WORTH_WAITING
        return not self._in_flight.is_full and all(
            at > self.waits_until
            or (at > soon and held.step.state is StepState.RUNNING and at != held.step.attempt_deadline)
            or held.step.id == END_ID
            for at, held in self._in_flight.looks()
        )

    def _next(self, began: datetime) -> datetime:
        """Return when something is due next, not for each step singly; a job may begin unseen, so once an interval."""
        latest, next_look = began + self._interval, self._in_flight.next_look
        return latest if next_look is None else min(latest, max(next_look, began + self._interval * SHORTEST_GAP))

    @property
    def _interval(self) -> timedelta:
        return self.services.settings.check_interval


@dataclass(slots=True)
class _BurstLease:
    """The right to a burst, for as long as that may take: if its holder dies, the next tick finds it over."""

    services: Services
    until: datetime
    _version: Version | None = None

    def take(self) -> bool:
        """Take the lease; return False if another instance holds it."""
        document = self.services.store.get([BURST_LEASE_PATH])[0]
        # The id makes two racers' writes differ.
        fields = {"schema": SCHEMA, "holder": uuid.uuid4().hex, "until": self.until}
        if document is None:
            return self._write(Create(path=BURST_LEASE_PATH, fields=fields))
        held_until, now = document.fields.get("until"), self.services.clock.now()
        # A lease that is longer than any comes of a clock that was wrong.
        if isinstance(held_until, datetime) and now < held_until <= now + LONGEST_LEASE:
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
