"""`runs list`: filtered, sorted, and a page at a time."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import click

from atom_client.cli.output import Output
from atom_client.cli.tables import runs_sheet
from atom_client.deployment import with_place
from atom_client.planning.params import pairs_of
from atom_client.text import listing
from atom_client.views.as_json import json_document, run_object
from atom_client.views.run_list import (
    FAILED_STATES,
    MOST_RUNS_LOOKED_AT,
    OPEN_STATES,
    RunFilter,
    RunOrder,
    RunsPage,
    count_progress,
    describe_none,
    read_runs_page,
)
from atom_client.views.since import since_of
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import RunState

RUNS_PER_PAGE: Final = 20


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
        """Yield the given options except --page, as typed."""
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
        Output().show(runs_sheet(page.runs, now=now, progress=count_progress(services.store, page.runs)))
    elif not page.unreadable:
        starts = "" if wanted.has_conditions else f" `{with_place('start FILE')}` starts one."
        click.echo(f"{describe_none(wanted)}{starts}")
    for line in _after(page, options):
        click.echo(line, err=options.as_json)


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
