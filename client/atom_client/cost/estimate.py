"""Estimate the costs of a run, an idle month, and alternatives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from atom_client.cost.alternatives import Quote, quotes
from atom_client.cost.bill import Bill, price_of
from atom_client.cost.measurement import jobs_in_a_row, measure, measure_tick, takes_time
from atom_client.cost.model import assumed, count_instances, model_of, plan_for_cost, skipped, with_assumed_items
from atom_client.cost.prices import PRICES, Item, Price
from atom_client.cost.usage import Assumptions, Tally, idle_month
from atom_client.planning.walk import Known
from atom_workflows.core.workflow import Workflow
from atom_workflows.language.parser import parse_workflow

OURS: Final = "Atom Workflows"
USUAL_JOB: Final = timedelta(minutes=10)

SHARED: Final = 1000
"""The number of steps for which prices are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The estimated figures for a workflow.

    `run` is the bill for one run that has the platform to itself; `idle` is the bill for a month without runs.
    """

    workflow: Workflow
    given: Assumptions
    runs_per_month: int
    tally: Tally
    run: Bill
    idle: Bill
    peers: tuple[Quote, ...]
    # Steps that are known to be skipped, and steps that may be skipped but are counted nevertheless.
    skipped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    # The number of steps, where a loop counts as its items, and the loops whose number of items is assumed.
    instances: int
    assumed_items: tuple[str, ...] = ()

    @property
    def month(self) -> float:
        """The monthly cost of all runs and of idle ticks, in dollars."""
        return self.run.usd * self.runs_per_month + self.idle.usd

    @property
    def all(self) -> tuple[Quote, ...]:
        """Our own quote, followed by the peers' quotes."""
        ours = Quote(name=OURS, formula="see above", run=self.run.usd, month=self.month)
        return (ours, *self.peers)

    def per_1000_steps(self, usd: float) -> float:
        """Convert the cost of a run to the cost per thousand steps."""
        return usd / max(1, self.instances) * SHARED


def estimate(  # noqa: PLR0913 (all but the first two are keyword-only)
    definition: bytes,
    given: Assumptions,
    *,
    filename: str = "workflow.yaml",
    known: Known | None = None,
    runs_per_month: int = 30,
    prices: Mapping[Item, Price] = PRICES,
) -> Estimate:
    """Estimate the costs of a workflow from its file.

    `known` is what is known about its runs, such as their parameters. Steps that may run are assumed to run.

    Raises:
        InvalidWorkflow: the file is not a valid workflow.
        NotEstimated: with jobs of this length, the run would not succeed or would take too long.

    """
    workflow = parse_workflow(definition, filename=filename)
    played, plan = workflow, None
    if not workflow.is_plain:
        plan = plan_for_cost(workflow, known or Known())
        definition = model_of(workflow, plan)
        played = parse_workflow(definition, filename=filename)
    tally = measure(played, definition, given)
    return Estimate(
        workflow=workflow,
        given=given,
        runs_per_month=runs_per_month,
        tally=tally,
        run=price_of(tally.usage(given), prices),
        idle=price_of(idle_month(measure_tick(given), given), prices),
        peers=tuple(quotes(tally, runs_per_month, prices)),
        skipped=skipped(plan) if plan else (),
        assumed=assumed(plan) if plan else (),
        instances=count_instances(plan) if plan else len(workflow.all_steps),
        assumed_items=with_assumed_items(plan) if plan else (),
    )


def usual_job(workflow: Workflow) -> timedelta:
    """Return how long jobs are assumed to take if nothing is specified.

    It is `USUAL_JOB`, or half the time that the timeouts of the workflow and its steps leave for each job, if that is
    shorter.
    """
    limits = [step.timeout for step in workflow.all_steps if takes_time(step)]
    if workflow.timeout is not None:
        limits.append(workflow.timeout / max(1, jobs_in_a_row(workflow)))
    if workflow.finally_steps:
        limits.append(workflow.finally_timeout / max(1, jobs_in_a_row(workflow)))
    return min([USUAL_JOB, *(limit / 2 for limit in limits)])


def chain(length: int) -> bytes:
    """Return a workflow file with a chain of `length` steps."""
    steps = [
        {"id": f"s{at}", "dependsOn": [f"s{at - 1}"] if at else [], "task": {"imageUri": "image"}}
        for at in range(length)
    ]
    return json.dumps({"name": f"a chain of {length:,}", "steps": steps}).encode()
