"""`runs retry`: rerun unsuccessful steps, or those that the user names."""

from __future__ import annotations

from dataclasses import dataclass

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.follow import Waiting
from atom_client.cli.output import Output
from atom_client.cli.platform import services_for_run
from atom_client.cli.tables import show_rerun
from atom_client.deployment import with_place
from atom_client.errors import RUN_FAILED, Misuse
from atom_client.views.as_json import json_document
from atom_client.views.progress import RunView, known_items, view_of
from atom_client.views.queries import in_order, read_run
from atom_client.views.rerun_plan import HEADING, Chosen, RerunPlan, plan_rerun
from atom_client.views.run_references import require_run_to_change
from atom_workflows.coordinator.commands import retry_run
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """The options that the user gave.

    `run_id` may be just the beginning of an id. `first` and `only` are the steps given with --from and --only.
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
    def chosen(self) -> Chosen:
        """The steps that the user chose."""
        return Chosen(self.first, self.only, self.failed)


def retry_unsuccessful(services: Services, options: RetryOptions) -> int:
    """Rerun unsuccessful or named steps, and return the exit code.

    The steps that depend on them are rerun as well.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    if options.failed and not options.chosen.is_selective:
        raise Misuse("--failed adds to --from and --only; without them, `runs retry` already runs what did not succeed")
    run = require_run_to_change(services.store, options.run_id)
    plan = plan_rerun(services, run, options.chosen)
    if not options.dry_run:
        services = services_for_run(services, run.id)
    _show_plan(plan, options)
    if options.dry_run:
        if options.as_json:
            click.echo(json_document({**plan.as_fields(), "dry_run": True}))
        return 0
    # A script that does not give --yes is not asked, as by no other command.
    is_asked = options.chosen.is_selective and not options.yes and Output(aside=options.as_json).has_reader
    if is_asked and not click.confirm("Run these steps again?", err=options.as_json):
        click.echo("Nothing was changed.", err=options.as_json)
        return RUN_FAILED
    if options.wait:
        return _retry_and_follow(services, plan, options)
    _retry(services, run.id, options)
    reopened = read_run(services.store, run.id)
    waits = reopened is not None and reopened.state is RunState.QUEUED
    if options.as_json:
        click.echo(json_document({**plan.as_fields(), "queued": waits}))
    elif waits:
        click.echo(f"{plan.sentence} It is QUEUED for now: `{with_place(f'why {run.id}')}` explains why.")
    else:
        click.echo(f"{plan.sentence} `{with_place(f'runs show {run.id}')}` shows it.")
    return 0


def _show_plan(plan: RerunPlan, options: RetryOptions) -> None:
    """Print what will run again, on stderr if stdout is for JSON."""
    output = Output(aside=options.as_json)
    if plan.has_never_begun or not (options.chosen.is_selective or options.dry_run):
        # The rest is what a retry without names always does.
        for sentence in plan.about_marks():
            output.say(sentence)
        return
    show_rerun(output, HEADING, tuple(plan.rows()), plan.notes())


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


def _retry_and_follow(services: Services, plan: RerunPlan, options: RetryOptions) -> int:
    # Steps that succeeded, were skipped by choice or failed but are tolerated are kept, unless they depend on a step
    # that runs again.
    kept = {step.id: view_of(step) for step in plan.kept}
    items, sizes = known_items(plan.nodes, but=plan.again)
    order = tuple(step.id for step in in_order(plan.nodes.values()))
    view = RunView(run_id=plan.run.id, total=plan.count + len(kept), order=order, steps=kept, items=items, sizes=sizes)

    def begin() -> str:
        _retry(services, view.run_id, options)
        return plan.sentence

    waiting = Waiting(
        services=services,
        view=view,
        output=Output(aside=options.as_json),
        as_json=options.as_json,
        timeout_s=options.timeout_s,
    )
    return waiting.to_exit_code(begin)
