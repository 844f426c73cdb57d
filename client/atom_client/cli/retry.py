"""`runs retry`: run again what did not succeed, or what the user names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.follow import AS_STARTED, Waiting
from atom_client.cli.output import Output
from atom_client.cli.platform import services_for_run
from atom_client.cli.tables import MOST_ROWS, Sheet
from atom_client.deployment import with_place
from atom_client.errors import RUN_FAILED, Failure, Misuse
from atom_client.text import counted, listing
from atom_client.views.as_json import json_document
from atom_client.views.loops import count_nodes, origin_text
from atom_client.views.progress import RunView, known_items, view_of
from atom_client.views.queries import in_order, read_outlines, read_run, similar_step
from atom_client.views.rerun_plan import HEADING, RerunPlan
from atom_client.views.run_references import require_run_to_change
from atom_workflows.coordinator.commands import retry_run
from atom_workflows.coordinator.reopening import require_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.item_ids import parse_item_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.rerun import require_retriable, steps_to_rerun
from atom_workflows.core.selection import select
from atom_workflows.core.states import RunState
from atom_workflows.errors import SelectionError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """The options that the user gave; `run_id` may be just the beginning of an id.

    `first` and `only` are the steps given with --from and --only.
    """

    run_id: str
    first: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    failed: bool = False
    dry_run: bool = False
    yes: bool = False
    wait: bool = False
    timeout_s: float | None = None
    reason: str = ""
    as_json: bool = False

    @property
    def is_selective(self) -> bool:
        """True if the user named what is to run again."""
        return bool(self.first or self.only)


def retry_unsuccessful(services: Services, options: RetryOptions) -> int:
    """Run unsuccessful steps again, or those that the user named, and return the exit code.

    The steps that depend on them are run again as well.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    if options.failed and not options.is_selective:
        raise Misuse("--failed adds to --from and --only; without them, `runs retry` already runs what did not succeed")
    run = require_run_to_change(services.store, options.run_id)
    nodes = read_outlines(services.store, run.id)
    plan = _plan(services, run, nodes, options)
    steps, again = in_order(nodes.values()), plan.again
    # Steps that succeeded, were skipped by choice or failed but are tolerated are kept, unless they depend on a step
    # that runs again.
    kept = {step.id: view_of(step) for step in plan.kept}
    # A run that was cancelled while it was QUEUED has never had its steps written.
    never_begun = run.started_at is None and len(steps) < run.step_count
    count = run.step_count if never_begun else len(steps) - len(kept)
    to_run = count_nodes([node for node in nodes.values() if node.id in again])
    loops = [node.each for node in nodes.values() if node.kind is NodeKind.EXPAND and node.id in again and node.items]
    lists = f" The lists of {listing(loops)} are computed again, and all of their items run." if loops else ""
    does = f"starts with {counted(count, 'step')}" if never_begun else f"continues: {to_run} will run again"
    line = f"Run {run.id} {does}, {AS_STARTED}{lists}"
    if (options.is_selective or options.dry_run) and not never_begun:
        _show_plan(plan, options)
    if options.dry_run:
        if options.as_json:
            click.echo(json_document({**_counts(run, plan, count), "dry_run": True}))
        return 0
    services = services_for_run(services, run.id)
    # A script that does not give --yes is not asked, as by no other command.
    is_asked = options.is_selective and not options.yes and Output(aside=options.as_json).has_reader
    if is_asked and not click.confirm("Run these steps again?", err=options.as_json):
        click.echo("Nothing was changed.", err=options.as_json)
        return RUN_FAILED
    if options.wait:
        order = tuple(step.id for step in steps)
        kept_items, sizes = known_items(nodes, but=again)
        view = RunView(run_id=run.id, total=count + len(kept), order=order, steps=kept, items=kept_items, sizes=sizes)
        return _retry_and_follow(services, view, line, options)
    _retry(services, run.id, options)
    reopened = read_run(services.store, run.id)
    waits = reopened is not None and reopened.state is RunState.QUEUED
    if options.as_json:
        click.echo(json_document({**_counts(run, plan, count), "queued": waits}))
    elif waits:
        click.echo(f"{line} It is QUEUED for now: `{with_place(f'why {run.id}')}` explains why.")
    else:
        click.echo(f"{line} `{with_place(f'runs show {run.id}')}` shows it.")
    return 0


def _plan(services: Services, run: RunRecord, nodes: Mapping[str, StepRecord], options: RetryOptions) -> RerunPlan:
    """Determine what the retry will run again.

    Raises `Failure` if a named step does not exist, and `RunStateError` if the run cannot be retried.
    """
    require_retriable(run, now=services.clock.now(), is_selective=options.is_selective)
    require_alone(services, run)
    try:
        selection = select(nodes, first=options.first, only=options.only, failed=options.failed)
    except SelectionError as error:
        meant = similar_step(services.store, run, error.name) if error.name else None
        lists = f"`{with_place(f'runs show {run.id}')}` lists its steps" if error.name else ""
        hint = f"did you mean {listing([meant])}?" if meant and meant != error.name else lists
        if (item := parse_item_id(error.name)) and item.each in nodes:
            hint = origin_text(nodes[item.each]) or hint
        raise Failure(f"{error} in run {run.id}; {hint}" if error.name else str(error)) from error
    again = steps_to_rerun(nodes, retries=run.retries + 1, selection=selection)
    return RerunPlan(nodes=nodes, again=frozenset(again), selection=selection)


def _show_plan(plan: RerunPlan, options: RetryOptions) -> None:
    """Print what will run again, on stderr if stdout is for JSON."""
    output, rows = Output(aside=options.as_json), tuple(plan.rows())
    if rows:
        output.show(Sheet(heading=HEADING, rows=rows[:MOST_ROWS], state_column=1))
    if len(rows) > MOST_ROWS:
        output.say(f"and {counted(len(rows) - MOST_ROWS, 'more step')}")
    output.say()
    for sentence in plan.notes():
        output.say(sentence)


def _counts(run: RunRecord, plan: RerunPlan, count: int) -> dict[str, object]:
    items = sum(node.kind is NodeKind.ITEM for node in plan.nodes.values() if node.id in plan.again)
    again = [step.id for step in plan.steps]
    return {"run_id": run.id, "run": run.id, "steps": count, "items": items, "again": again}


def _retry(services: Services, run_id: str, options: RetryOptions) -> None:
    retry_run(
        services,
        run_id,
        actor=current_actor(),
        reason=options.reason,
        first=options.first,
        only=options.only,
        failed=options.failed,
    )


def _retry_and_follow(services: Services, view: RunView, line: str, options: RetryOptions) -> int:
    def begin() -> str:
        _retry(services, view.run_id, options)
        return line

    waiting = Waiting(
        services=services,
        view=view,
        output=Output(aside=options.as_json),
        as_json=options.as_json,
        timeout_s=options.timeout_s,
    )
    return waiting.to_exit_code(begin)
