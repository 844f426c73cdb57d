"""Examine a workflow file without storing it or sending it anywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from flask import Blueprint, Response

from atom_client.console.app import answer, changes_nothing, this_console
from atom_client.console.given import Given
from atom_client.errors import Misuse
from atom_client.graph.picture import Picture, picture_file
from atom_client.planning.params import GivenParams
from atom_client.planning.requests import GivenFile
from atom_client.planning.walk import plan_run
from atom_client.views.checked_files import CheckedFile, as_object, check_content, shown_findings, summary
from atom_client.views.param_forms import param_objects, param_problems
from atom_client.views.plans import ask_for_plan, planned_lines, planned_object, price_of_run
from atom_client.views.schedules import instant_meant
from atom_workflows.core.workflow import Workflow
from atom_workflows.errors import InvalidParams
from atom_workflows.language.problems import InvalidWorkflow

files = Blueprint("files", __name__)

TIME_FIELD: Final = "`As of`"
"""The form's name for a run's scheduled time."""


@files.post("/files/check")
@changes_nothing
def check_file() -> Response:
    """Respond with everything known about a file before a run."""
    given = Given()
    file = given.file()
    if file is None:
        raise Misuse("send a `file` with a `name` and a `text`")
    return answer(examine(file, GivenParams(texts=given.named_texts("params"))))


def examine(
    file: GivenFile, params: GivenParams, *, start_at: Callable[[str], datetime | None] | None = None
) -> dict[str, Any]:
    """Return a file's problems and, if valid, its parameters, picture and plan.

    There is no plan while parameters are missing or wrong. `start_at` is given if a run is to be started. Called with
    the file's time zone, it returns the time as of which the run starts, or None for now.
    """
    checked = check_content(file.content, file.name)
    found: dict[str, Any] = {
        **as_object([checked]),
        "findings": shown_findings(checked),
        "summary": summary([checked]),
        "params": [],
        "param_problems": [],
        "picture": None,
        "plan": None,
        "plan_lines": [],
        "timezone": None,
        "has_group": False,
    }
    if checked.workflow is None:
        return found
    workflow = checked.workflow
    found |= {
        "params": param_objects(workflow.params),
        "picture": picture_object(picture_file(workflow)),
        "timezone": workflow.timezone,
        "has_group": workflow.concurrency is not None,
    }
    try:
        return {**found, **_plan(file, workflow, params, start_at)}
    except InvalidParams as error:
        return {**found, "param_problems": param_problems(error.problems)}


def _plan(
    file: GivenFile, workflow: Workflow, params: GivenParams, start_at: Callable[[str], datetime | None] | None
) -> dict[str, Any]:
    settings, now = this_console().services.settings, this_console().services.clock.now()
    at = None if start_at is None else start_at(workflow.timezone)
    asked = ask_for_plan(workflow, params, at=at or now, env=settings.env, is_start=start_at is not None)
    plan = plan_run(workflow, asked.start.known(workflow), path=file.name)
    cost = price_of_run(file.content, asked, plan, settings)
    lines = list(planned_lines(asked, plan))
    return {"plan": {**planned_object(asked, plan), "run_usd": cost}, "plan_lines": lines}


def read_scheduled(text: str, zone: str | None) -> datetime | None:
    """Return a run's scheduled time, or None if none is given."""
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Misuse(f"{TIME_FIELD} is {text!r:.100}; write a time such as 2026-03-01T02:30Z") from error
    if at.tzinfo is None and zone is None:
        raise Misuse(f"{TIME_FIELD} needs an offset such as Z or +01:00, as the file's timezone is not known here")
    return instant_meant(at, zone, name=TIME_FIELD)


def picture_object(picture: Picture) -> dict[str, Any]:
    """Return a picture as an object: its steps and their predecessors."""
    under_finally = {step.id for step in picture.under_finally}
    return {
        "title": picture.title,
        "heading": picture.heading,
        "steps": [
            {
                "id": step.id,
                "after": list(step.after),
                "kind": step.shape.value,
                "notes": list(step.notes),
                "finally": step.id in under_finally,
            }
            for step in picture.steps
        ],
    }


def shown_problems(error: InvalidWorkflow, content: bytes, name: str) -> list[dict[str, Any]]:
    """Return an invalid file's problems, each with the lines it concerns."""
    return shown_findings(CheckedFile(name=name, content=content, problems=error.problems))
