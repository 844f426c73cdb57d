"""Describe what a cancellation would do, or has done, to a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.text import counted
from atom_client.views.loops import count_nodes
from atom_client.views.queries import read_outlines, read_run
from atom_workflows.core.endings import require_stoppable
from atom_workflows.core.graph import END_ID
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.records import RunRecord, StepRecord, StopKind
from atom_workflows.core.states import RunState, StepState
from atom_workflows.documents import step_path, steps_path
from atom_workflows.ports import Query, Store
from atom_workflows.step_documents import step_record

_MOST_COUNTED: Final = 500
_UNDER_WAY: Final = (StepState.DISPATCHING, StepState.RUNNING, StepState.RETRYING)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPlan:
    """What a cancellation would do to a run and its active steps.

    With `now`, the steps under `finally` are not run. At most `_MOST_COUNTED` steps under way were read.
    """

    run: RunRecord
    now: bool
    has_finally: bool
    under_way: Sequence[StepRecord]

    @property
    def digest(self) -> str:
        """What the user has seen of the run, and what they chose.

        Progress of the steps in the meantime does not change it.
        """
        run = self.run
        main = run.main_state.value if run.main_state else ""
        stop = run.stop.kind.value if run.stop else ""
        return f"{run.state.value}/{run.retries}/{main}/{stop}/{'now' if self.now else ''}"

    def sentences(self) -> Iterator[str]:
        """Yield what would happen."""
        run = self.run
        if run.state is RunState.QUEUED:
            yield f"Run {run.id} has not begun. It ends as CANCELLED, and none of its steps run."
            return
        if run.stop is not None:
            yield f"Run {run.id} is already being stopped ({run.stop.kind})."
        if self.has_finally and not self.now:
            yield f"Run {run.id} ends as CANCELLED: no more jobs from its main part will be submitted."
            yield "Its steps under `finally` run first."
        elif self.has_finally:
            yield f"Run {run.id} ends as CANCELLED: no more jobs will be submitted."
            yield "Its steps under `finally` end with it, or never begin."
        else:
            yield f"Run {run.id} ends as CANCELLED: no more jobs will be submitted."
        stopped = self.under_way if self.now else [step for step in self.under_way if step.phase is Phase.MAIN]
        if len(stopped) >= _MOST_COUNTED:
            yield f"At least {_MOST_COUNTED:,} steps are under way; their jobs will be asked to stop."
        elif stopped:
            are, its = ("is", "its job") if len(stopped) == 1 else ("are", "their jobs")
            yield f"{counted(len(stopped), 'step')} {are} under way now: {its} will be asked to stop."
        else:
            yield "No jobs are under way now."

    def as_fields(self) -> dict[str, Any]:
        """Return the plan's fields for JSON output."""
        under_way = [shown_id(step.id) for step in self.under_way]
        return {"run_id": self.run.id, "run": self.run.id, "under_way": under_way, "has_finally": self.has_finally}


def plan_cancellation(store: Store, run: RunRecord, *, now: bool) -> CancelPlan:
    """Determine what cancelling a run would do.

    Raises `RunStateError` if the run cannot be cancelled.
    """
    require_stoppable(run, kind=StopKind.CANCEL, now=now)
    end = store.get([step_path(run.id, END_ID)])[0]
    states = [state.value for state in _UNDER_WAY]
    query = Query(collection=steps_path(run.id), where=[("state", "in", states)], limit=_MOST_COUNTED)
    # Some nodes that the compiler adds are never under way; expanders are, while they create items.
    found = [step_record(document) for document in store.query(query)]
    return CancelPlan(
        run=run,
        now=now,
        has_finally=end is not None and step_record(end).phase is Phase.FINALLY,
        under_way=[step for step in found if step.kind in {NodeKind.JOB, NodeKind.ITEM}],
    )


def cancelled_lines(store: Store, run_id: str, *, sooner: str = "--now ends the run without them") -> Iterator[str]:
    """Yield sentences about a run whose cancellation has been requested.

    `sooner` says how to end it without its steps under `finally`.
    """
    run, show = read_run(store, run_id), with_place(f"runs show {run_id}")
    if run is not None and not run.state.is_terminal:
        yield (
            f"Run {run_id} is being cancelled: no more jobs from its main part will be submitted, and its steps under "
            f"`finally` will run. `{show}` shows them; {sooner}."
        )
        return
    yield f"Run {run_id} is cancelled: no more jobs will be submitted."
    nodes = {} if run is None else read_outlines(store, run_id)
    unstopped = [step for step in nodes.values() if step.unstopped]
    if unstopped:
        items = [shown_id(step.id) for step in unstopped if step.kind is NodeKind.ITEM]
        of_items = f", and `--items STEP` lists the jobs of items such as `{items[0]}`" if items else ""
        lists = f"`{show}` lists them{of_items}"
        yield f"Jobs of {count_nodes(unstopped)} could not be stopped and may still be running; {lists}."
