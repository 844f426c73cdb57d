"""The kinds of nodes of a compiled graph, and the only table of what happens to each.

A kind decides three things: what happens to a node whose dependencies have all ended (`decide_release`), what the
checker does when it is due, and how it ends when its run is stopped. A new kind of node is a new row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

FORWARDING_SCHEMA: Final = 2
"""In runs from this schema on (see documents.py), internal barriers forward their counters."""


class NodeKind(StrEnum):
    """The kinds of nodes. The values are stored."""

    # A step with a task.
    JOB = "job"
    # A user's step without a task: it only joins others.
    BARRIER = "barrier"
    # A barrier that the compiler added, to keep the graph narrow. Users do not see it.
    INTERNAL = "internal"
    # The last node of every graph.
    END = "end"


class Release(StrEnum):
    """What happens to a node, according to the counters of its dependencies."""

    # Not all of its dependencies have ended.
    WAIT = "wait"
    # A dispatcher takes it and submits its job.
    CLAIM = "claim"
    # It succeeds immediately.
    SUCCEED = "succeed"
    # It is blocked by a dependency that did not succeed.
    SKIP = "skip"
    # The run ends.
    CLOSE = "close"


class WhenDue(StrEnum):
    """What the checker does with a node whose due time has come."""

    NOTHING = "nothing"
    # Poll its job, or hand it to a dispatcher.
    FOLLOW_ATTEMPT = "follow_attempt"
    AUDIT_RUN = "audit_run"


class WhenStopped(StrEnum):
    """How a node ends when its run is stopped."""

    WITH_STEPS = "with_steps"
    # It ends in the commit that ends the run.
    WITH_RUN = "with_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRules:
    """A kind's row in the table.

    `released` is what happens to a node whose dependencies all succeeded. `forwards_counts` marks a node that stands
    for its dependencies: it passes on how many of them did and did not succeed, instead of its own state.
    """

    released: Release
    due: WhenDue
    stopped: WhenStopped
    forwards_counts: bool = False


KINDS: Final[Mapping[NodeKind, KindRules]] = MappingProxyType(
    {
        NodeKind.JOB: KindRules(released=Release.CLAIM, due=WhenDue.FOLLOW_ATTEMPT, stopped=WhenStopped.WITH_STEPS),
        NodeKind.BARRIER: KindRules(released=Release.SUCCEED, due=WhenDue.NOTHING, stopped=WhenStopped.WITH_STEPS),
        NodeKind.INTERNAL: KindRules(
            released=Release.SUCCEED, due=WhenDue.NOTHING, stopped=WhenStopped.WITH_STEPS, forwards_counts=True
        ),
        NodeKind.END: KindRules(released=Release.CLOSE, due=WhenDue.AUDIT_RUN, stopped=WhenStopped.WITH_RUN),
    }
)


def forwards_counts(kind: NodeKind, schema: int) -> bool:
    """Return True if such a node forwards its counters, not its state."""
    return schema >= FORWARDING_SCHEMA and KINDS[kind].forwards_counts


def decide_release(kind: NodeKind, *, remaining: int, unsuccessful: int) -> Release:
    """Decide what happens to a node, from the counters of its dependencies."""
    if remaining > 0:
        return Release.WAIT
    released = KINDS[kind].released
    # The end is never skipped: it is released even if steps failed, and its counters then decide the run's state.
    return Release.SKIP if unsuccessful and released is not Release.CLOSE else released
