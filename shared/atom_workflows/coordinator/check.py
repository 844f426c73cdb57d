"""The checker: woken by a tick, it sweeps the steps that are due, again and again for as long as that is useful.

Cloud Scheduler ticks once a minute, jobs are to be looked at every few seconds: so a tick starts a *burst* of sweeps,
which one instance at a time holds a lease for. With nothing in flight a tick is one query.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from atom_workflows import decision_log
from atom_workflows.coordinator.care import Care
from atom_workflows.coordinator.in_flight import InFlight
from atom_workflows.coordinator.loading import Held
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.poll import Polls
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.sweep import due_in_round, due_query, hand_on, is_round_over, read_due, sweep_page
from atom_workflows.core.graph import END_ID
from atom_workflows.core.polling import WORTH_WAITING, young_age
from atom_workflows.core.states import StepState
from atom_workflows.documents import BURST_LEASE_PATH, SCHEMA
from atom_workflows.errors import AlreadyExists, Conflict, StoreError
from atom_workflows.events import SweepPage, Tick, TickEvent, TickOrigin, tick_message
from atom_workflows.ports import Create, Update, Version

SHORTEST_GAP: Final = 0.2
"""Between two looks, as a share of the checker's interval."""

OVERLAP: Final = 0.5
"""By how much of the interval a look reaches back behind the last one: instances' clocks differ, and commits take time.
What is missed all the same is read by the next burst."""


def handle_tick(services: Services, event: TickEvent) -> None:
    """Handle an event of the topic `tick`."""
    if isinstance(event, SweepPage):
        if services.clock.now() <= event.valid_until:
            sweep_page(services, event)
    elif _is_anything_in_flight(services) and (origin := _burst(services, event)):
        outbox = Outbox(services)
        outbox.add([tick_message(origin)])
        outbox.flush()


def end_of_burst(began: datetime, burst: timedelta, *, is_scheduled: bool) -> datetime:
    """When the burst's time is over: one in between ends at the whole minute, at which the scheduler ticks.

    Else that tick would find it at work and go away, and nobody would look from its end to the tick after.
    """
    minute = began.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return began + burst if is_scheduled else min(began + burst, minute)


def _is_anything_in_flight(services: Services) -> bool:
    until = services.clock.now() + services.settings.burst
    return bool(services.store.query(due_query(until, limit=1)))


def _burst(services: Services, tick: Tick) -> TickOrigin | None:
    """Look at all that becomes due; the origin of the tick that should follow at once, if one should."""
    began, burst = services.clock.now(), services.settings.burst
    ends_at = end_of_burst(began, burst, is_scheduled=tick.is_scheduled)
    lease = _BurstLease(services=services, until=ends_at)
    if not lease.take():
        decision_log.dropped("sweep.held", "another instance is sweeping")
        return None
    polls = Polls(services=services, until=ends_at)
    looks = _Looks(services=services, ends_at=ends_at, waits_until=began + burst, care=Care(services, polls))
    try:
        wake_at = looks.go_on()
    except Exception:
        # Its tick comes again, and should not find that somebody is sweeping.
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
    """The looks of one burst: the first reads all that is in flight, the others what has become due since.

    With more due than a page, nothing is remembered: each round reads all, and pages go to other instances. The next
    one begins when the last page is done, so that however many pages there are, those at the end have their turn.
    `waits_until` is when the burst would end were it not cut short: what is due by then is waited for, if by another.
    """

    services: Services
    ends_at: datetime
    waits_until: datetime
    care: Care
    _in_flight: InFlight = field(default_factory=InFlight)
    _seen_until: datetime | None = None
    _round_began: datetime | None = None
    _is_round_open: bool = False

    def go_on(self) -> datetime | None:
        """Look until the burst's time is over, or nothing is to be looked at soon; when the next look is, if any is."""
        clock = self.services.clock
        while (wake_at := self.look()) is not None and wake_at < self.ends_at:
            clock.sleep(max(0.0, (wake_at - clock.now()).total_seconds()))
        self.care.hear_all()
        return wake_at

    def look(self) -> datetime | None:
        """Look at what is due, and hear what is answered until the next look; when that is, None if not soon."""
        now = self.services.clock.now()
        if self._round_began is not None and self._is_round_open:
            if not is_round_over(self.services, self._round_began):
                return self._hear(now)
            self._is_round_open = False
        found, is_crowded = self._read(now)
        if is_crowded and self._seen_until is not None:
            self._in_flight, self._seen_until = InFlight(), None
            found, is_crowded = self._read(now)
        if is_crowded:
            return self._hear(now, self._begin_round(found, now))
        self._in_flight.learn(found)
        self._seen_until = now
        return self._hear(now, self.care.begin(self._in_flight.take_due(now)))

    def is_anything_new(self) -> bool:
        """Whether steps came behind the last look."""
        found, _ = self._read(self.services.clock.now())
        return any(held.step.id != END_ID and not self._in_flight.knows(held) for held in found)

    def _read(self, now: datetime) -> tuple[list[Held], bool]:
        """What is due by the end of the burst, and whether more than a page is due already."""
        until = now + self.services.settings.burst
        found, is_full = read_due(self.services, due_query(until, since=self._since(now)))
        return found, is_full and bool(found) and (found[-1].step.due_at or now) <= now

    def _since(self, now: datetime) -> datetime | None:
        """What was due before that is known, or is old and was looked at by this burst's first round."""
        if self._seen_until is not None:
            return self._seen_until - self._interval * OVERLAP
        # A job's due time is that of its first look, as looks that tell nothing new write nothing.
        return None if self._round_began is None else now - young_age(self._interval)

    def _begin_round(self, found: Sequence[Held], now: datetime) -> int:
        page = SweepPage(after=(now, ""), until=now, valid_until=self.ends_at, since=self._round_began)
        self._round_began, self._is_round_open = now, True
        hand_on(self.services, page, found[-1].step)
        return self.care.begin(due_in_round(self.services, found, page.since))

    def _hear(self, began: datetime, published: int = 0) -> datetime | None:
        """Take what Task Runners answer until the next look; when that is, None if nothing needs one soon."""
        while self.care.is_waiting and self.services.clock.now() < (until := self._next(began)):
            heard = self.care.hear(until)
            published += heard.published
            for one in heard.kept:
                self._in_flight.look_again(one.asked, one.held, one.look_at)
        if self.care.is_waiting or published or self._seen_until is None or not self._is_idle():
            return self._next(began)
        return None

    def _is_idle(self) -> bool:
        """Whether all looks within the burst can as well be left to the next tick, as sleeping is paid for, too.

        These are looks at jobs that have run for long, and at whole runs. Retries and timeouts are waited for.
        """
        soon = self.services.clock.now() + self._interval * WORTH_WAITING
        return all(
            at > self.waits_until
            or (at > soon and held.step.state is StepState.RUNNING and at != held.step.attempt_deadline)
            or held.step.id == END_ID
            for at, held in self._in_flight.looks()
        )

    def _next(self, began: datetime) -> datetime:
        """When something is due next, though not for each step singly; a job may begin unseen, so once an interval."""
        latest, next_look = began + self._interval, self._in_flight.next_look
        return latest if next_look is None else min(latest, max(next_look, began + self._interval * SHORTEST_GAP))

    @property
    def _interval(self) -> timedelta:
        return self.services.settings.check_interval


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
