"""What one burst knows of the steps in flight, so that each is read once a burst and not once a look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from atom_workflows.coordinator.loading import Held

_Name: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class InFlight:
    """Steps that somebody is at, and when to look at each next; one that is being looked at has no such time.

    A step may change behind its back: then its version no longer holds, and whatever is decided of it is refused.
    """

    _steps: dict[_Name, Held] = field(default_factory=dict)
    _looks: dict[_Name, datetime] = field(default_factory=dict)

    @property
    def next_look(self) -> datetime | None:
        """The earliest look, None if nothing is in flight."""
        return min(self._looks.values(), default=None)

    def looks(self) -> Iterator[tuple[datetime, Held]]:
        """Each step with when to look at it next."""
        return ((at, self._steps[name]) for name, at in self._looks.items())

    def learn(self, found: Iterable[Held]) -> None:
        """Take in what was read; what is known already, and did not change, keeps its time."""
        for held in found:
            if held.step.due_at is not None and not self.knows(held):
                self._remember(held, held.step.due_at)

    def knows(self, held: Held) -> bool:
        """Whether it is among these as it was read."""
        known = self._steps.get(_name(held))
        return known is not None and known.version == held.version

    def take_due(self, now: datetime) -> list[Held]:
        """The steps that are to be looked at by now, the longest due first; each is given once."""
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
