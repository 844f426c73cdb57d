"""Virtual time, in which invocations run side by side and nothing waits.

The coordinator is plain code that calls and sleeps, so each invocation has its own thread. However, only one of them
runs at any moment, until it sleeps; a call that takes time is a sleep, too. Then time jumps to the next due event.
Therefore nothing depends on the machine, and hours pass as fast as their events can be computed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import chain, count
from typing import Final, Generic, TypeAlias

from atom_emulator.testing.world import START, MovedClock
from atom_workflows.adapters.system import WAVE_S
from atom_workflows.ports import Answer, Item

_WAVE: Final = timedelta(seconds=WAVE_S)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

Act: TypeAlias = Callable[[], None]


class _Abandoned(BaseException):
    """The timeline was closed; not an `Exception`, so no handler catches it."""


@dataclass(slots=True, eq=False)
class _Invocation:
    """Code on its own thread, which runs while it holds the `baton`."""

    work: Act
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None
    error: BaseException | None = None


class Timeline(MovedClock):
    """The time shared by all invocations, starting at `began`.

    The thread that created it is the player: it lets time pass with `run` or `move`, and closes the timeline at the
    end.
    """

    def __init__(self, began: datetime = START) -> None:
        super().__init__(began)
        self._agenda: list[tuple[datetime, int, Act]] = []
        self._numbers = count()
        self._until = began
        self._alive: set[_Invocation] = set()
        self._running: _Invocation | None = None
        self._player = threading.Semaphore(0)
        self._own_time: datetime | None = None
        self._is_closed = False

    # -- called by the player ------------------------------------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """True if no invocation is in progress."""
        return not self._alive

    def begin(self, work: Act) -> None:
        """Begin an invocation, which runs concurrently with the current ones."""
        invocation = _Invocation(work)
        self._alive.add(invocation)
        self.at(self.now(), lambda: self._switch_to(invocation))

    def at(self, moment: datetime, act: Act) -> None:
        """Call `act` at that time.

        It is called on the player's thread, so it must not sleep.
        """
        heappush(self._agenda, (moment, next(self._numbers), act))

    def run(self, until: datetime, *, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until the given time, or until `is_over`.

        Raises the error of an invocation that failed.
        """
        self._until = until
        while not is_over():
            if not self._agenda or self._agenda[0][0] > until:
                self._now = max(self._now, until)
                return
            moment, _, act = heappop(self._agenda)
            self._now = max(self._now, moment)
            act()

    def move(self, by: timedelta) -> None:
        """Let time pass, and handle everything that becomes due."""
        self.run(self._now + by)

    def close(self) -> None:
        """End every invocation that is in progress."""
        self._is_closed = True
        for one in [one for one in self._alive if one.thread is not None]:
            one.baton.release()
            self._player.acquire()
        self._alive.clear()

    # -- called by invocations -----------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """See `ports.Clock.now`."""
        return self._own_time or self._now

    def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        if self._is_closed:
            raise _Abandoned
        if seconds <= 0:
            return
        until = self.now() + timedelta(seconds=seconds)
        if self._own_time is not None:
            self._own_time = until
        elif self._running is None:
            self.run(until)
        elif until <= self._until and not (self._agenda and self._agenda[0][0] <= until):
            # Nothing else is due meanwhile, so no other thread has to run.
            self._now = until
        else:
            invocation = self._running
            self.at(until, lambda: self._switch_to(invocation))
            self._player.release()
            invocation.baton.acquire()
            if self._is_closed:
                raise _Abandoned

    @contextmanager
    def own_time(self, begins: datetime) -> Iterator[None]:
        """Run the calls in the block from `begins`, in a separate time.

        Afterward, the previous time is restored, so calls made one after the other can overlap in virtual
        time.
        """
        before = self._own_time
        self._own_time = begins
        try:
            yield
        finally:
            self._own_time = before

    def _switch_to(self, invocation: _Invocation) -> None:
        """Let an invocation run until it sleeps or ends."""
        self._running = invocation
        if invocation.thread is None:
            invocation.thread = threading.Thread(target=self._live, args=(invocation,), daemon=True)
            invocation.thread.start()
        else:
            invocation.baton.release()
        self._player.acquire()
        self._running = None
        if invocation.error is not None:
            raise invocation.error

    def _live(self, invocation: _Invocation) -> None:
        try:
            invocation.work()
        except _Abandoned:
            pass  # The timeline was closed while this one slept; no one waits for its result.
        except BaseException as error:  # noqa: BLE001 (it is raised where the invocation was let run)
            invocation.error = error
        finally:
            self._alive.discard(invocation)
            self._player.release()


@dataclass(frozen=True, slots=True)
class TimedWorkers:
    """Implements `ports.Workers` in virtual time, with limited concurrency per lane.

    Each call begins `spacing_s` after the previous one, since a processor starts one call after the other.
    """

    timeline: Timeline
    at_a_time: int
    spacing_s: float = 0.0

    def calls(
        self, call: Callable[[Item], Answer], *, lane: Callable[[Item], str] | None = None
    ) -> TimedCalls[Item, Answer]:
        """See `ports.Workers.calls`."""
        return TimedCalls(self, call, lane or (lambda _: ""))


@dataclass(slots=True)
class _Call(Generic[Item, Answer]):
    """A call that was made, although its end may be in the future. It has an `error` or an answer."""

    item: Item
    ends: datetime
    answer: Answer | None = None
    error: Exception | None = None


@dataclass(slots=True)
class TimedCalls(Generic[Item, Answer]):
    """Implements `ports.Calls`. Answers that arrive soon after the first one join its wave, as they do with threads."""

    workers: TimedWorkers
    call: Callable[[Item], Answer]
    lane: Callable[[Item], str]
    _queued: dict[str, deque[Item]] = field(default_factory=dict)
    # The end times of the calls in each lane, one for each call that may run concurrently.
    _ends: dict[str, list[datetime]] = field(default_factory=dict)
    _last_began: datetime = _LONG_AGO
    _made: list[_Call[Item, Answer]] = field(default_factory=list)
    _failure: Exception | None = None

    @property
    def pending(self) -> list[Item]:
        """See `ports.Calls.pending`."""
        return [*(one.item for one in self._made), *chain.from_iterable(self._queued.values())]

    def begin(self, items: Sequence[Item]) -> None:
        """See `ports.Calls.begin`."""
        for item in items:
            self._queued.setdefault(self.lane(item), deque()).append(item)

    def wave(self, within_s: float | None = None) -> list[tuple[Item, Answer]]:
        """See `ports.Calls.wave`."""
        timeline = self.workers.timeline
        now = timeline.now()
        self._make_calls(now, now)
        if not self._made:
            if self._failure is not None:
                raise self._failure
            return []
        # Calls are made one after the other, but each in its own time, so that any of them may end first.
        until = min(one.ends for one in self._made)
        if within_s is not None and (until - now).total_seconds() > within_s:
            timeline.sleep(within_s)
            return []
        self._make_calls(now, until + _WAVE)
        until = min(until + _WAVE, max(one.ends for one in self._made))
        timeline.sleep((until - now).total_seconds())
        ended = [one for one in self._made if one.ends <= until]
        self._made = [one for one in self._made if one.ends > until]
        self._failure = self._failure or next((one.error for one in ended if one.error is not None), None)
        return [(one.item, one.answer) for one in ended if one.error is None]  # type: ignore[misc] # then there is one

    def _make_calls(self, now: datetime, until: datetime) -> None:
        """Make the calls that begin by then, each in its own time."""
        spacing = timedelta(seconds=self.workers.spacing_s)
        for lane, queue in self._queued.items():
            ends = self._ends.setdefault(lane, [])
            while queue:
                is_full = len(ends) == self.workers.at_a_time
                begins = max(now, self._last_began + spacing, ends[0] if is_full else now)
                if self._made and begins > until:
                    break
                if is_full:
                    heappop(ends)
                made = self._make(queue.popleft(), begins)
                self._last_began = begins
                heappush(ends, made.ends)
                self._made.append(made)

    def _make(self, item: Item, begins: datetime) -> _Call[Item, Answer]:
        timeline = self.workers.timeline
        answer, error = None, None
        with timeline.own_time(begins):
            try:
                answer = self.call(item)
            except Exception as failed:  # noqa: BLE001 (it is raised once no other call is pending)
                error = failed
            return _Call(item=item, ends=timeline.now(), answer=answer, error=error)
