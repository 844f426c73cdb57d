"""Skip idle time while a run is measured: hours in which every minute takes what the ones before it took.

A job of eight hours is polled some five hundred times, and each of these polls would have to be played. But once
nothing depends any more on how long the job and the run have lasted, what happens repeats. It is watched doing so for
twice as long as the rarest repetition takes, which is an audit of the run. Then whole repetitions are counted and not
played: the jobs are moved that much nearer to their next change, and all else goes on as it would have.

To repeat, the counts of documents, messages and calls must be the same to the last one. The seconds that functions take
and the bytes that they send may differ by a hundredth: with a thousand jobs in flight, an audit comes some milliseconds
later in each minute than in the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, fields
from datetime import timedelta
from math import ceil, isclose
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from atom_client.cost.usage import Tally
from atom_workflows.core.polling import LONGEST_AUDIT, LONGEST_POLL, next_audit, poll_interval

if TYPE_CHECKING:
    from atom_emulator.testing.functions import Functions

_TIMES_SEEN: Final = 2
"""How often the rarest repetition is seen before it is believed."""

_TOLERANCE: Final = 0.01
_MEASURES: Final = frozenset({"message_bytes", "dispatched_s", "watched_s", "took_s"})
"""Fields of a tally that are no counts."""

_OLD: Final = timedelta(days=365)

_NAMES: Final = tuple(one.name for one in fields(Tally))

_Counts: TypeAlias = tuple[Any, ...]
"""The fields of a tally, in order."""


class IdleTime:
    """Watches what each tick takes, and skips what repeats. `skipped` is the time that was."""

    def __init__(self, functions: Functions, run_id: str, count: Callable[[], Tally]) -> None:
        self.skipped = timedelta(0)
        self._functions = functions
        self._run_id = run_id
        self._count = count
        self._extra: _Counts = astuple(Tally())
        self._last: _Counts = self._extra
        # What each tick took since time is idle, the newest last.
        self._seen: list[_Counts] = []

    def total(self) -> Tally:
        """Return all counts, with those of the time that was skipped."""
        return Tally(*(round(one + more, 3) for one, more in zip(astuple(self._count()), self._extra, strict=True)))

    def skip(self) -> None:
        """Skip the repetitions until a job changes.

        To be called at each tick, before it. Does nothing while there are none.
        """
        counts = astuple(self._count())
        took = tuple(now - last for now, last in zip(counts, self._last, strict=True))
        self._last = counts
        self._seen = [*self._seen, took] if self._is_idle() else []
        if period := self._find_period():
            self._skip(period)

    def _is_idle(self) -> bool:
        """Return True if nothing depends on ages any more.

        These are the run's and its jobs'.
        """
        functions = self._functions
        world, now = functions.world, functions.timeline.now()
        if not functions.timeline.is_quiet or not world.task_runner.submitted_at:
            return False
        youngest, interval = now - world.task_runner.submitted_at[-1], world.services.settings.check_interval
        is_polled_evenly = poll_interval(youngest, interval) == poll_interval(_OLD, interval)
        return is_polled_evenly and next_audit(world.run(self._run_id), now) - now == LONGEST_AUDIT

    def _find_period(self) -> int:
        """Return after how many ticks everything repeats, 0 if it does not."""
        seen = self._seen
        rarest = max(LONGEST_AUDIT, LONGEST_POLL, self._functions.world.services.settings.check_interval)
        ticks = ceil(_TIMES_SEEN * rarest / self._functions.tick_every)
        for period in range(1, min(ticks, len(seen) - ticks) + 1):
            if all(map(_is_like, seen[-ticks:], seen[-ticks - period : -period])):
                return period
        return 0

    def _skip(self, period: int) -> None:
        functions = self._functions
        jobs, now, every = functions.world.task_runner.jobs, functions.timeline.now().timestamp(), functions.tick_every
        change = jobs.next_change(now)
        if change is None:
            return
        # What comes between this tick and the next must not be another thing because a job changes.
        times = int((timedelta(seconds=change - now) - every) / (period * every))
        if times > 0:
            for took in self._seen[-period:]:
                self._extra = tuple(extra + times * more for extra, more in zip(self._extra, took, strict=True))
            self.skipped += times * period * every
            jobs.skip((times * period * every).total_seconds(), now)


def _is_like(some: _Counts, others: _Counts) -> bool:
    """Return True if these counts are the same, and the measures nearly."""
    return all(
        one == other if name not in _MEASURES else isclose(one, other, rel_tol=_TOLERANCE)
        for name, one, other in zip(_NAMES, some, others, strict=True)
    )
