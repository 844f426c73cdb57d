"""Marks on steps: what a person asks for, and its effect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from atom_client.deployment import with_place
from atom_client.errors import Failure
from atom_client.text import listing
from atom_client.views.loops import items_text
from atom_client.views.mark_plan import MarkPlan
from atom_client.views.queries import read_outlines, similar_step
from atom_workflows.coordinator.marks import Accepted, Wish, find_named, judge_wish
from atom_workflows.coordinator.reopening import require_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.evaluation import read_each_declared
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.marks import Effect
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState
from atom_workflows.errors import MarkError, SelectionError, ValueMismatch

_DIGEST_LENGTH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedMark:
    """A mark as a person requested it.

    `texts` has outputs as typed, by name. They take precedence over `values`, which has JSON values.
    """

    step_id: str
    state: StepState
    texts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def outputs_of(self, step: StepRecord) -> dict[str, Any]:
        """Return the outputs as JSON values."""
        return {**self.values, **{name: _read_value(step, name, text) for name, text in self.texts.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMark:
    """An allowed mark, and its effect on the run as read."""

    plan: MarkPlan
    wish: Wish
    accepted: Accepted

    @property
    def digest(self) -> str:
        """A digest of the mark and of what decides its effect.

        Progress of other steps in an open run does not change it.
        """
        plan, step, run = self.plan, self.plan.step, self.plan.run
        marks = [one.mark for name in (step.id, expander_id(step.id)) if (one := plan.rerun.nodes.get(name))]
        again = plan.rerun.digest if plan.effect is Effect.REOPENS else ""
        wish = [step.id, plan.state.value, dict(self.wish.outputs)]
        before = [run.state.value, run.retries, step.state.value, step.attempt, marks, again]
        seen = [*wish, plan.effect.value, *before]
        text = json.dumps(seen, sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST_LENGTH]


def plan_mark(services: Services, run: RunRecord, asked: AskedMark) -> PlannedMark:
    """Determine what a mark would do.

    Raises `Failure` if the step does not exist or cannot be marked, and `RunStateError` if the run does not allow it.
    """
    try:
        named = find_named(services, run.id, asked.step_id)
        wish = Wish(step=asked.step_id, state=asked.state, outputs=asked.outputs_of(named.step))
        _, effect, _ = judge_wish(services, run, wish)
        if effect is Effect.REOPENS:
            require_alone(services, run)
        plan = MarkPlan.of(run, read_outlines(services.store, run.id), named.step, asked.state, effect)
    except MarkError as error:
        raise _with_hint(services, run, error) from error
    except SelectionError as error:
        raise Failure(f"step {asked.step_id} cannot be marked in run {run.id}: {error}") from error
    return PlannedMark(plan=plan, wish=wish, accepted=Accepted.of(run, named, effect, now=services.clock.now()))


def find_step(services: Services, run: RunRecord, step_id: str) -> StepRecord:
    """Return the step or item that a person named.

    Raises `Failure` if there is none.
    """
    try:
        return find_named(services, run.id, step_id).step
    except MarkError as error:
        raise _with_hint(services, run, error) from error


def output_problems(step: StepRecord, asked: AskedMark) -> dict[str, str]:
    """Return the problems of the declared outputs, by name.

    A skipped step has none.
    """
    if asked.state is StepState.SKIPPED:
        return {}
    _, problems = read_each_declared(step, asked.outputs_of(step))
    return problems


def _read_value(step: StepRecord, name: str, text: str) -> Any:
    """Return the value that the user typed.

    It is the text itself if the declared type accepts it, or else the JSON value in the text, if it is JSON.
    """
    if name in step.outputs:
        from atom_workflows.core.reads import zone_of  # noqa: PLC0415 (only steps with outputs need it)
        from atom_workflows.expressions.types import read_value  # noqa: PLC0415 (see above)

        with suppress(ValueMismatch):
            read_value(text, step.outputs[name], zone=zone_of(step.constants))
            return text
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def _with_hint(services: Services, run: RunRecord, error: MarkError) -> Failure:
    """Add a hint about the intended step to the error."""
    if not error.name:
        return Failure(str(error))
    if items := items_text(read_outlines(services.store, run.id), error.name):
        return Failure(f"{error}; {items}")
    meant = similar_step(services.store, run, error.name)
    lists = f"`{with_place(f'runs show {run.id}')}` lists its steps"
    return Failure(f"{error}; {f'did you mean {listing([meant])}?' if meant and meant != error.name else lists}")
