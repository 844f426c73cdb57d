"""The steps in flight that one burst remembers, so that each is read once a burst and not once a look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from atom_workflows.coordinator.loading import Held
from atom_workflows.core.states import StepState

CAPACITY: Final = 1_000
"""Steps that a burst remembers; with more in flight, rounds look after the others (see rounds.py)."""

_Name: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class InFlight:
    """Steps that are under way, and when to look at each next; one that is being looked at has no such time.

    A step may change unseen: then its version no longer holds, and whatever is decided about it is refused.
    """

    is_full: bool = False
    _steps: dict[_Name, Held] = field(default_factory=dict)
    _looks: dict[_Name, datetime] = field(default_factory=dict)

    @property
    def next_look(self) -> datetime | None:
        """The earliest look, None if nothing is in flight."""
        return min(self._looks.values(), default=None)

    def looks(self) -> Iterator[tuple[datetime, Held]]:
        """Yield each step with when to look at it next."""
        return ((at, self._steps[name]) for name, at in self._looks.items())

    def learn(self, found: Iterable[Held], *, since: datetime, now: datetime, asked: Iterable[Held] = ()) -> None:
        """Take in what was read of the steps that became due after `since`.

        A step that is known, and did not change, keeps its time. Without room, jobs to poll are left to a round;
        everything else that is due now is remembered all the same, as it is gone with the next look. The steps `asked`
        take up room until their calls are answered, as the calls keep them anyway.
        """
        kept = {*self._looks, *map(_name, asked)}
        # What waits for nothing is forgotten when no query finds it again.
        self._steps = {
            name: held for name, held in self._steps.items() if name in kept or (held.step.due_at or since) > since
        }
        for held in found:
            due_at = held.step.due_at
            if due_at is None or self.knows(held):
                continue
            if len(self._steps) < CAPACITY or (held.step.state is not StepState.RUNNING and due_at <= now):
                self._remember(held, due_at)
            else:
                self.is_full = True

    def knows(self, held: Held) -> bool:
        """Return whether the step is remembered as it was read."""
        known = self._steps.get(_name(held))
        return known is not None and known.version == held.version

    def take_due(self, now: datetime) -> list[Held]:
        """Return the steps that are to be looked at by now, the longest due first; each is given once."""
        due = sorted((at, name) for name, at in self._looks.items() if at <= now)
        for _, name in due:
            del self._looks[name]
        return [self._steps[name] for _, name in due]

    def look_again(self, taken: Held, held: Held, at: datetime) -> None:
        """Look at a step that was taken again then, as it stands now; not if it was found changed meanwhile."""
        if self._steps.get(_name(taken)) is taken:
            self._remember(held, at)

    def _remember(self, held: Held, look_at: datetime) -> None:
        self._steps[_name(held)] = held
        self._looks[_name(held)] = look_at


def _name(held: Held) -> _Name:
    return held.step.run_id, held.step.id
