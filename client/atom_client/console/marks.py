"""Mark a step or an item, or say what that would do."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from atom_client.console.actions import RETRY_WORDS, read_run_to_change
from atom_client.console.app import answer, this_console
from atom_client.console.given import Given
from atom_client.console.run_answers import queued_lines
from atom_client.errors import Misuse
from atom_client.planning.marks import AskedMark, PlannedMark, find_step, output_problems, plan_mark
from atom_client.text import listing, name_of
from atom_client.views.param_forms import output_objects
from atom_workflows.coordinator.commands import mark_step
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.marks import STATES, WORDS, Effect, require_markable
from atom_workflows.core.states import StepState

marks = Blueprint("marks", __name__)


@marks.post("/runs/<run_id>/mark")
def mark(run_id: str) -> Response:
    """Mark a step, or say what that would do.

    The preview has form fields for the step's declared outputs, and the problems of the outputs given.
    """
    console, given = this_console(), Given()
    run = read_run_to_change(run_id)
    services = console.services_to_change(run)
    require_markable(run, now=services.clock.now())
    asked = _read_asked(given)
    step = find_step(services, run, asked.step_id)
    form: dict[str, Any] = {"outputs": output_objects(step), "output_problems": []}
    if given.flag("dry_run") and (problems := output_problems(step, asked)):
        form["output_problems"] = [{"param": name, "message": text} for name, text in problems.items()]
        return answer({**form, "lines": [], "dry_run": True})
    planned = plan_mark(services, run, asked)
    plan = planned.plan
    if given.flag("dry_run"):
        table = {"heading": list(RETRY_WORDS.heading), "rows": [list(row) for row in plan.rows()]}
        words = {"lines": list(plan.sentences()), "table": table, "seen": planned.digest}
        return answer({**plan.as_fields(), **form, **words, "dry_run": True})
    given.require_seen(planned.digest, f"run {run.id}")
    done = mark_step(
        services,
        run.id,
        planned.wish,
        actor=console.actor,
        reason=given.text("reason"),
        accepted=planned.accepted,
    )
    waits = queued_lines(services.store, run.id) if done is Effect.REOPENS else []
    lines = [_done_text(planned, done), *waits]
    return answer({**plan.as_fields(), "effect": done.value, "queued": bool(waits), "lines": lines})


def _read_asked(given: Given) -> AskedMark:
    state = STATES.get(given.text("state"))
    if state is None:
        raise Misuse(f"`state` is {name_of(given.text('state'))!r}; a step can be marked as {' or '.join(STATES)}")
    if not (step_id := given.text("step").strip()):
        raise Misuse("name the step to mark in `step`")
    texts = given.named_texts("outputs") if state is StepState.SUCCEEDED else {}
    return AskedMark(step_id=step_id, state=state, texts=texts)


def _done_text(planned: PlannedMark, done: Effect) -> str:
    step, word = planned.plan.step, WORDS[planned.plan.state]
    marked = f"Marked {listing([shown_id(step.id)])} as {word}"
    return {
        Effect.ENDS: f"{marked}.",
        Effect.WAITS: f"{marked}: it will end that way when its turn comes.",
        Effect.STOPS_JOB: f"{marked}: its job is being stopped first.",
        Effect.REOPENS: f"{marked}: run {step.run_id} continues.",
    }[done]
