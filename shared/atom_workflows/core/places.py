"""The places of a step with `maxParallel`: its limit on concurrent items.

Items beyond the first `maxParallel` are created with one extra open dependency: their place. The commit that ends an
item also passes its place on: it increments a counter, and the counter's new value is the number of the item to which
the place now belongs. So no one has to look for a place, no lock is taken, and no two writers can hand out the same
place. An instance that dies after that commit leaves an item with an unused place, which a redelivery or the run's
audit finds.

One document can take only so many writes per second, so the places are divided among a few *shards*, each with a
counter of its own. Each shard also has its share of the items, dealt out in turn:

    position among the items to run     0  1  2  3  4  5  6  7  8 ...
    shard, if there are two             0  1  0  1  0  1  0  1  0
    number within the shard             0  0  1  1  2  2  3  3  4

A shard hands out its numbers in order: first `places` of them, then one for each item that ends. So a shard always
satisfies `next == places + ended`, which an audit verifies, and no more than `places` of its items are under way. If a
shard has no more items, its free places are moved to a shard that does, in one commit that changes both.

An item keeps its place while it backs off between attempts. This keeps the rule simple: no item queues twice, and an
item that has begun ends as soon as it can.

A retry deals out the items that run again in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

PLACES_OF_SHARD: Final = 10
"""The maximum number of places in a shard, unless there are already `MAX_SHARDS` shards.

With one-second jobs, a shard of 10 places is written to ten times a second, half of what a document can sustain. Items
that end together change their shard only once.
"""

MAX_SHARDS: Final = 16
"""The maximum number of shards of a step. An audit queries each shard for items that were given a place."""

_DIGITS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A share of a step's places and of the items awaiting them.

    Each value is stored in a separate numeric field, because a commit returns the new value of every number that it
    increments, even by 0. So the commit that passes on a place also returns the current values of all the others.
    """

    # Which of how many shards this is, and the number of places of all of them.
    number: int
    shards: int
    limit: int
    # The number of its places, of its items that run in this round, and the first item that was not given a place.
    places: int
    size: int
    next: int
    # How many of its items failed, and how many items of the step may.
    failed: int = 0
    tolerate: int = 0
    # The number of the run's retry for which the items were dealt out.
    retries: int = 0
    # If no more items are to begin in that round: the number of the retry, plus 1.
    stopped: int = 0

    @property
    def is_stopped(self) -> bool:
        """True if too many items failed for the waiting ones to run."""
        return self.stopped == self.retries + 1

    @property
    def free(self) -> int:
        """The number of free places, once every item has been given one."""
        return min(self.places, max(0, self.next - self.size))

    @property
    def waiting(self) -> int:
        """The number of items that have not been given a place."""
        return max(0, self.size - self.next)

    @property
    def is_over(self) -> bool:
        """True if every item of the shard has ended."""
        return self.next >= self.places + self.size

    def handed_on(self, count: int) -> range:
        """Return the numbers of the last `count` items that were given places."""
        return range(min(self.next - count, self.size), min(self.next, self.size))

    def has_handed(self, waiting_key: str, *, retries: int) -> bool:
        """Return True if the item with this key now has a place.

        `retries` is the number of the run's retry in which the item was assigned to the shard. Returns False if that
        is not the shard's latest retry, or if its waiting items will not run.
        """
        number = int(waiting_key.rpartition("/")[2])
        return retries == self.retries and not self.is_stopped and number < self.next

    def position(self, number: int) -> int:
        """Return the position of this shard's item among all items to run.

        `number` is the item's number within the shard.
        """
        return self.number + number * self.shards


NUMBERS: Final = tuple(field.name for field in fields(Shard))
"""The names of a shard's stored numbers."""


def shard_count(limit: int) -> int:
    """Return the number of shards for this many places."""
    return min(MAX_SHARDS, -(-limit // PLACES_OF_SHARD))


def deal(limit: int, count: int, *, shards: int | None = None, tolerate: int = 0, retries: int = 0) -> list[Shard]:
    """Divide the given numbers of places and items among shards."""
    shards = shards or shard_count(limit)
    places = [len(range(number, limit, shards)) for number in range(shards)]
    return [
        Shard(
            number=number,
            shards=shards,
            limit=limit,
            places=places[number],
            size=len(range(number, count, shards)),
            next=places[number],
            tolerate=tolerate,
            retries=retries,
        )
        for number in range(shards)
    ]


def read_shard(numbers: Mapping[str, int]) -> Shard:
    """Read a shard from its stored fields or a commit's result."""
    return Shard(**{name: numbers[name] for name in NUMBERS if name in numbers})


def waiting_key(shard_id: str, number: int) -> str:
    """Return the key under which an item waits for its place."""
    return f"{shard_id}/{number:0{_DIGITS}}"


def is_too_many(shards: Sequence[Shard]) -> bool:
    """Return True if more items of the step failed than it tolerates."""
    return sum(shard.failed for shard in shards) > max((shard.tolerate for shard in shards), default=0)


def move_places(shards: Sequence[Shard]) -> dict[int, int]:
    """Decide which free places to move to shards whose items wait.

    Returns the number of places that each shard gains or, if it is negative, gives away.
    """
    free = [shard.number for shard in shards for _ in range(shard.free)]
    most = max((shard.waiting for shard in shards), default=0)
    needed = [shard.number for turn in range(min(len(free), most)) for shard in shards if shard.waiting > turn]
    gains: dict[int, int] = {}
    for giver, taker in zip(free, needed, strict=False):
        gains[giver] = gains.get(giver, 0) - 1
        gains[taker] = gains.get(taker, 0) + 1
    return gains
