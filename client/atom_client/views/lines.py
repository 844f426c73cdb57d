"""A QUEUED run's place in line, and the runs it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from atom_client.text import counted
from atom_client.views.as_json import moment_text
from atom_client.views.reasons import clock_time
from atom_workflows.coordinator.groups import count_ahead, count_at_work, read_at_work
from atom_workflows.coordinator.services import Services
from atom_workflows.core.groups import Group, place_of, wait_ends
from atom_workflows.core.records import RunRecord
from atom_workflows.core.workflow import Concurrency, WhenFull

MOST_NAMED: Final = 3
_MOST_READ: Final = 20
_TEENS: Final = (11, 12, 13)
_ENDINGS: Final = {1: "st", 2: "nd", 3: "rd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A group's line, as seen by one of its waiting runs.

    `named` holds the first few runs in progress, ordered by start; `at_work` is the number of all runs in progress, and
    `ahead` the number of runs waiting ahead of this one.
    """

    group: Group
    named: Sequence[RunRecord]
    at_work: int
    ahead: int


def read_line(services: Services, run: RunRecord) -> Line | None:
    """Return the line that a run is waiting in, if any."""
    place = place_of(run)
    if run.group is None or run.state.is_terminal or run.queued_at is None or run.admitted_at is not None:
        return None
    found = read_at_work(services, run.group, limit=_MOST_READ)
    return Line(
        group=run.group,
        named=sorted(found, key=lambda one: one.started_at or one.created_at)[:MOST_NAMED],
        at_work=len(found) if len(found) < _MOST_READ else count_at_work(services, run.group),
        ahead=count_ahead(services, run.group, place or ""),
    )


def line_text(run: RunRecord, line: Line, now: datetime) -> str:
    """Return sentences about where a run stands in line.

    For example, the first may be "It has been QUEUED behind load-7c2b since 12:05, 3rd in line."
    """
    since = clock_time(run.queued_at, now)
    if line.named and line.at_work >= line.group.limit:
        names = ", ".join(one.id for one in line.named)
        more = f" and {line.at_work - len(line.named):,} more" if line.at_work > len(line.named) else ""
        behind = f" behind {names}{more}"
    else:
        behind = " (a place is free and about to be assigned to it)"
    ends = clock_time(wait_ends(run), now)
    return (
        f"It has been QUEUED{behind} since {since}, {ordinal(line.ahead + 1)} in line. {group_text(line.group)} "
        f"If it has not begun by {ends}, it becomes {'FAILED' if run.retries else 'SKIPPED'}."
    )


def line_facts(run: RunRecord, line: Line) -> dict[str, Any]:
    """Return the facts in `line_text` as fields for JSON output."""
    return {
        "group": line.group.value,
        "limit": line.group.limit,
        "at_work": line.at_work,
        "behind": [one.id for one in line.named],
        "place": line.ahead + 1,
        "queued_at": moment_text(run.queued_at),
        "wait_ends": moment_text(wait_ends(run)),
    }


def group_text(group: Group) -> str:
    """Return a sentence about the limit of a group."""
    at_work = f"At most {counted(group.limit, 'run')} of this file"
    return f"{at_work}{f' with the group `{group.value}`' if group.value else ''} may be in progress at the same time."


def rules_text(rules: Concurrency | Group) -> str:
    """Describe what happens to runs when no place is free."""
    if rules.when_full is WhenFull.SKIP:
        return "others are skipped"
    if rules.when_full is WhenFull.LATEST:
        return "only the latest of the others waits"
    return f"others wait in line, at most {rules.max_queued:,} of them"


def ordinal(number: int) -> str:
    """Return a number as an ordinal, such as `3rd`."""
    ending = "th" if number % 100 in _TEENS else _ENDINGS.get(number % 10, "th")
    return f"{number:,}{ending}"
