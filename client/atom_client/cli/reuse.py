"""`runs retry --with` and `--param`: keep unchanged steps in a new run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from atom_client.cli.actor import current_actor
from atom_client.cli.follow import Waiting
from atom_client.cli.history import require_platform
from atom_client.cli.output import Output
from atom_client.cli.params import print_param_problems
from atom_client.cli.run import print_problems
from atom_client.cli.sources import content_of, shown_name
from atom_client.cli.tables import MOST_ROWS, Sheet
from atom_client.cli.validate import print_warnings
from atom_client.deployment import with_place
from atom_client.errors import RUN_FAILED, Misuse
from atom_client.planning.params import pairs_of
from atom_client.planning.repairs import FoundFile, find_own_file, plan_repair, text_of
from atom_client.planning.requests import BUCKET_PREFIX, require_object
from atom_client.text import counted, one_line
from atom_client.views.as_json import json_document
from atom_client.views.progress import RunView, view_of
from atom_client.views.queries import in_order, read_outlines_without_items
from atom_client.views.reuse import requested_line, reuse_lines, reuse_object, reuse_warnings
from atom_client.views.run_references import require_run_to_change
from atom_workflows.coordinator.reuse import ReusePlan
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.reuse import What, require_reusable
from atom_workflows.errors import InvalidParams
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.ports import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseOptions:
    """The options that the user gave.

    `source` is the edited file, if there is one, and `params` have the form `name=value`.
    """

    run_id: str
    source: str | None = None
    params: Sequence[str] = ()
    dry_run: bool = False
    yes: bool = False
    wait: bool = False
    timeout_s: float | None = None
    reason: str = ""
    as_json: bool = False


def repair_by_new_run(services: Services, options: ReuseOptions) -> int:
    """Show what a new run would keep, and perhaps start it.

    It is not started in a dry run, or if the user declines. Returns the exit code.
    """
    if options.timeout_s is not None and not options.wait:
        raise Misuse("--timeout requires --wait; give both, or leave out --timeout")
    earlier = require_run_to_change(services.store, options.run_id)
    # Only a run that was started is known to have had a file.
    require_reusable(earlier, now=services.clock.now())
    file = find_file(services, earlier, options.source)
    try:
        workflow = parse_workflow(file.content, filename=file.name)
        plan, body = plan_repair(services, earlier, file, workflow, pairs_of("--param", options.params))
    except InvalidWorkflow as error:
        return print_problems(error, as_json=options.as_json)
    except InvalidParams as error:
        return print_param_problems(error, file.name, as_json=options.as_json)
    print_warnings(plan.run.warnings)
    output = Output(aside=options.as_json)
    show_plan(plan, output)
    print_warnings(list(reuse_warnings(plan)))
    if options.dry_run:
        if options.as_json:
            click.echo(json_document({**reuse_object(plan), "dry_run": True}))
        return 0
    # A script that does not give --yes is not asked.
    if not options.yes and output.has_reader and not click.confirm("Start it?", err=options.as_json):
        click.echo("Nothing was started.", err=True)
        return RUN_FAILED
    require_platform(services)
    who = {"actor": current_actor(), **({"reason": options.reason} if options.reason else {})}
    return _start(services, plan, {**body, **who}, options)


def show_plan(plan: ReusePlan, output: Output) -> None:
    """Print what would happen to each step."""
    choices = plan.judgment.choices
    if len(choices) > MOST_ROWS:
        choices = tuple(choice for choice in choices if choice.what is not What.KEEP)[:MOST_ROWS]
    rows = tuple((choice.step_id, choice.what.value, one_line(choice.why)) for choice in choices)
    if rows:
        output.show(Sheet(heading=("STEP", "WHAT", "WHY"), rows=rows, state_column=1, may_be_narrowed=True))
    if hidden := len(plan.judgment.choices) - len(rows):
        output.say(f"({counted(hidden, 'more step')} not shown; `--json` lists all.)")
    output.say()
    for line in reuse_lines(plan):
        output.say(line)


def find_file(services: Services, run: RunRecord, source: str | None) -> FoundFile:
    """Return the file named by the user, or else the run's own."""
    if source is None:
        return find_own_file(services, run, advice="give the file with --with FILE")
    if source.startswith(BUCKET_PREFIX):
        require_object(source)
        content, _ = services.source.read(source, None)
    else:
        content = content_of(source, what="--with")
    return FoundFile(content=content, name=shown_name(source), fields={"definition": text_of(content, source)})


def _start(services: Services, plan: ReusePlan, body: dict[str, Any], options: ReuseOptions) -> int:
    run_id = plan.run.id

    def begin() -> str:
        services.bus.publish([Message(topic="start", body=body)])
        return requested_line(plan)

    if not options.wait:
        said = begin()
        if options.as_json:
            click.echo(json_document({"run_id": run_id, **reuse_object(plan)}))
        else:
            click.echo(f"{said}\nTo view it: `{with_place(f'runs show {run_id}')}`")
        return 0
    nodes = read_outlines_without_items(services.store, plan.earlier)
    order = tuple(choice.step_id for choice in plan.judgment.choices if choice.what is not What.REMOVE)
    kept = {step.id: view_of(step) for step in in_order(nodes.values()) if step.id in plan.reuse.kept}
    waiting = Waiting(
        services=services,
        view=RunView(run_id=run_id, total=len(order), order=order, steps=kept),
        output=Output(aside=options.as_json),
        as_json=options.as_json,
        timeout_s=options.timeout_s,
    )
    return waiting.to_exit_code(begin)
