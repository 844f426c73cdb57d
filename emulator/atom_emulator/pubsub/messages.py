"""The values of the broker. Since this code is hot, times are seconds since the epoch, and durations are seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Predicate: TypeAlias = Callable[[Mapping[str, str]], bool]
"""Returns True for the attributes of a message that a subscription receives."""

DEFAULT_ACK_DEADLINE_S: Final = 10.0
DEFAULT_RETENTION_S: Final = 7 * 24 * 3600.0

_LARGEST_EXPONENT: Final = 40  # beyond this, every back-off has long reached its maximum; floats overflow at 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PubsubMessage:
    """A published message."""

    id: str
    data: bytes
    attributes: Mapping[str, str]
    publish_time: float
    ordering_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message leased to one subscriber. `attempt` counts from 1."""

    ack_id: str
    message: PubsubMessage
    attempt: int
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeliveryBackoff:
    """The delay of a failed message: `minimum_s`, doubled with each further failure, at most `maximum_s`."""

    minimum_s: float
    maximum_s: float

    def delay_s(self, failures: int) -> float:
        """Return the delay after this many failures, counted from 1."""
        return min(self.maximum_s, self.minimum_s * 2.0 ** min(failures - 1, _LARGEST_EXPONENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """The topic for messages that failed `max_attempts` times."""

    topic: str
    max_attempts: int


def match_all(_attributes: Mapping[str, str]) -> bool:
    """Match every message, as a subscription without a filter does."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSettings:
    """A subscription's settings. Without `backoff` a failed message is ready again immediately.

    The messages of a subscription that is `kept` outlive the server, if it has a file for them.

    `as_asked` is arbitrary data that the caller stores with the subscription; the broker never reads it.
    """

    ack_deadline_s: float = DEFAULT_ACK_DEADLINE_S
    retention_s: float = DEFAULT_RETENTION_S
    backoff: RedeliveryBackoff | None = None
    dead_letters: DeadLetters | None = None
    ordered: bool = False
    push_endpoint: str = ""
    wants: Predicate = match_all
    kept: bool = False
    as_asked: Any = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """The counts of what happened to a subscription's messages. `nacked` includes `expired`, the missed deadlines."""

    delivered: int = 0
    acked: int = 0
    nacked: int = 0
    expired: int = 0
    dead_lettered: int = 0


@dataclass(slots=True, kw_only=True)
class Topic:
    """A topic and the names of its subscriptions, in the order they were made."""

    name: str
    as_asked: Any = None
    subscriptions: dict[str, None] = field(default_factory=dict)
    published: int = 0
