"""The facts about a run, as `runs show` lists them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from atom_client.text import clean, counted, local_time, one_line
from atom_client.views.lines import group_text, rules_text
from atom_client.views.run_times import taken_text
from atom_client.views.user_changes import change_line, is_reopened_by_mark
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.task_runner_urls import shown_url

MOST_CHANGES: Final = 5
_NOT_QUEUED: Final = "; this run was started with --no-queue, so it did not wait"


def run_facts(run: RunRecord, *, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the facts about a run, each with its name."""
    has_begun = run.started_at is not None and run.state is not RunState.QUEUED
    taken = taken_text(run, now) if has_begun else ""
    so_far = "" if run.state.is_terminal else ", so far" if "," in taken else " so far"
    # The trigger's kind comes first.
    trigger = sorted(run.trigger.items(), key=lambda item: (item[0] != "kind", item[0]))
    source = str(run.source.get("path", ""))
    if run.source.get("inline"):
        named = f", named as in run {run.repairs}" if run.repairs else ""
        source += f" (given in the start message{named})"
    elif generation := run.source.get("generation"):
        source += f" (generation {generation})"
    window = "" if run.window_start is None else f", for the window from {local_time(run.window_start)}"
    facts = {
        "run": run.id,
        "workflow": run.workflow,
        "description": run.description,
        "state": f"{run.state}, being closed: {run.stop.reason}"
        if run.stop and not run.state.is_terminal
        else run.state,
        "source": source,
        "trigger": ", ".join(f"{name} {value}" for name, value in trigger),
        "task runner": shown_url(run.task_runner_url),
        "labels": ", ".join(f"{name}={value}" for name, value in run.labels.items()),
        "params": ", ".join(
            f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            f"{' (default)' if name in run.defaulted else ''}"
            for name, value in run.params.items()
        ),
        "scheduled": local_time(run.scheduled_at) + window if run.scheduled_at else "",
        "concurrency": ""
        if run.group is None
        else f"{group_text(run.group).rstrip('.')}; {rules_text(run.group)}{_NOT_QUEUED if run.no_queue else ''}",
        "created": local_time(run.created_at),
        "queued": local_time(run.queued_at),
        "admitted": local_time(run.admitted_at),
        "started": local_time(run.started_at),
        "finished": local_time(run.finished_at),
        "duration": f"{taken}{so_far}" if taken else "",
        # Steps under `finally` get a time limit of their own, which means nothing once they have ended.
        "deadline": "" if run.state.is_terminal else local_time(run.deadline),
        "late after": f"{local_time(run.late_at)}{', and the run was late' if run.late else ''}" if run.late_at else "",
        "repairs": f"{run.repairs}, keeping some of its steps" if run.repairs else "",
        "repaired by": ", ".join(run.repaired_by[::-1]),
        **_reopenings(run),
    }
    for name, value in facts.items():
        if value:
            yield name, one_line(clean(value))
    earlier = len(run.changes) - MOST_CHANGES
    if earlier > 0:
        yield "changes", f"{counted(earlier, 'earlier change')}; --json shows them"
    for change in run.changes[-MOST_CHANGES:]:
        yield "changed", change_line(change)


def _reopenings(run: RunRecord) -> dict[str, str]:
    """Say how often retries or marks continued the run after its end."""
    if not run.retries:
        return {}
    times, at = counted(run.retries, "time"), local_time(run.reopened_at)
    if is_reopened_by_mark(run):
        return {"reopened": f"{times}, last by a mark at {at}"}
    return {"retried": f"{times}, last at {at}"}
