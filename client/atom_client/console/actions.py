"""Cancel runs, retry them in place, or repair them with new runs.

With `"dry_run": true`, the response is the plan and a digest of what the plan depends on. A request that changes
something sends that digest as `seen`, and is refused if the plan is no longer the one that the user saw.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response

from atom_client.console.app import answer, this_console
from atom_client.console.files import shown_problems
from atom_client.console.given import Given
from atom_client.console.run_answers import queued_lines
from atom_client.errors import Failure, Misuse
from atom_client.planning.repairs import FoundFile, find_own_file, plan_repair, text_of
from atom_client.views.cancellation import cancelled_lines, plan_cancellation
from atom_client.views.param_forms import param_objects, param_problems
from atom_client.views.queries import read_run
from atom_client.views.rerun_plan import Chosen, RerunWords, plan_rerun
from atom_client.views.reuse import requested_line, reuse_lines, reuse_object, reuse_warnings
from atom_workflows.coordinator.commands import cancel_run, retry_run
from atom_workflows.core.records import RunRecord
from atom_workflows.core.reuse import require_reusable
from atom_workflows.errors import AtomWorkflowsError, InvalidParams, RunNotFound, RunStateError
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.ports import Message

actions = Blueprint("actions", __name__)

_SOONER: Final = "cancelling it once more can end it without them"

RETRY_WORDS: Final = RerunWords(
    heading=("Step", "State", "Runs again because"),
    first="you named",
    only="you named",
    step="you named it",
    reruns_all='choose "these steps and everything after them" to run these again, too',
    adds_failed='select "also what did not succeed" to run unsuccessful steps again, too',
)
"""The names of a retry's choices in its dialog."""


@actions.post("/runs/<run_id>/cancel")
def cancel(run_id: str) -> Response:
    """Cancel a run, or say what that would do."""
    console, given = this_console(), Given()
    run, now = read_run_to_change(run_id), given.flag("now")
    services = console.services_to_change(run)
    store = services.store
    plan = plan_cancellation(store, run, now=now)
    if given.flag("dry_run"):
        return answer({**plan.as_fields(), "lines": list(plan.sentences()), "seen": plan.digest, "dry_run": True})
    given.require_seen(plan.digest, f"run {run.id}")
    reason = given.text("reason")

    def has_ended() -> bool:
        # The platform of a single run ends with it, but its history stays.
        kept = None if services is console.services else read_run(console.services.store, run.id)
        return kept is not None and kept.state.is_terminal

    cancel_run(services, run.id, actor=console.actor, reason=reason, now=now, retries=run.retries, has_ended=has_ended)
    return answer({**plan.as_fields(), "lines": list(cancelled_lines(console.services.store, run.id, sooner=_SOONER))})


@actions.post("/runs/<run_id>/retry")
def retry(run_id: str) -> Response:
    """Rerun steps of a run, or say which would rerun."""
    console, given = this_console(), Given()
    chosen = Chosen(given.texts("from"), given.texts("only"), given.flag("failed"))
    if chosen.failed and not chosen.is_selective:
        raise Misuse("`failed` adds to `from` and `only`; without them, what did not succeed runs again anyway")
    run = read_run_to_change(run_id)
    services = console.services_to_change(run)
    plan = plan_rerun(services, run, chosen, RETRY_WORDS)
    if given.flag("dry_run"):
        rows = [] if plan.has_never_begun else list(plan.rows())
        table = {"heading": list(RETRY_WORDS.heading), "rows": [list(row) for row in rows]}
        words = {"lines": [plan.summary, *plan.notes()], "table": table, "seen": plan.digest}
        return answer({**plan.as_fields(), **words, "dry_run": True})
    given.require_seen(plan.digest, f"run {run.id}")
    retry_run(
        services,
        run.id,
        actor=console.actor,
        reason=given.text("reason"),
        first=chosen.first,
        only=chosen.only,
        failed=chosen.failed,
        retries=run.retries,
    )
    waits = queued_lines(services.store, run.id)
    return answer({**plan.as_fields(), "queued": bool(waits), "lines": [plan.summary, *waits]})


@actions.get("/runs/<run_id>/repair")
def show_form(run_id: str) -> Response:
    """Respond with the file that started a run, and its parameters."""
    run = read_run_to_change(run_id)
    services = this_console().services_to_change(run)
    require_reusable(run, now=services.clock.now())
    found: dict[str, Any] = {"run_id": run.id, "file": None, "problem": None, "params": []}
    try:
        file = find_own_file(services, run, advice="choose or paste the file")
        workflow = parse_workflow(file.content, filename=file.name)
    except InvalidWorkflow as error:
        found["problem"] = f"the file of run {run.id} is not valid in this version: {error.problems[0]}"
    except (Misuse, AtomWorkflowsError) as error:
        found["problem"] = str(error)
    else:
        found["file"] = {"name": file.name.rpartition("/")[2], "text": text_of(file.content, file.name)}
        found["params"] = param_objects(workflow.params, run.params)
    return answer(found)


@actions.post("/runs/<run_id>/repair")
def repair(run_id: str) -> Response:
    """Repair an ended run by a new one, or show the plan."""
    console, given = this_console(), Given()
    run = read_run_to_change(run_id)
    services = console.services_to_change(run)
    require_reusable(run, now=services.clock.now())
    sent = given.file()
    if sent is None:
        file = find_own_file(services, run, advice="choose or paste the file")
    else:
        fields = {"definition": text_of(sent.content, sent.name)}
        file = FoundFile(content=sent.content, name=sent.name, fields=fields)
    try:
        workflow = parse_workflow(file.content, filename=file.name)
    except InvalidWorkflow as error:
        _require_preview(given)
        return answer({"problems": shown_problems(error, file.content, file.name)})
    form = {"params": param_objects(workflow.params, run.params)}
    try:
        key = given.text("key").strip()
        plan, body = plan_repair(services, run, file, workflow, given.named_texts("params"), key=key)
    except InvalidParams as error:
        _require_preview(given)
        return answer({**form, "param_problems": param_problems(error.problems)})
    except RunStateError as error:
        if not given.flag("dry_run"):
            raise
        # Other parameters may be what makes the new run possible.
        return answer({**form, "refused": str(error)})
    shown = {"run_id": plan.run.id, **form, **reuse_object(plan)}
    if given.flag("dry_run"):
        lines = [*reuse_lines(plan), *reuse_warnings(plan), *plan.run.warnings]
        bound = {"seen": plan.judgment.digest, "key": body["run_key"]}
        return answer({**shown, "lines": lines, **bound, "dry_run": True})
    given.require_seen(plan.judgment.digest, f"run {run.id}, or the platform's environment,")
    reason = given.text("reason")
    who = {"actor": console.actor, **({"reason": reason} if reason else {})}
    services.bus.publish([Message(topic="start", body={**body, **who})])
    return answer({**shown, "lines": [requested_line(plan)]})


def _require_preview(given: Given) -> None:
    if not given.flag("dry_run"):
        raise Failure("the new run cannot be started as requested; the preview shows why")


def read_run_to_change(run_id: str) -> RunRecord:
    """Return the run with exactly this id; changes accept no abbreviated ids."""
    run = read_run(this_console().services.store, run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run
