"""`runs list`: filtered, sorted, and a page at a time."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import click

from atom_client.cli.output import Output
from atom_client.cli.since import since_of
from atom_client.cli.tables import Progress, runs_sheet
from atom_client.deployment import with_place
from atom_client.planning.params import pairs_of
from atom_client.text import listing, local_time, name_of
from atom_client.views.as_json import json_document, run_object
from atom_client.views.items import count_ended_items
from atom_client.views.run_list import (
    FAILED_STATES,
    MOST_RUNS_LOOKED_AT,
    OPEN_STATES,
    RunFilter,
    RunOrder,
    RunsPage,
    count_ended_steps,
    read_runs_page,
)
from atom_client.views.run_references import is_file
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.ports import Store

RUNS_PER_PAGE: Final = 20
_MOST_PROGRESS: Final = 20
"""The maximum number of open runs per list for which steps and items are counted; each count takes a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """The options that the user gave."""

    limit: int = RUNS_PER_PAGE
    page: int = 1
    states: Sequence[str] = ()
    failed: bool = False
    running: bool = False
    workflow: str | None = None
    labels: Sequence[str] = ()
    since: str | None = None
    sort: str = RunOrder.CREATED.value
    as_json: bool = False

    def words(self) -> Iterator[str]:
        """Yield the given options except --page, as they are typed."""
        yield from (f"--state {state}" for state in self.states)
        yield from ["--failed"] * self.failed
        yield from ["--running"] * self.running
        for name, value in (("workflow", self.workflow), ("since", self.since)):
            if value is not None:
                yield f"--{name} {shlex.quote(value)}"
        yield from (f"--label {shlex.quote(label)}" for label in self.labels)
        if self.sort != RunOrder.CREATED:
            yield f"--sort {self.sort}"
        if self.limit != RUNS_PER_PAGE:
            yield f"--limit {self.limit}"
        yield from ["--json"] * self.as_json

    def wanted(self, now: datetime) -> RunFilter:
        """Return the filter that the options specify."""
        states = [
            *(RunState(state.upper()) for state in self.states),
            *(FAILED_STATES if self.failed else ()),
            *(OPEN_STATES if self.running else ()),
        ]
        return RunFilter(
            states=tuple(dict.fromkeys(states)),
            workflow=self.workflow or "",
            labels=pairs_of("--label", self.labels),
            since=None if self.since is None else since_of(self.since, now),
            order=RunOrder(self.sort),
        )


def list_runs(services: Services, options: ListOptions) -> None:
    """Print a page of runs."""
    now = services.clock.now()
    wanted = options.wanted(now)
    page = read_runs_page(services.store, wanted, number=options.page, size=options.limit, now=now)
    if page.unreadable:
        click.echo(
            f"Not shown, since a newer version wrote them: {listing(page.unreadable)}. Install the version of "
            "atom-workflows that the deployment uses.",
            err=True,
        )
    if options.as_json:
        click.echo(json_document({"runs": [run_object(run) for run in page.runs]}))
    elif page.runs:
        Output().show(runs_sheet(page.runs, now=now, progress=_count_progress(services.store, page.runs)))
    elif not page.unreadable:
        click.echo(_no_runs(wanted))
    for line in _after(page, options):
        click.echo(line, err=options.as_json)


def _count_progress(store: Store, runs: Sequence[RunRecord]) -> dict[str, Progress]:
    begun = [run for run in runs if not run.state.is_terminal and run.started_at is not None]
    return {
        run.id: Progress(
            steps=count_ended_steps(store, run),
            # The store would also count the items of earlier attempts of a retried run.
            items=count_ended_items(store, run) if run.item_count and not run.retries else None,
        )
        for run in begun[:_MOST_PROGRESS]
    }


def _after(page: RunsPage, options: ListOptions) -> Iterator[str]:
    """Yield lines about what is not on the page."""
    last = (options.page - 1) * options.limit + len(page.runs)
    if not page.is_complete:
        since = "" if options.since is None else " since then"
        yield f"Only the newest {MOST_RUNS_LOOKED_AT:,} runs{since} were searched."
    if options.page * options.limit < page.total:
        following = with_place(" ".join(["runs list", *options.words(), f"--page {options.page + 1}"]))
        shown = f"{last:,}" if options.page == 1 else f"{last - len(page.runs) + 1:,} to {last:,}"
        yield f"{shown} of {page.total:,} runs; next: `{following}`"
    elif options.page > 1:
        yield f"{last - len(page.runs) + 1:,} to {last:,} of {page.total:,} runs"


def _no_runs(wanted: RunFilter) -> str:
    if not wanted.has_conditions:
        return f"There are no runs yet. `{with_place('start FILE')}` starts one."
    conditions = []
    if wanted.states:
        conditions.append(f"is {' or '.join(wanted.states)}")
    if wanted.workflow:
        what = "was started from" if is_file(wanted.workflow) else "is of the workflow"
        conditions.append(f"{what} {name_of(wanted.workflow)}")
    conditions += [f"has the label {name_of(f'{name}={value}')}" for name, value in wanted.labels.items()]
    if wanted.since is not None:
        conditions.append(f"was created since {local_time(wanted.since)}")
    return f"No run {' and '.join(conditions)}."
