"""Handle a tick: keep checking due steps while that is useful.

Cloud Scheduler ticks once a minute, but jobs should be polled every few seconds. So a tick starts a *burst* of checks,
for which one instance at a time holds a lease:

    tick ──► is anything due? ──► take the lease ──► check ──► sleep until the next check ──► check ──► … ──► return it

- When nothing is in flight, a tick costs one query.
- The first check of a burst reads every due step, and the burst remembers them (due_steps.py). Later checks read only
  what has become due since, so a job that is polled five times is read once.
- When more steps are due than a burst can remember, it still handles newly due steps itself, but leaves the others to
  rounds (rounds.py), in which several instances share the work.
- A burst ends when its time is up, or when nothing will be due soon, since time spent sleeping is also billed.
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
    InFlight,
    is_anything_due,
    is_little_due,
    place_of,
    read_due,
)
from atom_workflows.coordinator.checker.rounds import PAGE_TIME, begin_round, handle_page, load_round, take_page
from atom_workflows.coordinator.commits import save_document
from atom_workflows.coordinator.services import Services
from atom_workflows.core.kinds import WhenDue
from atom_workflows.core.polling import LONGEST_POLL, WORTH_WAITING, young_age
from atom_workflows.core.states import StepState
from atom_workflows.documents import BURST_LEASE_PATH
from atom_workflows.errors import StoreError
from atom_workflows.messages.internal import SweepPage, TickEvent, TickOrigin, tick_message
from atom_workflows.ports import Document
from atom_workflows.settings import MAX_BURST_S

SHORTEST_GAP: Final = 0.2
"""The shortest time between two checks, as a fraction of the checker's interval."""

OVERLAP: Final = 0.5
"""How far a check reaches back beyond the start of the previous one, as a fraction of the checker's interval.

The clocks of instances differ, and commits take time. Steps that are still missed are read in the next burst or
round.
"""

FARTHEST_BACK: Final = timedelta(minutes=2)
"""How far back a burst may look for due steps if there are too many for it to remember.

This matters if the previous burst died or ended long ago.
"""

LONGEST_LEASE: Final = timedelta(seconds=MAX_BURST_S) + timedelta(minutes=1)
"""The most time that a valid lease can have left by our clock, since its holder's clock may be slightly ahead."""


_CAN_WAIT: Final = frozenset({WhenDue.AUDIT_RUN, WhenDue.FIRE_SCHEDULES})


def handle_tick(services: Services, event: TickEvent) -> None:
    """Handle an event from the topic `tick`.

    The event either starts a burst or contains a page of a round.
    """
    if isinstance(event, SweepPage):
        handle_page(services, event)
        return
    began, duration = services.clock.now(), services.settings.burst
    if not is_anything_due(services, began + duration):
        return
    began = services.clock.now()
    ends_at = end_of_burst(began, duration, is_scheduled=event.is_scheduled)
    burst = _Burst(services, ends_at=ends_at, waits_until=began + duration)
    if not burst.take_lease():
        log.debug("sweep.held", "another instance holds the lease for the burst")
        return
    if burst.run() is None:
        # A job may have been put in flight after the last check, and its wake-up may have found the lease taken.
        if burst.is_anything_new():
            services.bus.publish([tick_message(TickOrigin.CHECKER)])
    elif ends_at != began + duration:
        # Do not start the next burst earlier: it should last as close to the following tick as a scheduled one would.
        services.clock.sleep(max(0.0, (ends_at - services.clock.now()).total_seconds()))
        services.bus.publish([tick_message(TickOrigin.BURST)])


def end_of_burst(began: datetime, duration: timedelta, *, is_scheduled: bool) -> datetime:
    """Return the time at which a burst has to end.

    A burst that was not started by the scheduler ends at the next full minute, when the scheduler ticks. Otherwise that
    tick would find the lease taken and do nothing, and nothing would be checked again until the following tick.
    """
    minute = began.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return began + duration if is_scheduled else min(began + duration, minute)


@dataclass(slots=True)
class _Burst:
    """One burst. Its instance holds the lease.

    `waits_until` is when the burst would end if it were not cut short at the start of the next minute. If steps
    are due by then, this burst or the next one waits for them.
    """

    services: Services
    ends_at: datetime
    waits_until: datetime
    _lease: Document | None = None
    # The time at which the latest check began, in this burst or the previous one.
    _seen_until: datetime = BEGINNING
    _reads_everything: bool = True
    _full_round_at: datetime = BEGINNING
    _in_flight: InFlight = field(default_factory=InFlight)
    _due: DueHandler = field(init=False)

    def __post_init__(self) -> None:
        self._due = DueHandler(self.services, self._in_flight)

    def take_lease(self) -> bool:
        """Take the lease for as long as the burst may last.

        Returns False if another instance holds it. If that instance dies, the next tick finds the lease expired.
        """
        document = self.services.store.get([BURST_LEASE_PATH])[0]
        fields = {} if document is None else document.fields
        leased_until, seen_until, now = fields.get("until"), fields.get("seen_until"), self.services.clock.now()
        # A lease that is longer than any valid one was taken by an instance whose clock was wrong.
        if isinstance(leased_until, datetime) and now < leased_until <= now + LONGEST_LEASE:
            return False
        if isinstance(seen_until, datetime):
            self._seen_until = seen_until
        # The id makes the writes of two racing instances differ.
        lease = {"holder": uuid.uuid4().hex, "until": self.ends_at}
        self._lease = save_document(self.services, BURST_LEASE_PATH, document, lease)
        return self._lease is not None

    def run(self) -> datetime | None:
        """Check repeatedly, then give the lease back.

        The burst ends when its time is up or nothing will be due soon. Returns the time of the next check, or None if
        nothing will be due soon.
        """
        clock = self.services.clock
        try:
            while (wake_at := self._look()) is not None and wake_at < self.ends_at:
                clock.sleep(max(0.0, (wake_at - clock.now()).total_seconds()))
            self._due.take_all_answers()
        except Exception:
            # The tick will be redelivered, and should not find the lease taken.
            with suppress(StoreError):
                self._give_back()
            raise
        self._give_back()
        return wake_at

    def is_anything_new(self) -> bool:
        """Return True if steps became due after the last check."""
        now = self.services.clock.now()
        due, _ = read_due(self.services, until=now + self.services.settings.burst, after=self._known_until(now))
        steps = (stored for stored in due if stored.step.rules.due not in _CAN_WAIT)
        return any(not self._in_flight.knows(stored) for stored in steps)

    def _give_back(self) -> None:
        fields = {"until": self.services.clock.now(), "seen_until": self._seen_until}
        save_document(self.services, BURST_LEASE_PATH, self._lease, fields)

    def _look(self) -> datetime | None:
        """Handle the due steps, and collect results until the next check.

        Returns the time of the next check, or None if no check is needed soon.
        """
        now = self.services.clock.now()
        published = self._due.published
        self._read_due(now)
        if self._in_flight.is_full:
            self._advance_round(now)
        while self._due.pending and self.services.clock.now() < (until := self._next_look(now)):
            self._due.take_answers(until)
        is_busy = self._due.pending or self._due.published > published
        return self._next_look(now) if is_busy or not self._is_idle() else None

    def _read_due(self, now: datetime) -> None:
        """Read the steps that have become due, and begin to handle them.

        The first check reads every due step; later checks read only those that have become due since the previous
        check.
        """
        until = now + self.services.settings.burst
        after: Cursor | None = place_of(BEGINNING) if self._reads_everything else self._known_until(now)
        while after is not None and after[0] <= now:
            due, following = read_due(self.services, until=until, after=after)
            if self._reads_everything and following is not None and following[0] <= now:
                # More than a page is due now. Leave these steps to rounds, and continue with those that become due.
                self._in_flight.is_full, following = True, self._known_until(now)
            else:
                self._in_flight.learn(due, since=after[0], now=now, pending=self._due.pending)
                # Do this before reading another page, since these steps are already due.
                self._due.begin(self._in_flight.take_due(now), self.ends_at)
            self._reads_everything, after = False, following
        self._seen_until = now

    def _known_until(self, now: datetime) -> Cursor:
        """Return the position up to which due steps are known.

        It is a little before the time of the last check.
        """
        return place_of(min(now, max(self._seen_until, now - FARTHEST_BACK)) - self._interval * OVERLAP)

    def _advance_round(self, now: datetime) -> None:
        """Keep the round going, or begin the next one.

        Once a minute, the new round covers every due step; otherwise it covers only jobs that began recently.
        """
        current = load_round(self.services)
        if current.page is not None:
            # The page's event was lost or reached no instance. `since` may be ahead of our time: another clock set it.
            if abs(now - current.since) >= PAGE_TIME:
                page = take_page(self.services, current)
                self._due.begin(page, self.services.clock.now() + PAGE_TIME)
        elif is_little_due(self.services, now + self.services.settings.burst):
            # Enough steps have ended for the burst to remember all the others.
            self._in_flight.is_full, self._reads_everything = False, True
        elif now >= self._full_round_at:
            self._full_round_at = now + LONGEST_POLL
            begin_round(self.services, current)
        else:
            # Checks that find nothing new write nothing, so a job's due time remains that of its first check.
            begin_round(self.services, current, due_after=now - young_age(self._interval))

    def _is_idle(self) -> bool:
        """Return True if every remaining check can wait for the next tick.

        Checks of long-running jobs can wait, and so can audits. So can schedules, which are due at whole minutes, when
        the scheduler ticks. The burst itself waits for retries and timeouts.
        """
        soon = self.services.clock.now() + self._interval * WORTH_WAITING
        return not (self._in_flight.is_full or self._reads_everything) and all(
            at > self.waits_until
            or (at > soon and stored.step.state is StepState.RUNNING and at != stored.step.attempt_deadline)
            or stored.step.rules.due is WhenDue.AUDIT_RUN
            or (at > soon and stored.step.rules.due is WhenDue.FIRE_SCHEDULES)
            for at, stored in self._in_flight.looks()
        )

    def _next_look(self, began: datetime) -> datetime:
        """Return the time of the next check.

        The previous check began at `began`. The result is usually the next due time. A minimum gap lets several steps
        share a check, and there is at least one check per interval, since a job may have begun unnoticed.
        """
        latest, earliest = began + self._interval, self._in_flight.next_look
        return latest if earliest is None else min(latest, max(earliest, began + self._interval * SHORTEST_GAP))

    @property
    def _interval(self) -> timedelta:
        return self.services.settings.check_interval
