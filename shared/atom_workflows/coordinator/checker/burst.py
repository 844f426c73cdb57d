"""The checker: a tick wakes it, and it looks at the steps that are due, again and again while that is useful.

Cloud Scheduler ticks once a minute, jobs are to be looked at every few seconds: so a tick starts a *burst* of looks,
for which one instance at a time holds a lease. With nothing in flight a tick is one query.

The first look of a burst reads every due step, and the burst remembers them (in_flight.py). Later looks read only what
has become due since. When more is due than a burst can remember, it looks after what becomes due by itself, as ever,
and leaves the others to rounds (rounds.py), in which several instances share them.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.checker.due_handler import DueHandler
from atom_workflows.coordinator.checker.due_steps import (
    BEGINNING,
    Cursor,
    is_anything_due,
    is_little_due,
    place_of,
    read_due,
)
from atom_workflows.coordinator.checker.in_flight import InFlight
from atom_workflows.coordinator.checker.rounds import PAGE_TIME, begin_round, handle_page, load_round, take_page
from atom_workflows.coordinator.commits import save_document
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import END_ID
from atom_workflows.core.polling import LONGEST_POLL, WORTH_WAITING, young_age
from atom_workflows.core.states import StepState
from atom_workflows.documents import BURST_LEASE_PATH
from atom_workflows.errors import StoreError
from atom_workflows.messages.internal import SweepPage, Tick, TickEvent, TickOrigin, tick_message
from atom_workflows.ports import Document
from atom_workflows.settings import MAX_BURST_S

SHORTEST_GAP: Final = 0.2
"""Between two looks, as a share of the checker's interval."""

OVERLAP: Final = 0.5
"""By how much of the interval a look reaches back behind the last one: instances' clocks differ, and commits take time.
What is missed all the same is read by the next burst, or in a round."""

FARTHEST_BACK: Final = timedelta(minutes=2)
"""Where the looks of a burst that cannot remember everything begin, if the burst before it died or was long ago."""

LONGEST_LEASE: Final = timedelta(seconds=MAX_BURST_S) + timedelta(minutes=1)
"""What a lease may last by our clock, if that of its holder is somewhat ahead."""


def handle_tick(services: Services, event: TickEvent) -> None:
    """Handle an event of the topic `tick`."""
    if isinstance(event, SweepPage):
        handle_page(services, event)
    elif is_anything_due(services, services.clock.now() + services.settings.burst):
        origin = _burst(services, event)
        if origin is not None:
            services.bus.publish([tick_message(origin)])


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
    looks = _Burst(services, ends_at=ends_at, waits_until=began + burst)
    if not looks.take_lease():
        log.dropped("sweep.held", "another instance has the lease of the burst")
        return None
    wake_at = looks.go_on()
    if wake_at is None:
        # A job put in flight behind our last look; its wake-up found the lease still held and went away.
        return TickOrigin.CHECKER if looks.is_anything_new() else None
    if ends_at == began + burst:
        return None
    # Not sooner, so that the burst that follows lasts as near to the next tick as the scheduler's own would.
    services.clock.sleep(max(0.0, (ends_at - services.clock.now()).total_seconds()))
    return TickOrigin.BURST


@dataclass(slots=True)
class _Burst:
    """The looks of one burst, for which its instance holds the lease.

    `waits_until` is when it would end were it not cut short: what is due by then is waited for, if by another.
    """

    services: Services
    ends_at: datetime
    waits_until: datetime
    _lease: Document | None = None
    # When the last look began, of this burst or of the last one that did not fail.
    _seen_until: datetime = BEGINNING
    _reads_everything: bool = True
    _full_round_at: datetime = BEGINNING
    _in_flight: InFlight = field(default_factory=InFlight)
    _due: DueHandler = field(init=False)

    def __post_init__(self) -> None:
        self._due = DueHandler(self.services, self._in_flight)

    def take_lease(self) -> bool:
        """Take the lease for as long as the burst may take; return False if another instance holds it.

        If its holder dies, the next tick finds it over.
        """
        document = self.services.store.get([BURST_LEASE_PATH])[0]
        stored = {} if document is None else document.fields
        held_until, seen_until, now = stored.get("until"), stored.get("seen_until"), self.services.clock.now()
        # A lease that is longer than any comes of a clock that was wrong.
        if isinstance(held_until, datetime) and now < held_until <= now + LONGEST_LEASE:
            return False
        if isinstance(seen_until, datetime):
            self._seen_until = seen_until
        # The id makes two racers' writes differ.
        fields = {"holder": uuid.uuid4().hex, "until": self.ends_at}
        self._lease = save_document(self.services, BURST_LEASE_PATH, document, fields)
        return self._lease is not None

    def _give_back(self) -> None:
        fields = {"until": self.services.clock.now(), "seen_until": self._seen_until}
        save_document(self.services, BURST_LEASE_PATH, self._lease, fields)

    def go_on(self) -> datetime | None:
        """Look until the time is over, or nothing is due soon. Return when the next look is, None if not soon."""
        clock = self.services.clock
        try:
            while (wake_at := self._look()) is not None and wake_at < self.ends_at:
                clock.sleep(max(0.0, (wake_at - clock.now()).total_seconds()))
            self._due.hear_all()
        except Exception:
            # Its tick comes again, and should not find the lease taken.
            with suppress(StoreError):
                self._give_back()
            raise
        self._give_back()
        return wake_at

    def _look(self) -> datetime | None:
        """Look at what is due, and take answers until the next look. Return when that is, None if not soon."""
        now = self.services.clock.now()
        published = self._due.published
        self._begin(now)
        if self._in_flight.is_full:
            self._see_to_the_round(now)
        while self._due.asked and self.services.clock.now() < (until := self._next(now)):
            self._due.hear(until)
        is_busy = self._due.asked or self._due.published > published
        return self._next(now) if is_busy or not self._is_idle() else None

    def is_anything_new(self) -> bool:
        """Return whether steps became due after the last look."""
        now = self.services.clock.now()
        due, _ = read_due(self.services, until=now + self.services.settings.burst, after=self._known_until(now))
        return any(held.step.id != END_ID and not self._in_flight.knows(held) for held in due)

    def _begin(self, now: datetime) -> None:
        """Begin to look at what has become due since the last look, the first time at everything."""
        until = now + self.services.settings.burst
        after: Cursor | None = place_of(BEGINNING) if self._reads_everything else self._known_until(now)
        while after is not None and after[0] <= now:
            due, following = read_due(self.services, until=until, after=after)
            if self._reads_everything and following is not None and following[0] <= now:
                self._in_flight.is_full, following = True, self._known_until(now)
            else:
                self._in_flight.learn(due, since=after[0], now=now, asked=self._due.asked)
                # Before another page is read: what can be published about these steps is late already.
                self._due.begin(self._in_flight.take_due(now), self.ends_at)
            self._reads_everything, after = False, following
        self._seen_until = now

    def _known_until(self, now: datetime) -> Cursor:
        """Return the place up to which steps are known, a little before the last look."""
        return place_of(min(now, max(self._seen_until, now - FARTHEST_BACK)) - self._interval * OVERLAP)

    def _see_to_the_round(self, now: datetime) -> None:
        """Take the page of a round that no one takes; begin a round when the last one is over.

        Once a minute that is one over everything, otherwise over jobs that began lately.
        """
        current = load_round(self.services)
        if current.page is not None:
            # Its event is lost, or finds no instance; whoever wrote it may have a clock that is ahead of ours.
            if abs(now - current.since) >= PAGE_TIME:
                self._due.begin(take_page(self.services, current), now + PAGE_TIME)
        elif is_little_due(self.services, now + self.services.settings.burst):
            # So much has ended that there is room for all that goes on.
            self._in_flight.is_full, self._reads_everything = False, True
        elif now >= self._full_round_at:
            self._full_round_at = now + LONGEST_POLL
            begin_round(self.services, current)
        else:
            # Looks that report nothing new write nothing, so a job's due time is that of its first look.
            begin_round(self.services, current, due_after=now - young_age(self._interval))

    def _is_idle(self) -> bool:
        """Return whether every look within the burst can be left to the next tick, as sleeping is paid for too.

        These are looks at jobs that have run for long, and at whole runs. Retries and timeouts are waited for.
        """
        soon = self.services.clock.now() + self._interval * WORTH_WAITING
        return not (self._in_flight.is_full or self._reads_everything) and all(
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
