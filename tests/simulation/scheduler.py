"""Decides who runs next. Invocations hand over at every port call, and time passes only when the scheduler says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from greenlet import getcurrent, greenlet

from atom_workflows.coordinator.limits import WakeLimit

_FOREVER: Final = float("inf")


class Died(BaseException):
    """The process was killed. Not an `Exception`: no handler may survive it."""


@dataclass(slots=True, eq=False)
class Instance:
    """A process that serves events; `skew_s` is how far its clock is ahead of the true time."""

    name: str
    skew_s: float
    wake_limit: WakeLimit


@dataclass(slots=True, eq=False)
class Invocation:
    """A handler on its way, or with a `parent` one of the calls that it makes at the same time.

    `error` is what it raised. One that was `killed` raises `Died` as soon as it would go on.
    """

    name: str
    instance: Instance
    thread: greenlet
    parent: Invocation | None
    on_end: Callable[[Invocation], None] | None
    must_go_on_by: float
    root: Invocation = field(init=False)
    result: Any = None
    error: BaseException | None = None
    has_ended: bool = False
    killed: bool = False
    sleeps_until: float = 0.0
    waits_for: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        self.root = self if self.parent is None else self.parent.root

    @property
    def gave_up(self) -> bool:
        """True if the whole invocation died or failed, so that its event comes again."""
        return self.root.killed or self.root.error is not None

    def can_go_on(self, now: float) -> bool:
        """Return True if nothing keeps it from going on."""
        if self.root.killed:
            return True
        return self.sleeps_until <= now or (self.waits_for is not None and self.waits_for())


class Scheduler:
    """All invocations, the one that runs, and the true time in seconds since the simulation began."""

    def __init__(self, chance: Random, pause_s: float) -> None:
        self.now = 0.0
        self.pause_s = pause_s
        self.running: Invocation | None = None
        self.invocations: list[Invocation] = []
        self._chance = chance
        self._main = getcurrent()
        self._started = 0

    @property
    def current(self) -> Invocation:
        """The invocation that runs."""
        assert self.running is not None
        return self.running

    # -- called by whoever plays ---------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        work: Callable[[], Any],
        instance: Instance,
        on_end: Callable[[Invocation], None] | None = None,
        parent: Invocation | None = None,
    ) -> Invocation:
        """Register work, which first runs when it is chosen."""
        self._started += 1
        invocation: Invocation = Invocation(
            name=f"{name}#{self._started}",
            instance=instance,
            thread=greenlet(lambda: self._run(invocation, work), parent=self._main),
            parent=parent,
            on_end=on_end,
            must_go_on_by=self.now + self._chance.uniform(0, self.pause_s),
        )
        self.invocations.append(invocation)
        return invocation

    def ready(self) -> list[Invocation]:
        """Return the invocations that can go on now."""
        return [one for one in self.invocations if one.can_go_on(self.now)]

    def go_on(self, invocation: Invocation) -> None:
        """Run one up to its next port call or its end."""
        self.running = invocation
        invocation.thread.switch()
        self.running = None
        if invocation.has_ended:
            self._finish(invocation)

    def kill(self, invocation: Invocation) -> None:
        """Kill the whole handler that it belongs to."""
        invocation.root.killed = True

    def kill_instance(self, instance: Instance) -> None:
        """Kill everything that an instance is doing."""
        for one in self.invocations:
            if one.instance is instance:
                one.root.killed = True

    def next_wake_up(self) -> float:
        """Return when the next sleeper wakes or a pause must end."""
        sleepers = (one.sleeps_until for one in self.invocations if one.sleeps_until > self.now)
        paused = (one.must_go_on_by for one in self.invocations if one.can_go_on(self.now))
        return min([*sleepers, *paused], default=_FOREVER)

    def close(self) -> None:
        """End whatever has not ended."""
        for one in list(self.invocations):
            one.root.killed = True
            if one.thread:
                one.thread.switch()
        self.invocations.clear()

    # -- called within an invocation -------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Let others run first, for no longer than a pause may be."""
        self._rest(self._chance.uniform(0, self.pause_s))

    def sleep(self, seconds: float) -> None:
        """Let at least that much time pass."""
        invocation = self.current
        invocation.sleeps_until = self.now + seconds
        self._rest(seconds + self._chance.uniform(0, self.pause_s))

    def wait_until(self, condition: Callable[[], bool], within_s: float | None = None) -> None:
        """Let others run until this holds, or so many seconds have passed."""
        invocation = self.current
        invocation.sleeps_until = _FOREVER if within_s is None else self.now + within_s
        invocation.waits_for = condition
        self._rest(_FOREVER if within_s is None else within_s + self._chance.uniform(0, self.pause_s))
        invocation.waits_for, invocation.sleeps_until = None, self.now

    def die(self) -> None:
        """Kill the invocation that runs, here and now."""
        self.kill(self.current)
        raise Died

    def _rest(self, at_most: float) -> None:
        invocation = self.current
        invocation.must_go_on_by = self.now + at_most
        self._main.switch()
        self._go_on_or_die(invocation)

    @staticmethod
    def _go_on_or_die(invocation: Invocation) -> None:
        if invocation.root.killed:
            raise Died

    def _run(self, invocation: Invocation, work: Callable[[], Any]) -> None:
        try:
            self._go_on_or_die(invocation)
            invocation.result = work()
        except (Exception, Died) as error:  # noqa: BLE001 - whoever started it decides what its errors mean
            invocation.error = error
        invocation.has_ended = True

    def _finish(self, invocation: Invocation) -> None:
        self.invocations.remove(invocation)
        if invocation.parent is not None:
            return
        for one in self.invocations:
            if one.root is invocation:  # a call that no one waits for any more
                invocation.killed = True
        if invocation.on_end is not None:
            invocation.on_end(invocation)
