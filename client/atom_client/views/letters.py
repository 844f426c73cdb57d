"""Dead letters taken off their subscription for as long as a command looks at them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import click

from atom_client.errors import Failure
from atom_client.text import listing
from atom_workflows.dead_letters import DeadLetter, read_dead_letter
from atom_workflows.errors import BusUnavailable
from atom_workflows.ports import Bus, DeadLetterBox, HeldMessage

MOST_LETTERS: Final = 1_000
MOST_BYTES: Final = 100_000_000
"""No command holds more than that."""

TRIES: Final = 4
"""How often letters are looked for by their ids; each time takes some seconds, as long as a list holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the commands work with, and where the platform is that they look at."""

    bus: Bus
    box: DeadLetterBox
    project: str
    is_local: bool = False
    topic_prefix: str = ""


@dataclass(slots=True, kw_only=True)
class Taken:
    """Letters that nobody else is given meanwhile; `is_all` tells whether no more were there."""

    desk: Desk
    is_all: bool = False
    _held: dict[str, HeldMessage] = field(default_factory=dict)

    @property
    def letters(self) -> list[DeadLetter]:
        """All of them, the newest first."""
        read = [read_dead_letter(one, topic_prefix=self.desk.topic_prefix) for one in self._held.values()]
        # Ids are numbers that grow, so the longer one is the later one.
        return sorted(read, key=lambda letter: (letter.dead_since, len(letter.id), letter.id), reverse=True)

    def named(self, ids: Sequence[str]) -> list[DeadLetter]:
        """Those of these ids; raises `Failure` unless all are there."""
        missing = self._missing(ids)
        if not missing:
            by_id = {letter.id: letter for letter in self.letters}
            return [by_id[one] for one in dict.fromkeys(ids)]
        looked = "" if self.is_all else f" among the {len(self._held):,} that were looked at"
        raise Failure(
            f"there is no dead letter {listing(missing)}{looked}. `atom-workflows dead-letters list` shows what there "
            "is; one that a command held when it was killed is there again in a minute"
        )

    def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Take them out for good."""
        self.desk.box.remove([self._held[letter.id] for letter in letters])
        for letter in letters:
            del self._held[letter.id]

    def fill(self, wanted: Collection[str]) -> None:
        """Take letters until the wanted ones are there, or no new ones come; all of them if none is named."""
        while not self.is_all and not (wanted and self._held.keys() >= set(wanted)):
            room = MOST_LETTERS - len(self._held)
            if room <= 0 or sum(len(one.data) for one in self._held.values()) > MOST_BYTES:
                return
            came = self.desk.box.take(room)
            # A lease that is over makes a letter come twice; then there is nothing new.
            self.is_all = all(one.id in self._held for one in came)
            self._held |= {one.id: one for one in came}

    def release(self) -> None:
        """Let others have what is still there; if that fails, they have it in a minute."""
        with suppress(BusUnavailable):
            self.desk.box.release(list(self._held.values()))

    def fill_patiently(self, wanted: Collection[str]) -> None:
        """Take the wanted letters, a few times: while another command looks at them they cannot be had."""
        self.fill(wanted)
        for tries in range(1, TRIES):
            missing = self._missing(wanted)
            if not missing:
                return
            if tries == 1:
                click.echo(f"{listing(missing)}: not to be had now; looking again for a moment ...", err=True)
            # That other command may wait for what is held here.
            self.release()
            self._held, self.is_all = {}, False
            self.fill(wanted)

    def _missing(self, wanted: Collection[str]) -> list[str]:
        return [one for one in dict.fromkeys(wanted) if one not in self._held]


@contextmanager
def taken(desk: Desk, wanted: Collection[str] = ()) -> Iterator[Taken]:
    """The letters that are wanted, and others with them; without names, all. They are free again after the block."""
    letters = Taken(desk=desk)
    try:
        letters.fill_patiently(wanted)
        yield letters
    finally:
        letters.release()
