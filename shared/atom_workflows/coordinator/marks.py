"""Mark a step as succeeded or skipped, at a person's request.

core/marks.py describes what a mark does. It is saved with the step, guarded on the step and the run, whose document
records who marked it. The nodes that it releases are published afterward; if this instance dies first, a repeated
command or the run's audit publishes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from atom_workflows import log
from atom_workflows.coordinator.commits import Decision, save
from atom_workflows.coordinator.dispatch import republish_below
from atom_workflows.coordinator.groups import pause
from atom_workflows.coordinator.loading import StoredRun, StoredStep, iter_steps, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.places import hand_on_places
from atom_workflows.coordinator.reopening import reopen_run, require_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.endings import require_retries
from atom_workflows.core.expansion import current_nodes, is_current
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import expander_id, item_id, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.marks import (
    WORDS,
    Effect,
    Mark,
    check_given,
    judge_mark,
    put_mark,
    read_mark,
    require_markable,
)
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.selection import select_marked
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.user_changes import UserChange
from atom_workflows.documents import changes_fields, outputs_path, run_path, step_path
from atom_workflows.errors import MarkError, RunContended, RunNotFound, RunStateError
from atom_workflows.messages.fields import ID
from atom_workflows.messages.internal import ReadyStep
from atom_workflows.ports import Update

_TRIES: Final = 5


class Wish(NamedTuple):
    """A mark that a person asks for.

    `step` names a step or an item, and `outputs` maps the names of its outputs to their values.
    """

    step: str
    state: StepState
    outputs: Mapping[str, Any] = {}

    @property
    def command(self) -> str:
        """The command as typed, without the run's id."""
        return f"mark {self.step} {WORDS[self.state]}"


class Named(NamedTuple):
    """A named step or item, with its loop's nodes, if any."""

    stored: StoredStep
    expander: StoredStep | None = None
    gathers: StepRecord | None = None

    @property
    def step(self) -> StepRecord:
        """The step itself."""
        return self.stored.step

    @property
    def reset(self) -> StoredStep:
        """The node that a mark resets when it reopens a run.

        Steps under `finally` run again in any case, and so do their items.
        """
        return self.target if self.step.phase is Phase.FINALLY else self.stored

    @property
    def target(self) -> StoredStep:
        """The node to mark in a run that has not ended.

        For a step with `forEach`, this is the node that creates its items.
        """
        is_loop = self.step.kind is NodeKind.GATHER and self.expander is not None
        return self.expander if is_loop and self.expander is not None else self.stored


class Accepted(NamedTuple):
    """The state of a run and a step when a mark was accepted.

    The mark may be made some time later. `retries` is the number of the run's retries, and `reopens` is True if the run
    had ended. `at` is later than any mark that the step had then, even one made by a clock that is ahead.
    """

    retries: int
    reopens: bool
    at: datetime

    @classmethod
    def of(cls, run: RunRecord, named: Named, effect: Effect, *, now: datetime) -> Accepted:
        """Accept a mark that `judge_wish` allowed."""
        made = read_mark(named.target.step)
        at = now if made is None else max(now, made.at + timedelta(microseconds=1))
        return cls(retries=run.retries, reopens=effect is Effect.REOPENS, at=at)


def find_named(services: Services, run_id: str, name: str) -> Named:
    """Return the step or item that a person named.

    Raises `MarkError` if there is none.
    """
    missing = MarkError(f"there is no step {name} in run {run_id}", name)
    item = parse_item_id(name)
    each = name if item is None else item.each
    if not ID.fullmatch(each) or is_internal(each) or shown_id(name) != name:
        raise missing
    found = {one.step.id: one for one in load_steps(services, run_id, [each, expander_id(each)])}
    expander = found.get(expander_id(each))
    if each not in found or (item is not None and expander is None):
        raise missing
    if item is None:
        return Named(found[each], expander)
    assert expander is not None  # noqa: S101 (checked above)
    items = load_steps(services, run_id, [item_id(each, item.index, expander.step.expansion)])
    if not items or not is_current(items[0].step, expander.step):
        raise missing
    return Named(items[0], expander, found[each].step)


def judge_wish(services: Services, run: RunRecord, wish: Wish) -> tuple[Named, Effect, str]:
    """Check a mark before it is made.

    Returns the named step, the mark's immediate effect, and the outputs as JSON text. Raises `MarkError`, or
    `RunStateError` if the run's state does not allow the mark.
    """
    # A run that has not begun has no steps yet.
    require_markable(run, now=services.clock.now())
    named = find_named(services, run.id, wish.step)
    expander = None if named.expander is None else named.expander.step
    effect = judge_mark(run, named.step, wish.state, expander=expander)
    return named, effect, check_given(named.step, wish.state, wish.outputs, gathers=named.gathers)


def require_reopenable(services: Services, run: RunRecord, named: Named) -> None:
    """Raise `RunStateError` or `SelectionError` if a mark cannot reopen the run."""
    require_alone(services, run)
    nodes = current_nodes({one.step.id: one.step for one in iter_steps(services, run.id)})
    select_marked(nodes, node_id=named.reset.step.id)


def mark_step(
    outbox: Outbox, run_id: str, wish: Wish, change: UserChange, *, accepted: Accepted | None = None
) -> Effect:
    """Mark a step, and return the mark's immediate effect.

    A mark that has already been made is not made again, but what it released is published once more. If the run is
    reopened, the caller continues it with `seed.resume`. If a job is to be stopped, the caller wakes the checker.
    A mark that was `accepted` may come late: it does nothing once the run has ended or been retried, and replaces no
    mark that was made later than `change`.

    Raises `RunNotFound`, `MarkError`, or `RunStateError` if the run's state does not allow the mark, or its
    subclass `RunContended` if it soon may.
    """
    for tries in range(1, _TRIES + 1):
        stored = load_run(outbox.services, run_id)
        if stored is None:
            raise RunNotFound(run_id)
        require_retries(stored.run, None if accepted is None else accepted.retries)
        if stored.run.state is RunState.RUNNING and (repeated := _repeat(outbox, run_id, wish, change)):
            return repeated
        named, effect, outputs = judge_wish(outbox.services, stored.run, wish)
        mark = Mark.of(wish.state, change, outputs=outputs)
        if accepted is not None:
            _require_timely(stored.run, named, effect, mark, accepted)
        if effect is Effect.REOPENS:
            _reopen(outbox, stored.run, named, mark, change)
            return effect
        if _put(outbox, stored, named.target, mark, change):
            return effect
        outbox.services.clock.sleep(pause(run_id, tries))
    raise RunContended(f"step {wish.step} of run {run_id} is being changed by someone else; check it and try again")


def _require_timely(run: RunRecord, named: Named, effect: Effect, mark: Mark, accepted: Accepted) -> None:
    """Raise `RunStateError` if an accepted mark comes too late.

    It does if the run has ended, or a later mark was made, since it was accepted.
    """
    if effect is Effect.REOPENS and not accepted.reopens:
        raise RunStateError(f"run {run.id} has ended since the mark was accepted: it is {run.state}")
    made = read_mark(named.target.step)
    if effect is not Effect.REOPENS and made is not None and made.at >= mark.at:
        raise RunStateError(f"step {shown_id(named.step.id)} of run {run.id} has since been {made.sentence}")


def _repeat(outbox: Outbox, run_id: str, wish: Wish, change: UserChange) -> Effect | None:
    """Republish what an identical, earlier mark released.

    Returns None if there is no such mark.
    """
    named = find_named(outbox.services, run_id, wish.step)
    for node in {one.id: one for one in (named.step, named.target.step)}.values():
        made = read_mark(node)
        mark = Mark.of(wish.state, change)._replace(retries=node.retries)
        if made is None or not mark.is_same(made):
            continue
        outputs = check_given(named.step, wish.state, wish.outputs, gathers=named.gathers)
        # Once a mark has taken effect, its outputs are stored as the step's.
        if _values_in(outputs) != (_values_in(made.outputs) or _stored_outputs(outbox.services, node)):
            continue
        ended_as = StepState.SKIPPED if node.kind is NodeKind.EXPAND else wish.state
        # An item that waited for its place may have been blocked instead.
        if node.state is ended_as and (node.by_choice or ended_as is StepState.SUCCEEDED):
            republish_below(outbox, run_id, [node])
            return Effect.ENDS
        if not node.state.is_terminal:
            _publish_waiting(outbox, node)
            return Effect.STOPS_JOB if node.state is StepState.RUNNING else Effect.WAITS
    return None


def _values_in(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text or "{}")
    return found


def _stored_outputs(services: Services, step: StepRecord) -> dict[str, Any]:
    """Return the outputs of a step that has succeeded, as JSON values."""
    if step.state is not StepState.SUCCEEDED or not step.outputs:
        return {}
    [found] = services.store.get([outputs_path(step.run_id, step.id)])
    return {} if found is None else _values_in(found.fields["values"])


def _put(outbox: Outbox, stored: StoredRun, target: StoredStep, mark: Mark, change: UserChange) -> bool:
    """Mark a step of a RUNNING run, and publish what that releases.

    Returns False if the run or the step has changed since it was read.
    """
    run = stored.run
    recorded = Update(path=run_path(run.id), fields=changes_fields(run.changes, change), guard=stored.version)
    marked = put_mark(target.step, mark, now=outbox.services.clock.now())
    saved = save(outbox, [Decision(stored=target, change=marked, companions=[recorded])])
    if saved.refused:
        return False
    log.info("step.marked", f"step {target.step.id} was {mark.sentence}", actor=mark.actor, **target.step.names)
    released = [*saved.released, *hand_on_places(outbox, saved.freed)]
    outbox.add_ready(run.id, [ReadyStep(step_id=step_id) for step_id in released])
    _publish_waiting(outbox, target.step)
    return True


def _publish_waiting(outbox: Outbox, step: StepRecord) -> None:
    """Publish an item that may have received its place while being marked."""
    if step.awaits_place or step.is_released:
        outbox.add_ready(step.run_id, [ReadyStep(step_id=step.id)])


def _reopen(outbox: Outbox, run: RunRecord, named: Named, mark: Mark, change: UserChange) -> None:
    """Reopen an ended run, with the mark for its next round."""
    step = named.reset.step
    # An earlier mark of a loop may not have taken effect; it stands at the node that would have created the items.
    replaced = next((one.id for one in (named.target.step, named.step) if one.has_open_mark and one.id != step.id), "")
    marked = mark._replace(retries=run.retries + 1).stored()
    writes = [Update(path=step_path(run.id, step.id), fields={"mark": marked})]
    if replaced:
        writes.append(Update(path=step_path(run.id, replaced), fields={"mark": None}))
    reopen_run(outbox, run.id, change, partial(select_marked, node_id=step.id), retries=run.retries, writes=writes)
    log.info("step.marked", f"step {step.id} was {mark.sentence}", actor=mark.actor, **step.names)
