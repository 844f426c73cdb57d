"""The newest runs of a workflow with their steps' states.

They are read from a bounded number of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from atom_client.text import listing
from atom_client.views.as_json import rounded_seconds
from atom_client.views.counted_reads import CountedReads
from atom_client.views.queries import PAGE, in_order, may_have_items, read_pages
from atom_client.views.run_list import known_runs, timed_run
from atom_client.views.run_references import LONGEST_NAME
from atom_client.views.step_list import taken_by
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.documents import RUNS, run_path, steps_path
from atom_workflows.errors import NewerVersion
from atom_workflows.ports import Condition, Document, Query, Store
from atom_workflows.run_documents import run_record
from atom_workflows.step_documents import step_record

MOST_RUNS_SHOWN: Final = 30
MOST_STEPS_READ: Final = 5_000
"""The maximum number of steps that a history reads across all of its runs."""

MOST_RUNS_SEARCHED: Final = 1_000
"""The maximum number of runs in each of the two searches: the newest of all workflows, and those of one workflow."""

_PAGE: Final = 100
_RUN_FIELDS: Final = ("schema", "workflow", "created_at")
_STEP_FIELDS: Final = (
    *("schema", "state", "kind", "remaining", "phase", "each", "expansion", "attempt", "tolerated", "message"),
    *("started_at", "claimed_at", "finished_at", "kept_from"),
)
_SHOWN: Final = [NodeKind.JOB.value, NodeKind.BARRIER.value, NodeKind.EXPAND.value, NodeKind.GATHER.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run and its steps in order.

    `steps` is None if there were too many to read.
    """

    run: RunRecord
    steps: Sequence[StepRecord] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowHistory:
    """The newest runs of a workflow, newest first.

    `documents` is the number of documents read. If `is_complete` is False, there may be more runs than those found.
    """

    workflow: str
    runs: Sequence[PastRun]
    documents: int
    is_complete: bool
    # The ids of runs that a newer version wrote, or steps of them, which are left out.
    unreadable: Sequence[str] = ()

    def as_fields(self, now: datetime) -> dict[str, Any]:
        """Return the history for JSON output.

        The rows are step ids, and each run has a cell for each of its steps.
        """
        ids = dict.fromkeys(step.id for past in self.runs for step in past.steps or ())
        return {
            "workflow": self.workflow,
            "steps": list(ids),
            "runs": [
                {
                    **timed_run(past.run, now),
                    "cells": None if past.steps is None else cells_of(past.steps, now),
                }
                for past in self.runs
            ],
            "documents": self.documents,
            "is_complete": self.is_complete,
            "text": self._limits(),
        }

    def _limits(self) -> str:
        unread = [past.run for past in self.runs if past.steps is None]
        sentences = []
        if unread:
            which = "its runs" if len(unread) == len(self.runs) else f"{len(unread):,} of its runs"
            sentences.append(
                f"The steps of {which} are not shown: a history reads at most {MOST_STEPS_READ:,} steps. Open a run to "
                "see its steps."
            )
        if self.unreadable:
            sentences.append(f"Not shown, since a newer version wrote them: {listing(self.unreadable)}.")
        if not self.is_complete:
            sentences.append(
                f"The workflow has more than {MOST_RUNS_SEARCHED:,} runs, so only those among the newest "
                f"{MOST_RUNS_SEARCHED:,} of all workflows are shown."
            )
        return " ".join(sentences)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRuns:
    """The newest runs of all workflows, as far as known, newest first.

    `are_all` is True if there are no other runs. `nodes` returns a run's nodes if they are known.
    """

    newest: Sequence[Document] = ()
    are_all: bool = False
    nodes: Callable[[RunRecord], Sequence[StepRecord] | None] = lambda _: None


def cells_of(steps: Iterable[StepRecord], now: datetime) -> dict[str, list[Any]]:
    """Return the state, the duration and the attempts of steps, by id."""
    return {step.id: [step.state.value, rounded_seconds(taken_by(step, now)), step.attempt] for step in steps}


def read_workflow_history(
    store: Store,
    workflow: str,
    *,
    most_runs: int,
    known: KnownRuns | None = None,
) -> WorkflowHistory:
    """Return the newest runs of a workflow with their steps.

    Reads the steps of the newest runs first, until all are read or the limit is reached. Anything in `known` is not
    read again.
    """
    reads, known = CountedReads(store), known or KnownRuns()
    by_id = {document.id: document for document in known.newest if document.fields.get("workflow") == workflow}
    ids, is_complete = list(by_id)[:most_runs], known.are_all or len(by_id) >= most_runs
    if not is_complete:
        ids, is_complete = _find_newest(reads, workflow, most_runs)
    found = reads.get([run_path(one) for one in ids if one not in by_id])
    by_id |= {document.id: document for document in found if document is not None}
    documents = [by_id[one] for one in ids if one in by_id]
    past: list[PastRun] = []
    left, unreadable = MOST_STEPS_READ, list[str]()
    for run in map(run_record, known_runs(documents, unreadable)):
        # Once one run does not fit, older ones are not read either: in a grid, a gap looks as if nothing had happened.
        try:
            nodes = (known.nodes(run) or _read_steps(reads, run, left)) if run.step_count <= left else None
        except NewerVersion:
            unreadable.append(run.id)
            continue
        is_whole = nodes is not None and len(nodes) < left
        left = left - len(nodes) if nodes is not None and is_whole else 0
        past.append(PastRun(run=run, steps=in_order(nodes) if nodes is not None and is_whole else None))
    return WorkflowHistory(
        workflow=workflow, runs=past, documents=reads.documents, is_complete=is_complete, unreadable=unreadable
    )


def _read_steps(store: Store, run: RunRecord, most: int) -> list[StepRecord] | None:
    """Return up to `most` nodes, or None if none may be read."""
    is_waiting = run.started_at is None and not run.state.is_terminal
    if is_waiting or run.state in {RunState.INVALID, RunState.SKIPPED}:
        return []
    where: list[Condition] = [("kind", "in", _SHOWN)] if may_have_items(run) else []
    query = Query(collection=steps_path(run.id), where=where, limit=most, fields=_STEP_FIELDS)
    return list(map(step_record, store.query(query))) if most else None


def _find_newest(store: Store, workflow: str, most: int) -> tuple[list[str], bool]:
    """Return the ids of a workflow's newest runs.

    Also returns True if these are certain to be the newest.

    There is no index by workflow and time: the newest runs of all workflows are searched first and then, unless there
    are too many, all runs of the workflow.
    """
    newest = Query(collection=RUNS, order_by=[("created_at", "descending")], limit=_PAGE, fields=_RUN_FIELDS)
    searched, found = 0, list[Document]()
    for document in islice(read_pages(store, newest), MOST_RUNS_SEARCHED):
        searched += 1
        if document.fields.get("workflow") == workflow:
            found.append(document)
        if len(found) == most:
            break
    is_complete = len(found) == most or searched < MOST_RUNS_SEARCHED
    if not is_complete and len(workflow) <= LONGEST_NAME:
        every = Query(collection=RUNS, where=[("workflow", "==", workflow)], limit=PAGE, fields=_RUN_FIELDS)
        if store.count(every) <= MOST_RUNS_SEARCHED:
            found = sorted(read_pages(store, every), key=lambda one: one.fields["created_at"], reverse=True)[:most]
            is_complete = True
    return [one.id for one in found], is_complete
