"""The `runs` commands: list, show, cancel, retry, doctor."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import click

from atom_client.cli.follow import AS_STARTED, Waiting, exit_code
from atom_client.cli.output import Output
from atom_client.cli.tables import MOST_ROWS, runs_sheet, show_steps
from atom_client.deployment import with_place
from atom_client.errors import Misuse
from atom_client.text import clean, clip, counted, listing, local_time, one_line
from atom_client.views.as_json import json_text, moment_text, run_object, run_with_steps
from atom_client.views.items import count_ended_items, read_loops
from atom_client.views.lines import group_text, line_text, read_line, rules_text
from atom_client.views.loops import is_shown
from atom_client.views.progress import RunView, StepView, view_of
from atom_client.views.queries import (
    MOST_RUNS_LOOKED_AT,
    full_run_id,
    in_order,
    may_have_items,
    newest_runs,
    read_nodes_of_steps,
    read_outlines,
    read_outputs_of_steps,
    read_run,
    require_run,
)
from atom_client.views.summary import verdict
from atom_workflows.coordinator.commands import cancel_run, retry_run
from atom_workflows.coordinator.repair import Examination, examine
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import is_under_way
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import expander_id, shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.rerun import steps_to_rerun
from atom_workflows.core.states import RunState, StepState
from atom_workflows.task_runner_urls import shown_url

_MOST_PROGRESS: Final = 20
"""The maximum number of open runs per list whose items are counted; each count takes a request."""


def list_runs(services: Services, *, limit: int, state: RunState | None, as_json: bool) -> None:
    """Print the newest runs."""
    unreadable: list[str] = []
    runs = newest_runs(services.store, limit=limit, state=state, unreadable=unreadable)
    if unreadable:
        those = listing(unreadable)
        click.echo(
            f"Not shown, since a newer version wrote them: {those}. Install the version of atom-workflows that the "
            "deployment uses.",
            err=True,
        )
    if as_json:
        click.echo(json_text([run_object(run) for run in runs]))
    elif runs:
        open_runs = [run for run in runs if not run.state.is_terminal and run.item_count and not run.retries]
        ended = {run.id: count_ended_items(services.store, run) for run in open_runs[:_MOST_PROGRESS]}
        Output().show(runs_sheet(runs, ended))
    elif state is None and not unreadable:
        click.echo(f"There are no runs yet. `{with_place('start FILE')}` starts one.")
    elif state is not None:
        click.echo(f"None of the newest {MOST_RUNS_LOOKED_AT:,} runs is {state}.")


def show_run(services: Services, text: str, *, as_json: bool, with_outputs: bool = False) -> None:
    """Print everything about a run, but only a summary of its items."""
    run = require_run(services.store, text)
    nodes = read_nodes_of_steps(services.store, run)
    steps, loops = in_order(nodes.values()), read_loops(services.store, run, nodes)
    outputs = read_outputs_of_steps(services.store, run.id, _with_outputs(run, steps)) if with_outputs else None
    if as_json:
        click.echo(json_text(run_with_steps(run, steps, outputs, loops)))
        return
    for name, value in _facts(run):
        click.echo(f"{name:12} {value}")
    for warning in run.warnings:
        click.echo(f"Warning: {one_line(warning)}")
    if steps:
        click.echo()
        show_steps(Output(), steps, loops)
    for line in about_jobs(steps):
        click.echo(line)
    if outputs is not None:
        _show_outputs(run, steps, outputs)
    click.echo()
    for sentence in verdict(run, steps, now=services.clock.now(), loops=loops):
        click.echo(sentence)
    if run.state is RunState.QUEUED and (queue := read_line(services, run)) is not None:
        click.echo(line_text(run, queue, services.clock.now()))


_NOT_QUEUED: Final = "; this run was started with --no-queue, so it did not wait"


def _with_outputs(run: RunRecord, steps: Sequence[StepRecord]) -> list[str] | None:
    """Return the ids of the steps whose outputs to read, or None for all.

    Item outputs are left out: those that an expression reads are also outputs of their step.
    """
    return [step.id for step in steps if step.outputs] if may_have_items(run) else None


def _show_outputs(run: RunRecord, steps: Sequence[StepRecord], outputs: Mapping[str, Any]) -> None:
    click.echo()
    found = {step.id: outputs[step.id] for step in steps if step.id in outputs}
    if run.outputs:
        click.echo(f"outputs of the run: {_json_line(run.outputs)}")
    for step_id, values in found.items():
        click.echo(f"outputs of `{step_id}`: {_json_line(values)}")
    if not run.outputs and not found:
        click.echo("There are no outputs.")


def about_jobs(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Yield lines about job logs and jobs that may still be running."""
    logged = [step for step in steps if step.logs_url]
    if logged:
        yield ""
    for step in logged[:MOST_ROWS]:
        yield f"log of `{shown_id(step.id)}`: {clean(step.logs_url)}"
    if len(logged) > MOST_ROWS:
        yield f"and {counted(len(logged) - MOST_ROWS, 'more log')}; --json shows all of them"
    for step in steps:
        if step.unstopped:
            named, jobs = shown_id(step.id), listing(step.unstopped)
            yield f"Warning: the Task Runner did not stop these jobs of `{named}`, which may still be running: {jobs}"


def _json_line(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False))


def cancel_named(services: Services, text: str, *, now: bool = False) -> None:
    """End a run.

    With `now`, its steps under `finally` end with it or are not started.
    """
    run_id = full_run_id(services.store, text)
    cancel_run(services, run_id, now=now)
    run = read_run(services.store, run_id)
    if run is not None and not run.state.is_terminal:
        show = with_place(f"runs show {run_id}")
        click.echo(
            f"Run {run_id} is being cancelled: no more jobs from its main part will be submitted, and its steps under "
            f"`finally` will run. `{show}` shows them; --now ends the run without them."
        )
        return
    click.echo(f"Run {run_id} is cancelled: no more jobs will be submitted.")
    nodes = {} if run is None else read_outlines(services.store, run_id)
    unstopped = [step for step in nodes.values() if step.unstopped]
    if unstopped:
        show = with_place(f"runs show {run_id}")
        items = [shown_id(step.id) for step in unstopped if step.kind is NodeKind.ITEM]
        lists = f"`{show}` lists them" + (f", and `--items STEP` those of items such as `{items[0]}`" if items else "")
        click.echo(f"Jobs of {_count_nodes(unstopped)} could not be stopped and may still be running; {lists}.")


def _count_nodes(nodes: Sequence[StepRecord]) -> str:
    """Return the number of steps and items among the nodes, in words."""
    steps, items = sum(map(is_shown, nodes)), sum(node.kind is NodeKind.ITEM for node in nodes)
    both = [counted(steps, "step") if steps or not items else "", counted(items, "item") if items else ""]
    return " and ".join(filter(None, both))


def _facts(run: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield the facts about a run, each with its name."""
    # The trigger's kind comes first.
    trigger = sorted(run.trigger.items(), key=lambda item: (item[0] != "kind", item[0]))
    source = str(run.source.get("path", ""))
    if run.source.get("inline"):
        source += " (given in the start message)"
    elif generation := run.source.get("generation"):
        source += f" (generation {generation})"
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
        "scheduled": _scheduled(run),
        "concurrency": ""
        if run.group is None
        else f"{group_text(run.group).rstrip('.')}; {rules_text(run.group)}{_NOT_QUEUED if run.no_queue else ''}",
        "created": local_time(run.created_at),
        "queued": local_time(run.queued_at),
        "admitted": local_time(run.admitted_at),
        "started": local_time(run.started_at),
        "finished": local_time(run.finished_at),
        # Steps under `finally` get a time limit of their own, which means nothing once they have ended.
        "deadline": "" if run.state.is_terminal else local_time(run.deadline),
        "late after": f"{local_time(run.late_at)}{', and the run was late' if run.late else ''}" if run.late_at else "",
        "retried": f"{counted(run.retries, 'time')}, last at {local_time(run.reopened_at)}" if run.retries else "",
    }
    for name, value in facts.items():
        if value:
            yield name, one_line(clean(value))


def _scheduled(run: RunRecord) -> str:
    """Return the run's scheduled time and the window before it."""
    if run.scheduled_at is None:
        return ""
    window = "" if run.window_start is None else f", for the window from {local_time(run.window_start)}"
    return f"{local_time(run.scheduled_at)}{window}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """The options that the user gave; `run_id` may be just the beginning of an id."""

    run_id: str
    wait: bool = False
    timeout_s: float | None = None
    as_json: bool = False


def retry_unsuccessful(services: Services, options: RetryOptions) -> int:
    """Run unsuccessful steps again, and return the exit code.

    The steps that depend on them are run again as well.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    run = require_run(services.store, options.run_id)
    nodes = read_outlines(services.store, run.id)
    steps = in_order(nodes.values())
    again = steps_to_rerun(nodes, retries=run.retries + 1)
    # Steps that succeeded, were skipped by choice or failed but are tolerated are kept, unless they depend on a step
    # that runs again.
    kept = {step.id: view_of(step) for step in steps if step.id not in again}
    # A run that was cancelled while it was QUEUED has never had its steps written.
    never_begun = run.started_at is None and len(steps) < run.step_count
    count = run.step_count if never_begun else len(steps) - len(kept)
    to_run = _count_nodes([node for node in nodes.values() if node.id in again])
    anew = [node.each for node in nodes.values() if node.kind is NodeKind.EXPAND and node.id in again and node.items]
    lists = f" The lists of {listing(anew)} are computed again, and all of their items run." if anew else ""
    does = f"starts with {counted(count, 'step')}" if never_begun else f"continues: {to_run} will run again"
    line = f"Run {run.id} {does}, {AS_STARTED}{lists}"
    if options.wait:
        order = tuple(step.id for step in steps)
        kept_items, sizes = _kept_items(nodes, again)
        view = RunView(run_id=run.id, total=count + len(kept), order=order, steps=kept, items=kept_items, sizes=sizes)
        return _retry_and_follow(services, view, line, options)
    retry_run(services, run.id)
    reopened = read_run(services.store, run.id)
    waits = reopened is not None and reopened.state is RunState.QUEUED
    if options.as_json:
        items = sum(node.kind is NodeKind.ITEM for node in nodes.values() if node.id in again)
        click.echo(json_text({"run": run.id, "steps": count, "items": items, "queued": waits}))
    elif waits:
        click.echo(f"{line} It is QUEUED for now: `{with_place(f'why {run.id}')}` explains why.")
    else:
        click.echo(f"{line} `{with_place(f'runs show {run.id}')}` shows it.")
    return 0


def _kept_items(
    nodes: Mapping[str, StepRecord], again: Collection[str]
) -> tuple[dict[str, dict[str, StepView]], dict[str, int]]:
    """Return the kept items and the number of items by step."""
    kept: dict[str, dict[str, StepView]] = {}
    for node in nodes.values():
        if node.kind is NodeKind.ITEM and node.id not in again and expander_id(node.each) not in again:
            kept.setdefault(node.each, {})[shown_id(node.id)] = view_of(node)
    expanders = [node for node in nodes.values() if node.kind is NodeKind.EXPAND and node.id not in again]
    return kept, {node.each: node.items for node in expanders if node.state is StepState.SUCCEEDED}


def _retry_and_follow(services: Services, view: RunView, line: str, options: RetryOptions) -> int:
    def begin() -> str:
        retry_run(services, view.run_id)
        return line

    waiting = Waiting(
        services=services,
        view=view,
        output=Output(aside=options.as_json),
        as_json=options.as_json,
        timeout_s=options.timeout_s,
    )
    ended = waiting.to_end(begin)
    waiting.print_result(ended)
    waiting.print_next_steps(ended.run)
    return exit_code(ended.run)


MOST_STEPS: Final = 10
_LONGEST_MESSAGE: Final = 200


def repair(services: Services, text: str, *, dry_run: bool, as_json: bool) -> bool:
    """Examine a run, fix it and print what was wrong.

    Returns True if no problem remains.
    """
    examination = examine(services, full_run_id(services.store, text), fixing=not dry_run)
    if as_json:
        fixed = {finding.step_id for finding in examination.fixed}
        described = {
            "run": examination.run.id,
            "state": examination.run.state.value,
            "under_way": [shown_id(step.id) for step in _of_user(examination) if is_under_way(step)],
            "found": [
                {
                    "step": shown_id(one.step_id),
                    "flaw": one.flaw.value,
                    "what": one.what,
                    "fixed": one.step_id in fixed,
                }
                for one in examination.found
            ],
            "open_work": examination.open_work,
            "published": examination.published,
            "overdue_since": moment_text(examination.overdue_since),
            "odd": [
                {"step": shown_id(one.step_id), "kind": one.kind.value, "what": one.what} for one in examination.odd
            ],
        }
        click.echo(json_text(described))
    else:
        for line in _lines(examination, now=services.clock.now(), dry_run=dry_run):
            click.echo(line)
    return not _is_anything_wrong(examination)


def _lines(examination: Examination, *, now: datetime, dry_run: bool) -> Iterator[str]:
    run, steps = examination.run, _of_user(examination)
    of_file = [step for step in steps if is_shown(step)]
    ended = sum(step.state.is_terminal for step in of_file)
    items = [step for step in steps if step.kind is NodeKind.ITEM]
    ended_items = sum(item.state.is_terminal for item in items)
    and_items = f" and {ended_items:,} of {counted(len(items), 'item')}" if items else ""
    yield f"Run {run.id} is {run.state}: {ended:,} of {counted(len(of_file), 'step')}{and_items} ended."
    yield from _what_it_waits_for(steps, now)
    yield from _what_is_wrong(examination, dry_run=dry_run)
    if examination.published:
        yield f"Published again: {counted(examination.published, 'released step')} that no dispatcher had claimed yet."
    if any((examination.found, examination.open_work, examination.overdue_since, examination.odd)):
        return
    if run.state in {RunState.FAILED, RunState.CANCELLED, RunState.INVALID}:
        yield f"There is nothing to fix; `{with_place(f'why {run.id}')}` explains why the run ended this way."
    elif run.state is RunState.QUEUED:
        yield f"Nothing is wrong with the run: it is waiting in line. `{with_place(f'why {run.id}')}` explains why."
    elif any(is_under_way(step) for step in steps):
        yield "Nothing is wrong with the run: it is waiting for the steps above."
    else:
        yield "Nothing is wrong with the run."


def _what_it_waits_for(steps: Sequence[StepRecord], now: datetime) -> Iterator[str]:
    under_way = [step for step in steps if is_under_way(step)]
    for step in under_way[:MOST_STEPS]:
        job = f", job {one_line(step.job_id)} last seen {one_line(step.job_state)}" if step.job_id else ""
        # A job that responds keeps the due time of its first poll and is polled in every round from then on.
        is_polled = step.state is StepState.RUNNING and step.due_at is not None and step.due_at <= now
        look = f"; next check {local_time(step.due_at)}" if step.due_at and not is_polled else ""
        message = f": {clip(one_line(step.message), _LONGEST_MESSAGE)}" if step.message else ""
        yield f"  {shown_id(step.id)} is {step.state}, attempt {step.attempt}{job}{look}{message}"
    if len(under_way) > MOST_STEPS:
        yield f"  … and {counted(len(under_way) - MOST_STEPS, 'more step')} under way"
    released = [shown_id(step.id) for step in steps if step.is_released]
    if released:
        yield f"Released, but not yet claimed by a dispatcher: {listing(released)}."


def _what_is_wrong(examination: Examination, *, dry_run: bool) -> Iterator[str]:
    if examination.open_work:
        done = "would be fixed" if dry_run else "fixed"
        yield f"Problem: {one_line(examination.open_work)} ({done})."
    fixed = {finding.step_id for finding in examination.fixed}
    unfixed = "would be fixed" if dry_run else "it has just changed; run this command again"
    for finding in examination.found:
        result = unfixed if finding.fields else "cannot be fixed"
        yield f"Problem: {finding.what} ({'fixed' if finding.step_id in fixed else result})."
    if examination.overdue_since is not None:
        since = local_time(examination.overdue_since)
        yield (
            f"Problem: a step has been overdue since {since}, and the checker has not processed it. Does the scheduler "
            "job exist, is it enabled, and what does the checker's log say?"
        )
    for oddity in examination.odd[:MOST_STEPS]:
        yield f"Problem: step {shown_id(oddity.step_id)}: {one_line(oddity.what)}."
    if len(examination.odd) > MOST_STEPS:
        yield f"  … and {counted(len(examination.odd) - MOST_STEPS, 'more step')} in a similar state"
    if examination.odd:
        yield "Only the Task Runner can change that; each step's timeout still applies."
    is_stuck = bool(examination.found) and _is_anything_wrong(examination)
    if is_stuck and not dry_run and examination.run.state is RunState.RUNNING:
        yield f"`{with_place(f'runs cancel {examination.run.id}')}` ends the run; after that, start the workflow again."


def _is_anything_wrong(examination: Examination) -> bool:
    """Return True if anything is still wrong with the run."""
    is_late = examination.overdue_since is not None
    return len(examination.fixed) < len(examination.found) or is_late or bool(examination.odd)


def _of_user(examination: Examination) -> list[StepRecord]:
    """Return the user's steps, and the items of those with `forEach`."""
    return [step for step in examination.steps.values() if not is_internal(step.id)]
