"""Skip idle time while a run is measured.

In idle time, every minute uses the same resources as the one before. An eight-hour job is polled some five hundred
times, and each of these polls would have to be simulated. But once the age of the job and the run no longer matters,
the same events repeat. The repetition is observed for twice the interval of the rarest event, which is an audit of the
run. From then on, whole repetitions are counted instead of simulated: the jobs are moved closer to their next change by
as much time as is skipped, and everything else continues as usual.

In a repetition, the counts of documents, messages and calls must be exactly the same. The seconds that functions take
and the bytes that they send may differ by one percent: with a thousand jobs in flight, an audit starts a few
milliseconds later each minute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from math import ceil, isclose
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from atom_client.cost.usage import Tally
from atom_workflows.core.polling import LONGEST_AUDIT, LONGEST_POLL, next_audit, poll_interval

if TYPE_CHECKING:
    from atom_emulator.testing.functions import Functions

_TIMES_SEEN: Final = 2
"""How many intervals of the rarest event to observe before trusting that the pattern repeats."""

_TOLERANCE: Final = 0.01
_MEASURES: Final = frozenset({"message_bytes", "dispatched_s", "watched_s", "took_s"})
"""Fields of a tally that are measurements rather than counts."""

_OLD: Final = timedelta(days=365)

_Counts: TypeAlias = tuple[Any, ...]
"""The fields of a tally, in order."""

_NAMES: Final = tuple(one.name for one in fields(Tally))
_counts_of: Final[Callable[[Tally], _Counts]] = attrgetter(*_NAMES)


class IdleTime:
    """Observes what each tick uses, and skips ticks that repeat earlier ones. `skipped` is the total time skipped."""

    def __init__(self, functions: Functions, run_id: str, count: Callable[[], Tally]) -> None:
        self.skipped = timedelta(0)
        self._functions = functions
        self._run_id = run_id
        self._count = count
        self._extra: _Counts = _counts_of(Tally())
        self._last: _Counts = self._extra
        # What each tick has used since idle time began, newest last.
        self._seen: list[_Counts] = []

    def total(self) -> Tally:
        """Return all counts, including those for the skipped time."""
        return Tally(*(round(one + more, 3) for one, more in zip(_counts_of(self._count()), self._extra, strict=True)))

    def skip(self) -> None:
        """Skip ticks that would repeat earlier ones, until a job changes.

        Must be called right before each tick. Does nothing if no such pattern has been found.
        """
        counts = _counts_of(self._count())
        took = tuple(now - last for now, last in zip(counts, self._last, strict=True))
        self._last = counts
        self._seen = [*self._seen, took] if self._is_idle() else []
        functions = self._functions
        rarest = max(LONGEST_AUDIT, LONGEST_POLL, functions.world.services.settings.check_interval)
        ticks = ceil(_TIMES_SEEN * rarest / functions.tick_every)
        seen, newest = self._seen, self._seen[-ticks:]
        periods = range(1, min(ticks, len(seen) - ticks) + 1)
        # The number of ticks after which everything repeats.
        period = next((one for one in periods if all(map(_is_like, newest, seen[-ticks - one : -one]))), None)
        if period is None:
            return
        jobs, now, every = functions.world.task_runner.jobs, functions.timeline.now().timestamp(), functions.tick_every
        change = jobs.next_change(now)
        if change is None:
            return
        # Leave one tick before a job changes, so that the skipped time does not include the change.
        times = int((timedelta(seconds=change - now) - every) / (period * every))
        if times > 0:
            for used in self._seen[-period:]:
                self._extra = tuple(extra + times * more for extra, more in zip(self._extra, used, strict=True))
            self.skipped += times * period * every
            jobs.skip((times * period * every).total_seconds(), now)

    def _is_idle(self) -> bool:
        """Return True if only polls and audits remain, at their longest intervals."""
        functions = self._functions
        world, now = functions.world, functions.timeline.now()
        if not functions.timeline.is_quiet or not world.task_runner.submitted_at:
            return False
        youngest, interval = now - world.task_runner.submitted_at[-1], world.services.settings.check_interval
        is_polled_evenly = poll_interval(youngest, interval) == poll_interval(_OLD, interval)
        return is_polled_evenly and next_audit(world.run(self._run_id), now) - now == LONGEST_AUDIT


def _is_like(some: _Counts, others: _Counts) -> bool:
    """Return True if the counts are equal and the measurements nearly equal."""
    return all(
        one == other if name not in _MEASURES else isclose(one, other, rel_tol=_TOLERANCE)
        for name, one, other in zip(_NAMES, some, others, strict=True)
    )
