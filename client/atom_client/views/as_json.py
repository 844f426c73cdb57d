"""Runs and steps as JSON for programs.

Fields are named as in the documents; times are in UTC, and durations in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from atom_client.text import between
from atom_workflows.core.groups import Group
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.task_runner_urls import shown_url

if TYPE_CHECKING:
    from atom_client.views.items import ItemsPage
    from atom_client.views.loops import LoopView
    from atom_workflows.core.user_changes import UserChange


VERSION: Final = 1
"""The version of the shapes in docs/reference/json.md.

New members may be added to a shape. A change in the meaning, name or type of a member requires a new number.
"""


def json_document(members: Mapping[str, Any]) -> str:
    """Return what a command prints with `--json`."""
    return json_text({"version": VERSION, **members})


def json_text(value: Any) -> str:
    """Return the value as JSON, safe for terminals."""
    return json.dumps(value, indent=2, ensure_ascii=True, default=str)


def run_object(run: RunRecord) -> dict[str, Any]:
    """Return a run as an object for JSON output."""
    return {
        "id": run.id,
        "run_id": run.id,
        "workflow": run.workflow,
        "description": run.description,
        "state": run.state.value,
        "source": dict(run.source),
        "trigger": dict(run.trigger),
        "params": dict(run.params),
        "defaulted": list(run.defaulted),
        "env": dict(run.env),
        "labels": dict(run.labels),
        "task_runner_url": shown_url(run.task_runner_url),
        "step_count": run.step_count,
        "item_count": run.item_count,
        "repairs": run.repairs or None,
        "repaired_by": list(run.repaired_by),
        "retries": run.retries,
        "group": None if run.group is None else _group_object(run.group),
        "queued_at": moment_text(run.queued_at),
        "admitted_at": moment_text(run.admitted_at),
        "no_queue": run.no_queue,
        "because": run.because,
        "stop_reason": run.stop_reason,
        "main_state": run.main_state.value if run.main_state else None,
        "failure_count": run.failure_count,
        "failures": [dict(failure) for failure in run.failures],
        "deadline": moment_text(run.deadline),
        "scheduled_at": moment_text(run.scheduled_at),
        "window_start": moment_text(run.window_start),
        "late_at": moment_text(run.late_at),
        "late": run.late,
        "outputs": dict(run.outputs),
        "errors": [dict(error) for error in run.errors],
        "warnings": list(run.warnings),
        "changes": change_objects(run.changes),
        **_times(run.started_at, run.finished_at),
        "created_at": moment_text(run.created_at),
    }


def change_objects(changes: Sequence[UserChange]) -> list[dict[str, Any]]:
    """Return people's changes as objects for JSON output, oldest first."""
    return [{**change._asdict(), "at": moment_text(change.at), "why": change.why or None} for change in changes]


def _group_object(group: Group) -> dict[str, Any]:
    return {
        "value": group.value,
        "limit": group.limit,
        "when_full": group.when_full.value,
        "max_queued": group.max_queued,
        "max_wait_s": group.max_wait.total_seconds(),
    }


def step_object(step: StepRecord) -> dict[str, Any]:
    """Return a step as an object for JSON output."""
    return {
        "id": shown_id(step.id),
        "state": step.state.value,
        "attempts": step.attempt,
        "job_id": step.job_id,
        "job_state": step.job_state,
        "message": step.message,
        "reason": step.reason,
        "logs_url": step.logs_url,
        "unstopped_jobs": list(step.unstopped),
        "failure_kind": step.last_kind,
        # A step that reacts to a failure knows it, too.
        "skipped_because_of": step.cause if step.state is StepState.SKIPPED and not step.by_choice else None,
        "skipped_by_choice": step.by_choice,
        "tolerated": step.tolerated,
        "because": step.because,
        "mark": _mark_object(step),
        "kept_from": step.kept_from or None,
        "phase": step.phase.value,
        "trigger": step.trigger.value,
        "when": step.when.text if step.when else None,
        **_times(step.started_at, step.finished_at),
    }


def _mark_object(step: StepRecord) -> dict[str, Any] | None:
    """Return a person's decision about how a step ends.

    The step may not have ended that way yet.
    """
    if not step.is_marked:
        return None
    from atom_workflows.core.marks import read_mark  # noqa: PLC0415 (people mark few steps)

    mark = read_mark(step)
    assert mark is not None  # noqa: S101 (checked above)
    return {"state": mark.state.value, "at": moment_text(mark.at), "actor": mark.actor, "why": mark.why or None}


def run_with_steps(
    run: RunRecord,
    steps: Sequence[StepRecord],
    outputs: Mapping[str, Any] | None = None,
    loops: Mapping[str, LoopView] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return a run and its steps as an object for JSON output.

    `outputs` holds the steps' outputs by step id, if they were read, and `loops` the steps with `forEach`.
    """
    objects = [step_object(step) for step in steps]
    if outputs is not None:
        objects = [{**one, "outputs": outputs.get(one["id"], {})} for one in objects]
    objects = [{**one, "items": loops[one["id"]].as_fields()} if one["id"] in loops else one for one in objects]
    return {"run": run_object(run), "steps": objects}


def items_object(run: RunRecord, page: ItemsPage, outputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a page of a step's items as fields for JSON output.

    `outputs` holds the items' outputs by id, if they were read.
    """
    items = [
        {
            **step_object(item),
            "index": item.index,
            "item": json.loads(item.item or "null"),
            **({} if outputs is None else {"outputs": outputs.get(item.id, {})}),
        }
        for item in page.items
    ]
    loop = page.loop
    return {
        "run_id": run.id,
        "run": run.id,
        "step": {**step_object(loop.step), "items": loop.as_fields()},
        "page": page.number,
        "pages": page.pages,
        "items": items,
    }


def _times(started_at: datetime | None, finished_at: datetime | None) -> dict[str, Any]:
    duration = between(started_at, finished_at)
    return {
        "started_at": moment_text(started_at),
        "finished_at": moment_text(finished_at),
        "duration_s": rounded_seconds(duration),
    }


def rounded_seconds(duration: timedelta | None) -> float | None:
    """Return a duration in seconds for JSON output, to the millisecond."""
    return None if duration is None else round(duration.total_seconds(), 3)


def moment_text(moment: datetime | None) -> str | None:
    """Format a time for JSON output.

    The format is ISO 8601 in UTC, to the millisecond, such as `2026-01-31T08:05:00.000Z`.
    """
    if moment is None:
        return None
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
