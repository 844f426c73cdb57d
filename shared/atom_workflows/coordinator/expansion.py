"""Create the items of a `forEach` step once the run reaches it.

The node that creates them is claimed under a lease like any step. It evaluates its lists, and creates the items with
the barriers around them in batches. Each commit also changes the node itself, under a guard, and records how far it has
come. So if an instance dies, the next one continues after the last batch, and if two instances work at the same time,
only one makes progress. The commit that ends the node connects all items to the graph; until then, the items wait, and
everything else ignores them. From then on, the graph is as static as one compiled before the run.

A problem with a list never fails this node. It is stored with the node, and fails the step itself; see gathering.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from atom_workflows import log
from atom_workflows.coordinator.batches import in_batches
from atom_workflows.coordinator.commits import Addition, Decision
from atom_workflows.coordinator.conditions import read_for
from atom_workflows.coordinator.item_documents import create_items
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredStep, load_run, load_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.core.changes import change, end_step
from atom_workflows.core.evaluation import scope_of
from atom_workflows.core.expansion import MAX_ITEMS_OF_RUN, Expansion
from atom_workflows.core.items import Items, compute_items
from atom_workflows.core.outcomes import clip
from atom_workflows.core.reads import reads_of
from atom_workflows.core.records import Loop, StepRecord
from atom_workflows.core.states import StepEvent
from atom_workflows.core.transitions import MAX_DEATHS
from atom_workflows.core.workflow import Template
from atom_workflows.documents import run_path, step_path
from atom_workflows.errors import (
    AlreadyExists,
    Conflict,
    EvaluationError,
    ExpressionError,
    NotStorable,
    StoreUnavailable,
)
from atom_workflows.ports import Create, Update

_TRIES: Final = 5

_LATER: Final = timedelta(seconds=10)
"""How long to wait before trying again to create items if the store did not respond."""


@dataclass(slots=True)
class _Work:
    """One instance's work on one node. `stored` is the node as this instance last read or wrote it."""

    services: Services
    stored: StoredStep
    loop: Loop
    budget: Budget

    @property
    def step(self) -> StepRecord:
        """The node."""
        return self.stored.step


def expand(services: Services, stored: StoredStep, loop: Loop, budget: Budget) -> Decision | None:
    """Create the items of a claimed node, and decide how it ends.

    Once the budget is spent, the node is deferred, and another invocation continues its attempt. Returns None if
    another instance has taken over the node.
    """
    work = _Work(services=services, stored=stored, loop=loop, budget=budget)
    if stored.step.losses >= MAX_DEATHS:
        died = f"the function that creates the items died {MAX_DEATHS} times while doing so"
        return _end_with_problem(work, f"{died}; its log shows the cause, for example a lack of memory")
    try:
        items = _compute(work)
        expansion = Expansion(
            each=work.step.each,
            number=work.step.expansion,
            size=items.count,
            decides=loop.when is not None,
            phase=work.step.phase,
            places=items.max_parallel,
            tolerate=work.step.tolerate,
        )
        return _create(work, items, expansion)
    except (ExpressionError, NotStorable) as error:
        # Anything that was written before is ignored, since this node ends without it.
        return _end_with_problem(work, str(error))
    except StoreUnavailable as error:
        message = f"the items of step {work.step.each} cannot be created at the moment: {error}"
        log.warning("step.expand.deferred", message, **work.step.names)
        return _put_off(work, _LATER, message)


def _compute(work: _Work) -> Items:
    step, loop = work.step, work.loop
    templates = [one for one in (*loop.lists.values(), loop.max_parallel) if isinstance(one, Template)]
    past, result = read_for(work.services, step, reads_of(templates))
    items = compute_items(step, loop, scope_of(step, past, result))
    if step.written and items.count != step.counted:
        # Another version may evaluate an expression differently.
        raise EvaluationError("`forEach` returned a different list while the items were being created", at=0)
    return items


def _create(work: _Work, items: Items, expansion: Expansion) -> Decision | None:
    for number, batch in enumerate(in_batches(create_items(work.step, work.loop, items, expansion))):
        # Each invocation gets on by a batch, even if evaluating the list takes up all of its time.
        if number and work.budget.is_spent:
            return _put_off(work, timedelta())
        is_written = _write(work, batch) if work.step.written else _write_first(work, batch, expansion.size)
        if not is_written:
            log.debug("step.expand.overtaken", f"another instance is creating the items of step {work.step.each}")
            return None
    return _end(work, expansion)


def _write_first(work: _Work, batch: list[Create], size: int) -> bool:
    """Create the first nodes, and update the run's item count.

    Raises `ExpressionError` if the run would have too many items.
    """
    added = size - work.step.counted
    for _ in range(_TRIES):
        run = load_run(work.services, work.step.run_id)
        if run is None or run.run.stop is not None:
            # Closing the run ends this node.
            return False
        if run.run.item_count + added > MAX_ITEMS_OF_RUN:
            total = f"{run.run.item_count + added:,} items in total, more than the {MAX_ITEMS_OF_RUN:,} allowed"
            raise EvaluationError(f"with this step, the run would have {total}", at=0)
        count = Update(path=run_path(run.run.id), increments={"item_count": added}, guard=run.version)
        if _write(work, [*batch, *([count] if added else [])], counted=size):
            return True
        found = load_steps(work.services, work.step.run_id, [work.step.id])
        if not found or found[0].version != work.stored.version:
            return False
    raise StoreUnavailable("the run keeps changing")


def _write(work: _Work, batch: Sequence[Create | Update], **fields: Any) -> bool:
    """Create some nodes, update this node, and renew its lease.

    `fields` are further changes to this node. Returns False if the node, or a document whose update has a guard, has
    changed.
    """
    step, until = work.step, work.services.clock.now() + work.services.settings.lease
    written = step.written + sum(isinstance(one, Create) for one in batch)
    # Whatever killed earlier instances, this one got on.
    anew = {"losses": 0} if step.losses else {}
    fields = {**fields, **anew, "written": written, "due_at": until}
    touch = Update(path=step_path(step.run_id, step.id), fields=fields, guard=work.stored.version)
    try:
        results = work.services.store.commit([touch, *batch])
    except Conflict:
        return False
    except AlreadyExists as error:
        # They belong to an earlier run with this id, and the store is about to delete them.
        raise StoreUnavailable(f"items of an earlier run are still being deleted: {error}") from error
    work.stored = StoredStep(step=replace(step, **fields), version=results[0].version)
    work.budget.spend(written=len(results))
    return True


def _end(work: _Work, expansion: Expansion) -> Decision:
    """Connect the node to its items, and the items to their step."""
    step, size, edges = work.step, expansion.size, expansion.dependents_of_expander()
    log.info("step.expand", f"step {step.each} has {size:,} items", **step.names)
    end = end_step(step, StepEvent.SUCCEED, work.services.clock.now(), items=size, counted=size, **edges)
    tops = expansion.tops
    told = {"depends_on": [step.id, *tops], "items": size}
    return Decision(
        stored=StoredStep(step=replace(step, **edges), version=work.stored.version),
        change=end,
        companions=() if size else _uncount(step),
        additions={step.each: Addition(dependencies=len(tops), fields=told)},
    )


def _end_with_problem(work: _Work, problem: str) -> Decision:
    step = work.step
    log.info("step.expand.problem", f"step {step.each} has no items: {problem}", **step.names)
    end = end_step(step, StepEvent.SUCCEED, work.services.clock.now(), problem=clip(problem), counted=0)
    return Decision(stored=work.stored, change=end, companions=_uncount(step))


def _uncount(step: StepRecord) -> Sequence[Update]:
    """Subtract the node's former items from the run's item count."""
    return [Update(path=run_path(step.run_id), increments={"item_count": -step.counted})] if step.counted else []


def _put_off(work: _Work, wait: timedelta, message: str = "") -> Decision:
    """Let another invocation continue where this one stopped."""
    fields = {"message": clip(message)} if message else {}
    due_at = work.services.clock.now() + wait
    return Decision(
        stored=work.stored, change=change(work.step, StepEvent.DEFER, due_at=due_at, answered=True, **fields)
    )
