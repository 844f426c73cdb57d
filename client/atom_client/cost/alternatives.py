"""The cost of the same workflow elsewhere.

For each peer, a formula derives its usage from the same counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from atom_client.cost.bill import Usage, price_of
from atom_client.cost.prices import HOURS_PER_MONTH, Item, Price
from atom_client.cost.usage import Tally

EXPRESS_LIMIT_S: Final = 300
EXPRESS_GB: Final = 0.0625


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another way to run workflows.

    `usage` returns the usage for a run, or for a month if the peer is `always_on`. It returns None if the peer cannot
    execute the run.
    """

    name: str
    formula: str
    usage: Callable[[Tally], Usage | None]
    always_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The price of a workflow on one peer, in dollars.

    The price is None if the peer cannot run the workflow.
    """

    name: str
    formula: str
    run: float | None
    month: float | None


def _all_month(item: Item) -> Callable[[Tally], Usage]:
    return lambda _: {item: HOURS_PER_MONTH}


PEERS: Final[Sequence[Peer]] = (
    Peer(
        name="Cloud Workflows, Task Runner on *.run.app",
        formula="internal steps: 2 per job (call, switch) + 3 per poll (sleep, call, switch)",
        usage=lambda tally: {Item.INTERNAL_STEPS: 2 * tally.submissions + 3 * tally.polls},
    ),
    Peer(
        name="Cloud Workflows, Task Runner elsewhere",
        formula="the same, with the calls as external steps",
        usage=lambda tally: {
            Item.EXTERNAL_STEPS: tally.submissions + tally.polls,
            Item.INTERNAL_STEPS: tally.submissions + 2 * tally.polls,
        },
    ),
    Peer(
        name="Step Functions Standard, polling",
        formula="transitions: 1 + 2 per job (task, choice) + 3 per poll (wait, task, choice)",
        usage=lambda tally: {Item.TRANSITIONS: 1 + 2 * tally.submissions + 3 * tally.polls},
    ),
    Peer(
        name="Step Functions Standard, with callbacks",
        formula="transitions: 1 + 1 per job",
        usage=lambda tally: {Item.TRANSITIONS: 1 + tally.submissions},
    ),
    Peer(
        name="Step Functions Express",
        formula=f"1 execution + {EXPRESS_GB} GB * its duration in seconds; at most {EXPRESS_LIMIT_S} s",
        usage=lambda tally: (
            {Item.EXECUTIONS: 1, Item.EXPRESS_MEMORY: tally.took_s * EXPRESS_GB}
            if tally.took_s <= EXPRESS_LIMIT_S
            else None
        ),
    ),
    Peer(
        name="Airflow on one e2-standard-2, self-managed",
        formula=f"{HOURS_PER_MONTH} hours a month",
        usage=_all_month(Item.VM_HOURS),
        always_on=True,
    ),
    Peer(
        name="Amazon MWAA, mw1.small",
        formula=f"{HOURS_PER_MONTH} hours a month",
        usage=_all_month(Item.MWAA_HOURS),
        always_on=True,
    ),
    Peer(
        name="Cloud Composer 3, per DCU in use",
        formula=f"{HOURS_PER_MONTH} hours a month",
        usage=_all_month(Item.COMPOSER_HOURS),
        always_on=True,
    ),
)


def quotes(tally: Tally, runs_per_month: int, prices: Mapping[Item, Price]) -> list[Quote]:
    """Return each peer's cost for a run and for a month."""
    found = []
    for peer in PEERS:
        run: float | None = None
        month: float | None = None
        usage = peer.usage(tally)
        if usage is not None:
            usd = price_of(usage, prices).usd
            run, month = (usd / runs_per_month, usd) if peer.always_on else (usd, usd * runs_per_month)
        found.append(Quote(name=peer.name, formula=peer.formula, run=run, month=month))
    return found
