"""The kinds of nodes in a compiled graph, and the one table that defines what happens to each kind.

A kind decides three things: what happens to a node whose dependencies have all ended (`decide_release`), what the
checker does when the node is due, and how the node ends when its run is stopped. To add a kind, add a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

FORWARDING_SCHEMA: Final = 2
"""The first schema (see documents.py) in which internal barriers forward their counters."""


class NodeKind(StrEnum):
    """The kinds of nodes. The values are stored."""

    # A step with a task.
    JOB = "job"
    # A user's step without a task: it only joins other steps.
    BARRIER = "barrier"
    # A barrier that the compiler added, to keep the graph narrow. Users do not see it.
    INTERNAL = "internal"
    # The last node of every graph.
    END = "end"


class Release(StrEnum):
    """What can happen to a node, depending on its counters."""

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
    """One kind's row in the table.

    `released` is what happens to a node once all its dependencies have succeeded. `forwards_counts` marks a node that
    represents its dependencies: instead of its own state, it passes on how many of them succeeded and how many did not.
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
    """Return True if the kind forwards its counters instead of its state."""
    return schema >= FORWARDING_SCHEMA and KINDS[kind].forwards_counts


def decide_release(kind: NodeKind, *, remaining: int, unsuccessful: int) -> Release:
    """Decide what happens to a node with the given counters."""
    if remaining > 0:
        return Release.WAIT
    released = KINDS[kind].released
    # The end is never skipped: it is released even if steps failed, and its counters then determine the run's state.
    return Release.SKIP if unsuccessful and released is not Release.CLOSE else released
