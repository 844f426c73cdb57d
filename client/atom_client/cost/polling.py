"""The checker's time: what looking after a run takes, as `coordinator.check` and `core.polling` do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Final

from atom_client.cost.usage import ENVELOPE_BYTES, Assumptions, Tally, billed
from atom_workflows.coordinator.checker import burst
from atom_workflows.core.looks import LONGEST_AUDIT, NEXT_AUDIT, SHORTEST_AUDIT
from atom_workflows.core.polling import LONGEST_POLL, SOONEST_POLL, WORTH_WAITING, poll_interval

BURST_READS: Final = 2
"""Is anything in flight, and who holds the lease."""

BURST_WRITES: Final = 2
"""The lease is taken and given back."""

AUDIT_READS: Final = 4
"""The run, its end once more, what is released, and whether anything is under way."""

AUDIT_SHARE_OF_AGE: Final = 10

_A_MOMENT: Final = 0.001

_MINUTE_S: Final = 60.0


@dataclass(slots=True)
class Watch:
    """One run's jobs under the eyes of a checker that has nothing else to do. Times are seconds since the run began.

    A burst begins when the dispatcher wakes the checker or the scheduler ticks, which it does half a minute into the
    run at first. It ends when the next look would be behind its time, or is not worth waiting for; the
    dispatcher's ends at the whole minute, too, and another follows at once.
    """

    given: Assumptions
    tally: Tally
    _began: float | None = None
    _ends_at: float = 0.0
    _waits_until: float = 0.0
    _is_cut_short: bool = False
    _last_look: float | None = None
    _next_look: float = 0.0
    _rested_at: float = -inf
    _next_audit: float = NEXT_AUDIT.total_seconds()

    def wake(self, now: float) -> None:
        """A dispatcher's wake-up: begins a burst unless one is going on."""
        if self._interval * SOONEST_POLL > self._burst:
            # Nothing is due before the burst would be over.
            self.tally.reads += 1
            self._count_invocation(self.given.read_s)
            return
        if self._began is None:
            self._begin(now)
            whole_minute = _MINUTE_S / 2 + max(0, (now - _MINUTE_S / 2) // _MINUTE_S + 1) * _MINUTE_S
            self._is_cut_short = whole_minute < self._ends_at
            self._ends_at = min(self._ends_at, whole_minute)
            return
        self.tally.reads += BURST_READS
        self._count_invocation(self.given.read_s)

    def follow(self, jobs: int, started: float) -> float:
        """Look at jobs that started together until all have ended; when that was seen."""
        batch = _Batch(jobs=jobs, started=started, due=started + self._interval * SOONEST_POLL)
        while True:
            now = self._next_moment(max(started, min(batch.due, self._next_audit) - self._burst))
            self._look(now, batch)
            if batch.is_ended:
                self._next_look = now + self._interval
                return now
            if batch.look_at > self._waits_until or batch.look_at - now > self._interval * WORTH_WAITING:
                self._rest(now)
                continue
            wish = max(batch.look_at, now + self._interval * burst.SHORTEST_GAP)
            self._next_look = min(now + self._interval, wish)

    def wait(self, until: float) -> None:
        """Bursts that a run without jobs causes, since its end is watched while it is open."""
        watched_from = NEXT_AUDIT.total_seconds() - self._burst
        while self._coming(watched_from) < until:
            now = self._next_moment(watched_from)
            self._look(now, _Batch(jobs=0, started=now, due=inf))
            self._rest(now)

    def close(self) -> None:
        """The last look finds nothing any more."""
        if self._began is not None:
            self.tally.reads += 2
            self._last_look = self._next_look if self._next_look < self._ends_at else self._last_look
            self._is_cut_short = False
            self._end_burst()

    def _next_moment(self, earliest: float) -> float:
        """When the next look is: in this burst, or at the beginning of the next, which begins."""
        moment = self._coming(earliest)
        if self._began is not None and moment == self._next_look:
            return moment
        self._end_burst()
        return self._begin(moment)

    def _coming(self, earliest: float) -> float:
        if self._began is None:
            return self._tick_at_or_after(max(earliest, self._rested_at + _A_MOMENT))
        if self._next_look < self._ends_at:
            return self._next_look
        if self._is_cut_short:
            return max(earliest, self._ends_at)
        return self._tick_at_or_after(max(earliest, self._ends_at))

    def _rest(self, now: float) -> None:
        """End the burst, having seen that nothing new came."""
        self.tally.reads += 1
        self._is_cut_short = False
        self._end_burst()
        self._rested_at = now

    def _begin(self, now: float) -> float:
        self.tally.reads += BURST_READS
        self.tally.writes += BURST_WRITES
        self._is_cut_short = False
        self._began, self._ends_at, self._last_look, self._next_look = now, now + self._burst, None, now
        self._waits_until = self._ends_at
        return now

    def _end_burst(self) -> None:
        if self._began is not None:
            ended_at = self._ends_at if self._is_cut_short else self._last_look or self._began
            self._count_invocation(ended_at - self._began + self.given.task_runner_s)
            self._began = None

    def _count_invocation(self, seconds: float) -> None:
        self.tally.publish([ENVELOPE_BYTES], delivered=True)
        self.tally.watched_s += billed(seconds)

    def _look(self, now: float, batch: _Batch) -> None:
        is_first = self._last_look is None
        since = -inf if self._last_look is None else self._last_look - self._interval * burst.OVERLAP
        is_read = since < batch.due <= now + self._burst
        found = batch.jobs if is_read else 0
        found += is_first and self._next_audit <= now + self._burst
        self.tally.reads += max(1, found)
        if is_read and (is_first or batch.look_at == inf):
            batch.look_at = batch.due
        if batch.look_at <= now:
            self._poll(now, batch)
        if self._next_audit <= now:
            self._audit(now)
        self._last_look = now

    def _poll(self, now: float, batch: _Batch) -> None:
        age = now - batch.started
        self.tally.polls += batch.jobs
        batch.is_ended = age >= self.given.job.total_seconds()
        wait = poll_interval(timedelta(seconds=age), self.given.settings.check_interval)
        batch.look_at = now + wait.total_seconds()
        if wait > LONGEST_POLL and not batch.is_ended:
            # Its time is written, as no burst before that is to read it.
            self.tally.writes += batch.jobs
            batch.due = batch.look_at

    def _audit(self, now: float) -> None:
        self.tally.reads += AUDIT_READS
        self.tally.writes += 1
        wait = min(max(timedelta(seconds=now) / AUDIT_SHARE_OF_AGE, SHORTEST_AUDIT), LONGEST_AUDIT)
        self._next_audit = now + wait.total_seconds()

    def _tick_at_or_after(self, moment: float) -> float:
        every = self.given.tick.total_seconds()
        return every / 2 + max(0.0, -(-(moment - every / 2) // every)) * every

    @property
    def _interval(self) -> float:
        return self.given.settings.check_interval.total_seconds()

    @property
    def _burst(self) -> float:
        return self.given.settings.burst.total_seconds()


@dataclass(slots=True)
class _Batch:
    """Jobs that started together; `due` is what their documents say, `look_at` what the burst knows."""

    jobs: int
    started: float
    due: float
    look_at: float = field(default=inf)
    is_ended: bool = False
