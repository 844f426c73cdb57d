"""The steps in flight that one burst remembers, so that each is read once a burst and not once a look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from atom_workflows.coordinator.loading import StoredStep
from atom_workflows.core.states import StepState

CAPACITY: Final = 1_000
"""Steps that a burst remembers; with more in flight, the others are left to rounds (see rounds.py)."""

_Name: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class InFlight:
    """Steps that are under way, each with the time of its next look; one that is being handled has none.

    A step may change unnoticed. Then its version is out of date, and decisions about it are refused.
    """

    is_full: bool = False
    _steps: dict[_Name, StoredStep] = field(default_factory=dict)
    _looks: dict[_Name, datetime] = field(default_factory=dict)

    @property
    def next_look(self) -> datetime | None:
        """The time of the earliest look, None if nothing is in flight."""
        return min(self._looks.values(), default=None)

    def looks(self) -> Iterator[tuple[datetime, StoredStep]]:
        """Yield each step with the time of its next look."""
        return ((at, self._steps[name]) for name, at in self._looks.items())

    def learn(
        self, found: Iterable[StoredStep], *, since: datetime, now: datetime, pending: Iterable[StoredStep] = ()
    ) -> None:
        """Remember steps that became due after `since`, as they were read.

        A known step that did not change keeps its time. Without room, jobs to poll are left to a round; everything else
        that is due now is remembered anyway, as it is handled at once. Steps with a `pending` call take up
        room until it is answered, as the call keeps them anyway.
        """
        kept = {*self._looks, *map(_name, pending)}
        # Other steps are forgotten once the queries no longer find them.
        self._steps = {
            name: stored
            for name, stored in self._steps.items()
            if name in kept or (stored.step.due_at or since) > since
        }
        for stored in found:
            due_at = stored.step.due_at
            if due_at is None or self.knows(stored):
                continue
            if len(self._steps) < CAPACITY or (stored.step.state is not StepState.RUNNING and due_at <= now):
                self._remember(stored, due_at)
            else:
                self.is_full = True

    def knows(self, stored: StoredStep) -> bool:
        """Return True if the step is remembered with the same version."""
        known = self._steps.get(_name(stored))
        return known is not None and known.version == stored.version

    def take_due(self, now: datetime) -> list[StoredStep]:
        """Take the steps whose look is due, the longest due first.

        Each is returned once, until `look_again` schedules it again.
        """
        due = sorted((at, name) for name, at in self._looks.items() if at <= now)
        for _, name in due:
            del self._looks[name]
        return [self._steps[name] for _, name in due]

    def look_again(self, taken: StoredStep, stored: StoredStep, at: datetime) -> None:
        """Schedule the next look at a step that was taken.

        `stored` is the step as it stands now. Does nothing if `learn` has found the step changed meanwhile.
        """
        if self._steps.get(_name(taken)) is taken:
            self._remember(stored, at)

    def _remember(self, stored: StoredStep, look_at: datetime) -> None:
        self._steps[_name(stored)] = stored
        self._looks[_name(stored)] = look_at


def _name(stored: StoredStep) -> _Name:
    return stored.step.run_id, stored.step.id
