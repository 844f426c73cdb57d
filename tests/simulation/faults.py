"""Kinds of faults. Each has a probability of its own in every simulation, and is counted when it strikes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple


class Fault(StrEnum):
    """The kinds of faults."""

    KILLED_BEFORE_CALL = "handler killed before a call"
    KILLED_AFTER_CALL = "handler killed after a call took effect"
    INSTANCE_KILLED = "instance killed with all its handlers"

    STORE_UNAVAILABLE = "store call failed, no effect"
    STORE_UNAVAILABLE_AFTER = "commit failed after it took effect"
    STORE_CONFLICT = "commit aborted, no effect"
    STORE_CONFLICT_AFTER = "commit answered with a conflict after it took effect"
    STORE_SLOW = "store call took seconds"

    BUS_UNAVAILABLE = "publishing failed, nothing accepted"
    BUS_UNAVAILABLE_AFTER = "publishing failed, some accepted"
    MESSAGE_LOST = "message lost for good"
    MESSAGE_LATE = "message lost until its redelivery"
    MESSAGE_DELAYED = "message delayed by seconds"
    MESSAGE_OVERTAKEN = "message overtaken by a later one"
    MESSAGE_DUPLICATED = "message duplicated"
    MESSAGE_OF_OTHER_VERSION = "message came again as another version writes it"
    MESSAGES_FROM_BEFORE = "messages of the round before came again during a retry"
    REDELIVERY_LOST = "failed message never redelivered"
    EVENT_FAILS = "event whose every delivery fails"
    LETTER_REPLAYED = "dead letter replayed by a user"

    START_REPEATED = "run asked for again with the same key"
    SOURCE_UNAVAILABLE = "workflow file could not be read"
    SOURCE_REPLACED = "workflow file replaced by another one"
    SOURCE_GONE = "workflow file gone for good"

    TICK_MISSING = "tick missing"
    TICK_DOUBLED = "tick doubled"
    TICK_OVERLAPPING = "tick during a burst"
    TICKS_PAUSED = "no tick for minutes"

    SUBMIT_FAILED = "submission not accepted"
    SUBMIT_LOST = "submission or its answer lost, no job created"
    SUBMIT_FAILED_AFTER = "answer to a submission lost after the job was created"
    SUBMIT_GARBAGE = "submission answered with garbage"
    SUBMIT_CONFLICT = "repeated submission answered with a conflict"
    SUBMIT_SLOW = "submission took up to its time limit"
    STATUS_FAILED = "status call failed"
    STATUS_GARBAGE = "status call answered with garbage"
    STATUS_SLOW = "status call took seconds"
    JOB_FORGOTTEN = "job unknown for a while"
    JOB_FALTERS = "job unknown, then no answer for minutes, then unknown once more"

    STOP_FAILED = "request to stop a job failed"
    STOP_ANSWER_LOST = "answer to a request to stop a job lost after it was accepted"
    STOP_SLOW = "request to stop a job took seconds"
    LOOKUP_FAILED = "lookup of a key failed"
    LOOKUP_SLOW = "lookup of a key took seconds"
    HINT_EARLY = "hint before its job had ended"
    HINT_FORGED = "hint about any attempt"

    CLOCK_APART = "instance started with a clock that is off"

    COUNTER_WRONG = "counter of a waiting step made too high"
    DOCUMENT_GONE = "document of a waiting step deleted"
    DUE_TIME_GONE = "due time of a running step or of a run's end deleted"


MEDDLING: Final = frozenset({Fault.COUNTER_WRONG, Fault.DOCUMENT_GONE, Fault.DUE_TIME_GONE})
"""Changes of documents behind the coordinator's back."""

_CHANCES: Final[Mapping[Fault, tuple[float, ...]]] = {
    Fault.KILLED_BEFORE_CALL: (0, 0, 0.003, 0.01, 0.03),
    Fault.KILLED_AFTER_CALL: (0, 0, 0.003, 0.01, 0.03),
    Fault.INSTANCE_KILLED: (0, 0, 0, 0.003, 0.01),
    Fault.STORE_UNAVAILABLE: (0, 0, 0.01, 0.05),
    Fault.STORE_UNAVAILABLE_AFTER: (0, 0, 0.01, 0.05),
    Fault.STORE_CONFLICT: (0, 0, 0, 0.02),
    Fault.STORE_CONFLICT_AFTER: (0, 0, 0.01, 0.05),
    Fault.STORE_SLOW: (0, 0, 0, 0.01),
    Fault.BUS_UNAVAILABLE: (0, 0, 0.02, 0.05),
    Fault.BUS_UNAVAILABLE_AFTER: (0, 0, 0.02, 0.05),
    Fault.MESSAGE_LOST: (0, 0, 0, 0.05, 0.3),
    Fault.MESSAGE_LATE: (0, 0, 0.05, 0.2),
    Fault.MESSAGE_DELAYED: (0, 0.1, 0.4),
    Fault.MESSAGE_OVERTAKEN: (0, 0.2, 0.5),
    Fault.MESSAGE_DUPLICATED: (0, 0.05, 0.3),
    Fault.MESSAGE_OF_OTHER_VERSION: (0, 0, 0.05, 0.2),
    Fault.MESSAGES_FROM_BEFORE: (0, 1, 1),
    Fault.REDELIVERY_LOST: (0, 0, 0, 0.05, 0.3),
    Fault.EVENT_FAILS: (0, 0, 0, 0.05, 0.2),
    Fault.LETTER_REPLAYED: (0, 0.5),
    Fault.START_REPEATED: (0, 0, 1),
    Fault.SOURCE_UNAVAILABLE: (0, 0, 0.5),
    Fault.SOURCE_REPLACED: (0, 0, 0.5),
    Fault.SOURCE_GONE: (0, 0, 0, 0.3),
    Fault.TICK_MISSING: (0, 0, 0.3),
    Fault.TICK_DOUBLED: (0, 0, 0.3),
    Fault.TICK_OVERLAPPING: (0, 0, 0.3),
    Fault.SUBMIT_FAILED: (0, 0, 0.05, 0.3),
    Fault.SUBMIT_FAILED_AFTER: (0, 0, 0.05, 0.2),
    Fault.SUBMIT_GARBAGE: (0, 0, 0.05),
    Fault.SUBMIT_SLOW: (0, 0, 0, 0.2, 0.8),
    Fault.STATUS_FAILED: (0, 0, 0.05, 0.3),
    Fault.STATUS_GARBAGE: (0, 0, 0.05),
    Fault.STATUS_SLOW: (0, 0, 0, 0.1),
    Fault.JOB_FORGOTTEN: (0, 0, 0, 0.05),
    Fault.CLOCK_APART: (0, 0, 0.7),
    Fault.COUNTER_WRONG: (0, 0, 0, 0.003, 0.01),
    Fault.DOCUMENT_GONE: (0, 0, 0, 0, 0, 0.0005, 0.002),
    Fault.DUE_TIME_GONE: (0, 0, 0, 0, 0, 0.0005, 0.002),
    Fault.SUBMIT_LOST: (0, 0, 0.05, 0.2),
    Fault.SUBMIT_CONFLICT: (0, 0.3),
    Fault.JOB_FALTERS: (0, 0, 0, 0.1),
    Fault.TICKS_PAUSED: (0, 0, 0, 0.2),
    Fault.STOP_FAILED: (0, 0, 0.1, 0.5, 0.95),
    Fault.STOP_ANSWER_LOST: (0, 0, 0.2),
    Fault.STOP_SLOW: (0, 0, 0.2),
    Fault.HINT_EARLY: (0, 0, 0.2, 0.8),
    Fault.HINT_FORGED: (0, 0, 0.001, 0.02),
    Fault.LOOKUP_FAILED: (0, 0, 0.1, 0.5, 0.95),
    Fault.LOOKUP_SLOW: (0, 0, 0.2),
}
"""From which a seed draws how likely each kind is; most seeds have a few kinds only, some have nearly all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad it is in one simulation: until when faults strike, how likely each kind is, how long a handler pauses.

    `haste` is how likely a message that has arrived goes before handlers that are under way.
    """

    calm_at: float
    skew_s: float
    pause_s: float
    haste: float
    odds: Mapping[Fault, float]

    def without(self, kinds: Collection[Fault]) -> Weather:
        """Return this weather without some kinds of faults."""
        return replace(self, odds={kind: odds for kind, odds in self.odds.items() if kind not in kinds})


def draw_weather(chance: Random) -> Weather:
    """Draw the weather of a seed."""
    skew_s = chance.choice([0, 0, 2, 5])
    calm_at = chance.choice([60, 300, 900])
    pause_s = chance.choice([0, 1, 6])
    haste = chance.choice([0.1, 0.3, 0.6])
    odds = {kind: chance.choice(chances) for kind, chances in _CHANCES.items()}
    return Weather(
        calm_at=calm_at,
        skew_s=skew_s,
        pause_s=pause_s,
        haste=haste,
        odds={kind: odd for kind, odd in odds.items() if odd and (skew_s or kind is not Fault.CLOCK_APART)},
    )


class Strike(NamedTuple):
    """One fault: of the occasions that there are for its kind, the one at which it happened, from 1."""

    kind: Fault
    occasion: int

    def __str__(self) -> str:
        return f"{self.kind.name}:{self.occasion}"

    @classmethod
    def read(cls, text: str) -> Strike:
        """Parse what `str` makes of a strike."""
        name, _, occasion = text.partition(":")
        return cls(Fault[name], int(occasion))


@dataclass(slots=True)
class Faults:
    """The faults of one simulation. `log` has those that struck, and `struck` how often each kind did.

    Chance decides, or a list does: only `strikes` happen then. `chance` is for how bad they are.
    Whether one happens is a matter of other dice, so that a list of all that struck repeats the same simulation.
    """

    weather: Weather
    chance: Random
    whether: Random
    listed: frozenset[Strike] | None = None
    log: list[Strike] = field(default_factory=list)
    struck: Counter[Fault] = field(default_factory=Counter)
    occasions: Counter[Fault] = field(default_factory=Counter)
    is_calm: bool = False

    def strikes(self, kind: Fault) -> bool:
        """Return True if a fault of this kind happens now."""
        odds = self.weather.odds.get(kind, 0.0)
        if self.is_calm or not odds:
            return False
        occasion = self.occasions[kind] = self.occasions[kind] + 1
        if self.listed is None:
            # Most occasions pass, and there are thousands in a simulation.
            if self.whether.random() >= odds:
                return False
        elif (kind, occasion) not in self.listed:
            return False
        self.log.append(Strike(kind, occasion))
        self.struck[kind] += 1
        return True
