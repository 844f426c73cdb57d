"""`cost`: what a workflow's runs cost at list prices.

The cost is shown with its formulas and compared with that of alternatives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final

import click

from atom_client.cli.output import Output
from atom_client.cli.params import print_param_problems, read_given
from atom_client.cli.platform_choice import env_of
from atom_client.cli.sources import content_of, shown_name
from atom_client.cli.tables import Sheet
from atom_client.cli.validate import problem_lines
from atom_client.cost.bill import Bill, dollars, quantity
from atom_client.cost.estimate import Estimate, chain, estimate, usual_job
from atom_client.cost.model import ASSUMED_ITEMS, count_instances, plan_for_cost
from atom_client.cost.prices import AS_OF, GOOGLE, PRICES
from atom_client.cost.usage import Assumptions, NotEstimated, has_usual_times
from atom_client.errors import INVALID_USE, Misuse
from atom_client.planning.params import known_params, provisional_run
from atom_client.planning.prepare import Start
from atom_client.text import counted, listing, one_line
from atom_client.views.as_json import json_document
from atom_workflows.core.durations import format_duration
from atom_workflows.errors import InvalidParams
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.settings import Settings

USUAL_STEPS: Final = 1000

LARGE_BYTES: Final = 200_000
"""The file size above which an estimate may take a minute. It corresponds to about 1,500 steps."""

MANY_ITEMS: Final = 1_500
"""The number of steps and items above which an estimate may take a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions:
    """The options that the user gave. Without `source`, the workflow is a chain, and `steps` is its length."""

    source: str | None = None
    params: Sequence[str] = ()
    params_file: str | None = None
    steps: int | None = None
    job: timedelta | None = None
    runs_per_month: int = 30
    checker_vcpu: float = 0.167
    notifies: bool = False
    settings: Settings = field(default_factory=Settings)
    as_json: bool = False


def print_cost(options: CostOptions) -> int:
    """Print the estimate and return the exit code."""
    try:
        found = _estimate(options)
    except InvalidWorkflow as error:
        if options.as_json:
            click.echo(json_document({"problems": [problem.as_fields() for problem in error.problems]}))
        click.echo(problem_lines(error), err=True)
        return INVALID_USE
    except InvalidParams as error:
        return print_param_problems(error, options.source or "", as_json=options.as_json)
    if options.as_json:
        click.echo(json_document(as_object(found)))
    else:
        output = Output()
        steps = counted(len(found.workflow.all_steps), "step")
        items = f" ({found.instances:,} with all items)" if found.workflow.has_loops else ""
        output.say(f"{one_line(found.workflow.name)}: {steps}{items}, {how_long(found)}\n")
        output.show(bill_sheet(found.run))
        output.say()
        for sentence in sentences(found):
            output.say(sentence)
        output.say()
        output.show(peers_sheet(found))
        output.say(f"\nList prices as of {AS_OF}, {GOOGLE}, without free tiers.")
        output.say("docs/explanation/cost.md lists the assumptions and sources.")
    return 0


def _estimate(options: CostOptions) -> Estimate:
    if options.source is not None and options.steps is not None:
        raise click.UsageError("name a workflow file or give --steps, not both")
    if options.source is None:
        if options.params or options.params_file:
            raise click.UsageError("parameters require a workflow file; name one")
        definition, name = chain(options.steps or USUAL_STEPS), ""
    else:
        params = read_given(options.params, options.params_file, source=options.source)
        definition, name = content_of(options.source), shown_name(options.source)
    job, known, is_large = options.job, None, len(definition) > LARGE_BYTES
    if options.source is not None:
        workflow = parse_workflow(definition, filename=name)
        job = usual_job(workflow) if job is None else job
        run = provisional_run(workflow, labels={})
        start = Start(params=known_params(params, workflow, run), at=run.created_at, env=env_of(os.environ))
        known = start.known(workflow)
        is_large = is_large or (workflow.has_loops and count_instances(plan_for_cost(workflow, known)) > MANY_ITEMS)
    if job is None:
        job = timedelta(0)
    given = Assumptions(
        job=job, notifies=options.notifies, checker_vcpu=options.checker_vcpu, settings=options.settings
    )
    if job and is_large:
        click.echo(
            "Executing a large workflow in memory; with thousands of jobs, this takes a minute or more.", err=True
        )
    try:
        return estimate(definition, given, filename=name, known=known, runs_per_month=options.runs_per_month)
    except NotEstimated as error:
        raise Misuse(f"with jobs that take {format_duration(job)}, {error}") from error


def how_long(found: Estimate) -> str:
    """Describe how long jobs take."""
    given = found.given
    if given.is_at_once:
        return "each job ends immediately"
    reported = ", and the Task Runner reports its end" if given.notifies else ""
    edges = [step.id for step in found.workflow.all_steps if step.task is not None and step.task.engine == "edge"]
    at_once = f", except for {listing(edges)}: `engine: edge` jobs are assumed to end immediately" if edges else ""
    return f"each job takes {format_duration(given.job)}{reported}{at_once}"


def bill_sheet(bill: Bill) -> Sheet:
    """Return the line items of a bill as a sheet."""
    rows = [(line.price.service, dollars(line.usd), line.formula) for line in bill.lines]
    return Sheet(heading=("A RUN", "USD", "FORMULA"), rows=(*rows, ("all", dollars(bill.usd), "")), state_column=0)


def sentences(found: Estimate) -> Iterator[str]:
    """Yield the three main figures and the main causes of the cost."""
    run, idle = found.run.usd, found.idle.usd
    if found.skipped:
        yield f"Skipped, so not counted as jobs: {listing(found.skipped)}."
    if found.assumed:
        yield f"Assumed to run, as their conditions are not known in advance: {listing(found.assumed)}."
    if found.assumed_items:
        loops = listing(found.assumed_items)
        yield f"Lists that are not known in advance are assumed to have {ASSUMED_ITEMS} items: {loops}."
    yield f"A run costs {dollars(run)}, which is {dollars(found.per_1000_steps(run))} for 1,000 steps."
    yield "This covers only the coordinator; the machines that run the jobs are not included."
    yield f"With no run in flight, the platform costs {dollars(idle)} a month."
    yield f"A month with {counted(found.runs_per_month, 'run')} costs {dollars(found.month)}."
    if found.tally.watched_s > found.tally.dispatched_s:
        watched = f"{quantity(round(found.tally.watched_s))} s"
        yield f"The checker is awake for {watched} while jobs are in flight; concurrent runs would share this time."
    if not found.given.is_at_once:
        settings = found.given.settings
        yield (
            f"This assumes WORKFLOW_CHECK_STATE_DURATION_SEC={settings.check_interval.total_seconds():g} and "
            f"WORKFLOW_BURST_SEC={settings.burst.total_seconds():g}, "
            f"{'as deployed' if has_usual_times(settings) else 'from your environment, not as deployed'}."
        )


def peers_sheet(found: Estimate) -> Sheet:
    """Return a sheet that compares our prices with those of alternatives."""
    rows = []
    for quote in found.all:
        per_1000 = None if quote.run is None else found.per_1000_steps(quote.run)
        amounts = ("cannot" if usd is None else dollars(usd) for usd in (quote.run, per_1000, quote.month))
        rows.append((quote.name, *amounts, quote.formula))
    month = f"{counted(found.runs_per_month, 'RUN')}".upper()
    return Sheet(heading=("", "A RUN", "1,000 STEPS", f"{month} A MONTH", "FORMULA"), rows=tuple(rows), state_column=0)


def as_object(found: Estimate) -> dict[str, Any]:
    """Return the estimate as fields for JSON output, with unrounded dollar amounts."""
    return {
        "prices_as_of": AS_OF.isoformat(),
        "workflow": found.workflow.name,
        "steps": len(found.workflow.all_steps),
        "steps_and_items": found.instances,
        "skipped": list(found.skipped),
        "assumed_to_run": list(found.assumed),
        "assumed_items": list(found.assumed_items),
        "job_s": found.given.job.total_seconds(),
        "notifies": found.given.notifies,
        "counts": asdict(found.tally),
        "run": _bill_object(found.run),
        "per_1000_steps_usd": found.per_1000_steps(found.run.usd),
        "idle_month": _bill_object(found.idle),
        "month": {"runs": found.runs_per_month, "usd": found.month},
        "peers": [{"name": q.name, "formula": q.formula, "run_usd": q.run, "month_usd": q.month} for q in found.peers],
        "sources": {item.value: price.source for item, price in PRICES.items()},
    }


def _bill_object(bill: Bill) -> dict[str, Any]:
    lines = [
        {"service": line.price.service, "item": line.item.value, "amount": line.amount, "usd": line.usd}
        for line in bill.lines
    ]
    return {"usd": bill.usd, "lines": lines}
