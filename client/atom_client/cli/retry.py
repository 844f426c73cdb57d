"""`runs retry`: run again what did not succeed."""

from __future__ import annotations

from dataclasses import dataclass

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.follow import AS_STARTED, Waiting, exit_code
from atom_client.cli.output import Output
from atom_client.deployment import with_place
from atom_client.errors import Misuse
from atom_client.text import counted, listing
from atom_client.views.as_json import json_document
from atom_client.views.loops import count_nodes
from atom_client.views.progress import RunView, known_items, view_of
from atom_client.views.queries import in_order, read_outlines, read_run
from atom_client.views.run_references import require_run_to_change
from atom_workflows.coordinator.commands import retry_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.rerun import steps_to_rerun
from atom_workflows.core.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """The options that the user gave; `run_id` may be just the beginning of an id."""

    run_id: str
    wait: bool = False
    timeout_s: float | None = None
    reason: str = ""
    as_json: bool = False


def retry_unsuccessful(services: Services, options: RetryOptions) -> int:
    """Run unsuccessful steps again, and return the exit code.

    The steps that depend on them are run again as well.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    run = require_run_to_change(services.store, options.run_id)
    nodes = read_outlines(services.store, run.id)
    steps = in_order(nodes.values())
    again = steps_to_rerun(nodes, retries=run.retries + 1)
    # Steps that succeeded, were skipped by choice or failed but are tolerated are kept, unless they depend on a step
    # that runs again.
    kept = {step.id: view_of(step) for step in steps if step.id not in again}
    # A run that was cancelled while it was QUEUED has never had its steps written.
    never_begun = run.started_at is None and len(steps) < run.step_count
    count = run.step_count if never_begun else len(steps) - len(kept)
    to_run = count_nodes([node for node in nodes.values() if node.id in again])
    loops = [node.each for node in nodes.values() if node.kind is NodeKind.EXPAND and node.id in again and node.items]
    lists = f" The lists of {listing(loops)} are computed again, and all of their items run." if loops else ""
    does = f"starts with {counted(count, 'step')}" if never_begun else f"continues: {to_run} will run again"
    line = f"Run {run.id} {does}, {AS_STARTED}{lists}"
    if options.wait:
        order = tuple(step.id for step in steps)
        kept_items, sizes = known_items(nodes, but=again)
        view = RunView(run_id=run.id, total=count + len(kept), order=order, steps=kept, items=kept_items, sizes=sizes)
        return _retry_and_follow(services, view, line, options)
    retry_run(services, run.id, actor=current_actor(), reason=options.reason)
    reopened = read_run(services.store, run.id)
    waits = reopened is not None and reopened.state is RunState.QUEUED
    if options.as_json:
        items = sum(node.kind is NodeKind.ITEM for node in nodes.values() if node.id in again)
        click.echo(json_document({"run_id": run.id, "run": run.id, "steps": count, "items": items, "queued": waits}))
    elif waits:
        click.echo(f"{line} It is QUEUED for now: `{with_place(f'why {run.id}')}` explains why.")
    else:
        click.echo(f"{line} `{with_place(f'runs show {run.id}')}` shows it.")
    return 0


def _retry_and_follow(services: Services, view: RunView, line: str, options: RetryOptions) -> int:
    def begin() -> str:
        retry_run(services, view.run_id, actor=current_actor(), reason=options.reason)
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
