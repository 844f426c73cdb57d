"""The kinds of nodes in a compiled graph, defined by tables.

A kind decides three things: what happens to a node whose dependencies have all ended (`decide_release`), what the
checker does when the node is due, and how the node ends when its run is stopped. To add a kind, add a row.

A second table defines, for each trigger, whether a step runs given how its dependencies ended. If it runs, its
condition (`when`) may still skip it; see the coordinator's conditions.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from atom_workflows.core.workflow import Trigger

FORWARDING_SCHEMA: Final = 2
"""The first schema (see documents.py) in which internal barriers forward their counters."""

LANGUAGE_SCHEMA: Final = 3
"""The schema of runs that use expressions, conditions, outputs or `finally`, which earlier versions do not support."""

LOOPS_SCHEMA: Final = 4
"""The schema of runs that use loops or `concurrency`, which earlier versions do not support."""


class NodeKind(StrEnum):
    """The kinds of nodes. The values are stored."""

    # A step with a task.
    JOB = "job"
    # A user's step without a task: it only joins other steps.
    BARRIER = "barrier"
    # A barrier that the compiler added, to keep the graph narrow. Users do not see it.
    INTERNAL = "internal"
    # Creates the items of a step with `forEach`. Users do not see it.
    EXPAND = "expand"
    # One item of such a step, with a job of its own.
    ITEM = "item"
    # The step itself: it ends once all of its items have ended, and gathers their outputs.
    GATHER = "gather"
    # A share of the places of a step with `maxParallel`; see places.py. It is no part of the graph, and never open.
    PLACES = "places"
    # The end of a workflow's main part; the steps under `finally` come after it.
    MAIN_END = "main_end"
    # The last node of every graph.
    END = "end"
    # Not part of a run: the document by which the checker finds a file's schedules. See schedules.py.
    SCHEDULE = "schedule"


class Release(StrEnum):
    """What can happen to a node, depending on its counters."""

    # Not all of its dependencies have ended.
    WAIT = "wait"
    # A dispatcher takes it and submits its job.
    CLAIM = "claim"
    # It succeeds immediately.
    SUCCEED = "succeed"
    # It is blocked by a dependency that did not succeed.
    BLOCK = "block"
    # It is skipped by choice, as its trigger does not match how the dependencies ended.
    SKIP = "skip"
    # Its own trigger or condition decides, so the step has to be read.
    DECIDE = "decide"
    # The main part ends: its result is recorded, and the steps under `finally` begin.
    BEGIN_FINALLY = "begin_finally"
    # The run ends.
    CLOSE = "close"


class Phase(StrEnum):
    """The two parts of a run, in order. The values are stored."""

    MAIN = "main"
    FINALLY = "finally"


class WhenDue(StrEnum):
    """What the checker does with a node whose due time has come."""

    NOTHING = "nothing"
    # Poll its job, or hand it to a dispatcher.
    FOLLOW_ATTEMPT = "follow_attempt"
    AUDIT_RUN = "audit_run"
    # Start the runs of its schedules.
    FIRE_SCHEDULES = "fire_schedules"


class WhenStopped(StrEnum):
    """How a node ends when its run is stopped."""

    WITH_STEPS = "with_steps"
    # It ends in the commit that ends the run.
    WITH_RUN = "with_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRules:
    """The rules for one kind of node: its row in `KINDS`.

    `released` is what happens to a node once all its dependencies have succeeded. `forwards_counts` marks a node that
    represents its dependencies: instead of its own state, it passes on how many of them succeeded and how many did not.
    `has_job` marks a node whose attempts are jobs of a Task Runner, limited by the node's policies.
    """

    released: Release
    due: WhenDue
    stopped: WhenStopped
    forwards_counts: bool = False
    has_job: bool = False


KINDS: Final[Mapping[NodeKind, KindRules]] = MappingProxyType(
    {
        NodeKind.JOB: KindRules(
            released=Release.CLAIM, due=WhenDue.FOLLOW_ATTEMPT, stopped=WhenStopped.WITH_STEPS, has_job=True
        ),
        NodeKind.BARRIER: KindRules(released=Release.SUCCEED, due=WhenDue.NOTHING, stopped=WhenStopped.WITH_STEPS),
        NodeKind.INTERNAL: KindRules(
            released=Release.SUCCEED, due=WhenDue.NOTHING, stopped=WhenStopped.WITH_STEPS, forwards_counts=True
        ),
        NodeKind.EXPAND: KindRules(released=Release.CLAIM, due=WhenDue.FOLLOW_ATTEMPT, stopped=WhenStopped.WITH_STEPS),
        NodeKind.ITEM: KindRules(
            released=Release.CLAIM, due=WhenDue.FOLLOW_ATTEMPT, stopped=WhenStopped.WITH_STEPS, has_job=True
        ),
        NodeKind.GATHER: KindRules(released=Release.CLAIM, due=WhenDue.FOLLOW_ATTEMPT, stopped=WhenStopped.WITH_STEPS),
        NodeKind.PLACES: KindRules(released=Release.SUCCEED, due=WhenDue.NOTHING, stopped=WhenStopped.WITH_STEPS),
        NodeKind.MAIN_END: KindRules(
            released=Release.BEGIN_FINALLY, due=WhenDue.NOTHING, stopped=WhenStopped.WITH_STEPS
        ),
        NodeKind.END: KindRules(released=Release.CLOSE, due=WhenDue.AUDIT_RUN, stopped=WhenStopped.WITH_RUN),
        NodeKind.SCHEDULE: KindRules(released=Release.WAIT, due=WhenDue.FIRE_SCHEDULES, stopped=WhenStopped.WITH_RUN),
    }
)


def forwards_counts(kind: NodeKind, schema: int) -> bool:
    """Return True if the kind forwards its counters instead of its state."""
    return schema >= FORWARDING_SCHEMA and KINDS[kind].forwards_counts


class Ended(StrEnum):
    """How a node's dependencies can have ended: the trigger table's rows."""

    # All of them succeeded, or there are no dependencies.
    ALL_SUCCEEDED = "all succeeded"
    # Some succeeded, and the others were skipped by choice.
    SOME_SKIPPED = "some skipped"
    ALL_SKIPPED = "all skipped"
    # At least one failed, was cancelled, or was blocked.
    ANY_FAILED = "any failed"


_RUN: Final = None
"""In the trigger table: the node runs, in the way that its kind defines."""

TRIGGERS: Final[Mapping[Ended, Mapping[Trigger, Release | None]]] = MappingProxyType(
    {
        Ended.ALL_SUCCEEDED: {
            Trigger.NO_FAILURE: _RUN,
            Trigger.ALL_SUCCEEDED: _RUN,
            Trigger.ANY_FAILED: Release.SKIP,
            Trigger.ALWAYS: _RUN,
        },
        Ended.SOME_SKIPPED: {
            Trigger.NO_FAILURE: _RUN,
            Trigger.ALL_SUCCEEDED: Release.SKIP,
            Trigger.ANY_FAILED: Release.SKIP,
            Trigger.ALWAYS: _RUN,
        },
        Ended.ALL_SKIPPED: {
            Trigger.NO_FAILURE: Release.SKIP,
            Trigger.ALL_SUCCEEDED: Release.SKIP,
            Trigger.ANY_FAILED: Release.SKIP,
            Trigger.ALWAYS: _RUN,
        },
        Ended.ANY_FAILED: {
            Trigger.NO_FAILURE: Release.BLOCK,
            Trigger.ALL_SUCCEEDED: Release.BLOCK,
            Trigger.ANY_FAILED: _RUN,
            Trigger.ALWAYS: _RUN,
        },
    }
)


class Counters(NamedTuple):
    """The counters of a node's dependencies; see counts.py.

    In runs with the first schema, only the first two are counted, and no step is skipped by choice.
    """

    remaining: int
    unsuccessful: int
    skipped: int = 0
    total: int = 0


def decide_release(kind: NodeKind, counters: Counters, trigger: Trigger = Trigger.NO_FAILURE) -> Release:
    """Decide what happens to a node with the given counters."""
    if counters.remaining > 0:
        return Release.WAIT
    rules = KINDS[kind]
    released = rules.released
    # An end is never skipped: it is released even if steps failed, and its counters then determine the run's state.
    if released is Release.CLOSE or released is Release.BEGIN_FINALLY:
        return released
    if rules.forwards_counts:
        # An internal barrier only represents its dependencies: the nodes below it decide.
        return Release.BLOCK if counters.unsuccessful else released
    if kind is NodeKind.GATHER and counters.total > 1:
        # It joins its items however they ended. Without items, its fate is that of the node that would create them.
        return released
    if counters.unsuccessful:
        ended = Ended.ANY_FAILED
    elif not counters.skipped:
        ended = Ended.ALL_SUCCEEDED
    else:
        ended = Ended.SOME_SKIPPED if counters.skipped < counters.total else Ended.ALL_SKIPPED
    return TRIGGERS[ended][trigger] or released
