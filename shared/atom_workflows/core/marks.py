"""End a step as a person decided: as succeeded or as skipped.

A mark is a decision about how a step ends in one round of its run: as succeeded, with the outputs that it declares, or
as skipped by choice. Its immediate effect depends on the states of the run and the step:

    the run       the step                                  the mark
    ------------  ----------------------------------------  --------------------------------------------------------
    RUNNING       released, in back-off, or not accepted    ends the step at once
                  waits for dependencies or for its place   ends it once it is released; then no trigger or condition
                                                            is evaluated, and no job is submitted
                  RUNNING                                   stops its job first, then ends the step
                  is being submitted                        is refused for the moment
                  has ended                                 is refused: its outcome has affected later steps
    has ended     anything but SUCCEEDED                    reopens the run as a retry does, resets the step and the
                                                            unsuccessful steps after it, and ends it once released

So a marked step, like any other, ends only after the steps before it. If one of them failed, that failure stands, and
the run fails in the end, as if the step had reacted to the failure.

A step with `forEach` that has not begun is marked at the node that would create its items. That node is then skipped,
and passes the mark on in the same commit.

The mark is stored with the step, and names the round for which it was made. It has no effect in any other round. If the
run is cancelled or times out before the step has ended as marked, a retry that resets the step carries the mark over to
the new round, unless a person named the step to run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from shlex import quote
from typing import Any, Final, NamedTuple

from atom_workflows.core.attempts import STOPPED, SUCCEEDED, keep_attempt
from atom_workflows.core.changes import StepChange, change, clear, end_step
from atom_workflows.core.evaluation import read_declared
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.outcomes import clip
from atom_workflows.core.outputs import read_outputs
from atom_workflows.core.records import RunRecord, StepRecord, StopFor
from atom_workflows.core.rerun import require_retriable
from atom_workflows.core.states import RunState, StepEvent, StepState
from atom_workflows.core.stopping import stop_for_mark
from atom_workflows.core.user_changes import UserChange, with_change
from atom_workflows.errors import MarkError, Remedy, RunContended, RunStateError

WORDS: Final[Mapping[StepState, str]] = {StepState.SUCCEEDED: "succeeded", StepState.SKIPPED: "skipped"}
"""The states that a person can give a step, in the words of the command."""

STATES: Final[Mapping[str, StepState]] = {word: state for state, word in WORDS.items()}

_EVENTS: Final = {StepState.SUCCEEDED: StepEvent.MARK_SUCCEEDED, StepState.SKIPPED: StepEvent.MARK_SKIPPED}


class Mark(NamedTuple):
    """A person's decision about how a step ends in one round.

    `retries` is the round of the step's run. `outputs` is the JSON text of the declared outputs, or "" if there are
    none or the step has already ended.
    """

    state: StepState
    at: datetime
    actor: str
    why: str = ""
    retries: int = 0
    outputs: str = ""

    @classmethod
    def of(cls, state: StepState, change: UserChange, *, outputs: str = "") -> Mark:
        """Make a mark from the change that a person asks for.

        Its texts are shortened to the lengths that a run stores.
        """
        (kept,) = with_change((), change)
        return cls(state=state, at=kept.at, actor=kept.actor, why=kept.why, outputs=outputs)

    def stored(self) -> dict[str, Any]:
        """Return the mark as it is stored in a step's document."""
        fields = {name: value for name, value in self._asdict().items() if value != ""}
        return {**fields, "state": self.state.value}

    def is_same(self, other: Mark | None) -> bool:
        """Return True if both are the same decision by the same person.

        The times may differ. The outputs are not compared, since a step that has ended does not keep them in its mark.
        """
        return other is not None and self._replace(at=other.at, outputs="") == other._replace(outputs="")

    @property
    def sentence(self) -> str:
        """Who marked the step, as what, and why."""
        return clip(f"marked as {WORDS[self.state]} by {self.actor}{f': {self.why}' if self.why else ''}")


def read_mark(step: StepRecord) -> Mark | None:
    """Return a step's mark for this round of its run, or None."""
    return stored_mark(step) if step.is_marked else None


def stored_mark(step: StepRecord) -> Mark:
    """Return the mark in a step's document, whatever round it is for."""
    assert step.mark is not None  # noqa: S101 (callers have checked)
    known = {name: value for name, value in step.mark.items() if name in Mark._fields}
    return Mark(**{**known, "state": StepState(known["state"])})


class Effect(StrEnum):
    """The immediate effect of a mark. The values are part of the JSON output."""

    ENDS = "ends"
    # The step ends once it is released.
    WAITS = "waits"
    # The step ends once its job has been stopped.
    STOPS_JOB = "stops_job"
    # The run is reopened, and the step ends once it is released.
    REOPENS = "reopens"


def require_markable(run: RunRecord, *, now: datetime) -> None:
    """Raise `RunStateError` if no step of the run can be marked now.

    The run's steps need not be known.
    """
    if run.state in {RunState.QUEUED, RunState.SEEDING}:
        raise RunStateError(f"run {run.id} is {run.state}; its steps can be marked once it is RUNNING")
    if run.state.is_terminal:
        require_retriable(run, now=now, is_selective=True)
        if run.started_at is None:
            starts = Remedy(f"`atom-workflows runs retry {run.id}` starts it", "a retry starts it")
            raise RunStateError(f"run {run.id} has never begun", remedy=starts)


def judge_mark(run: RunRecord, step: StepRecord, state: StepState, *, expander: StepRecord | None) -> Effect:
    """Determine a mark's immediate effect, after `require_markable` has allowed it.

    `step` is a node that users see. `expander` is the node that creates the items of a step with `forEach`, or of an
    item's step. Raises `MarkError`, or `RunStateError` if the run's state does not allow the mark, or its subclass
    `RunContended` if it soon may.
    """
    if step.state is StepState.SUCCEEDED or (state is StepState.SKIPPED and step.by_choice):
        once = "" if run.state.is_terminal else "once the run has ended, "
        command = f"atom-workflows runs retry {run.id} --only {quote(shown_id(step.id))}"
        again = Remedy(f"{once}`{command}` runs it again", f'{once}a retry with it in "only" runs it again')
        raise MarkError(f"{_named(step)} is already {step.state}", remedy=again)
    if run.state.is_terminal:
        if step.kind is NodeKind.ITEM and step.phase is Phase.FINALLY:
            raise MarkError(f"{_named(step)} is under `finally`, where reopening the run creates all items again")
        return Effect.REOPENS
    if run.stop is not None:
        raise RunStateError(f"run {run.id} is being ended ({run.stop.reason}); mark the step once the run has ended")
    if step.state.is_terminal:
        raise MarkError(
            f"{_named(step)} is {step.state}, which has affected the steps after it; mark it once the run has ended",
            remedy=Remedy(f"`atom-workflows runs cancel {run.id}` ends it", "a cancel ends it"),
        )
    if step.kind is NodeKind.GATHER:
        return _judge_loop(step, expander)
    return _judge_open(step)


def _judge_loop(step: StepRecord, expander: StepRecord | None) -> Effect:
    if expander is None or expander.state is not StepState.PENDING:
        raise MarkError(
            f"the items of {_named(step)} have begun; mark individual items, such as '{step.id}[0]', or the step once "
            "the run has ended"
        )
    return Effect.ENDS if expander.is_released else Effect.WAITS


def _judge_open(step: StepRecord) -> Effect:
    if step.state is StepState.RUNNING:
        return Effect.STOPS_JOB
    if step.state is StepState.DISPATCHING and not step.answered:
        raise RunContended(f"{_named(step)} is being submitted to its Task Runner; try again in a few seconds")
    return Effect.WAITS if step.state is StepState.PENDING and not step.is_released else Effect.ENDS


def check_given(
    step: StepRecord, state: StepState, given: Mapping[str, Any], *, gathers: StepRecord | None = None
) -> str:
    """Return the outputs supplied by a person, as JSON text.

    The text is "" if the step declares none. The outputs are checked like those of a job, except that
    undeclared ones are refused. For an item, `gathers` is its step. Raises `MarkError`.
    """
    declared = ", ".join(step.outputs) or "none"
    if state is StepState.SKIPPED:
        if given:
            raise MarkError(f"a skipped step has no outputs, so {_named(step)} cannot have {', '.join(given)}")
        _require_nullable(step, gathers)
        return ""
    for name in given:
        if name not in step.outputs:
            from atom_workflows.expressions.names import nearest  # noqa: PLC0415 (only steps with outputs need it)

            near = nearest(name, step.outputs)
            hint = f"did you mean {near}?" if near else f"it declares {declared}"
            raise MarkError(f"{_named(step)} does not declare the output {name:.80}; {hint}")
    # The limits apply to what is supplied, as they do to what a job returns.
    received = read_outputs(dict(given)) if given else None
    if received is not None and received.problem:
        raise MarkError(f"{_named(step)} cannot be marked: {received.problem}")
    values = read_declared(step, json.loads(received.text) if received is not None else {})
    if isinstance(values, str):
        raise MarkError(f"{_named(step)} needs the outputs that it declares ({declared}): {values}")
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) if values else ""


def _require_nullable(item: StepRecord, gathers: StepRecord | None) -> None:
    """Refuse to skip an item whose gathered list cannot hold null."""
    if item.kind is not NodeKind.ITEM or gathers is None or not gathers.outputs:
        return
    from atom_workflows.expressions.types import ListOf, OrNull  # noqa: PLC0415 (only steps with outputs need it)

    if strict := [
        name for name, of in gathers.outputs.items() if isinstance(of, ListOf) and not isinstance(of.item, OrNull)
    ]:
        raise MarkError(
            f"{_named(item)} cannot be skipped: the outputs {', '.join(strict)} of step {gathers.id} are lists that "
            "cannot hold null, so they need a value from each item; mark it as succeeded, with its outputs"
        )


def put_mark(step: StepRecord, mark: Mark, *, now: datetime) -> StepChange:
    """Mark a step of a RUNNING run, after `judge_mark` has allowed it.

    A step with `forEach` is marked at the node that would create its items.
    """
    mark = mark._replace(retries=step.retries)
    marked = replace(step, mark=mark.stored())
    if step.state is StepState.RUNNING:
        stopping = stop_for_mark(step, mark.sentence, now=now)
        # The wait for the job's end counts from the first mark.
        is_first = step.being_stopped_for != StopFor.MARK
        kept = {} if is_first else {"stop_since": step.stop_since or now, "stop_stage": step.stop_stage}
        return replace(stopping, event=StepEvent.MARK, fields={**stopping.fields, **kept, "mark": mark.stored()})
    if step.state is StepState.PENDING and not step.is_released:
        return change(step, StepEvent.MARK, mark=mark.stored())
    return end_marked(marked, now=now)


def end_marked(
    step: StepRecord, *, now: datetime, learnt: Mapping[str, Any] | None = None, has_succeeded: bool = False
) -> StepChange:
    """End a marked step.

    `learnt` holds the fields that say how its job ended, if one was stopped, and `has_succeeded` is True if that
    job succeeded nevertheless. An attempt that was under way is kept among the earlier ones.
    """
    mark = read_mark(step)
    assert mark is not None  # noqa: S101 (callers have checked)
    fields = dict(learnt or {})
    kept = keep_attempt(step, SUCCEEDED if has_succeeded else STOPPED, now=now, fields=fields)
    # The node that would create items hands the outputs on to its step.
    left = mark if step.kind is NodeKind.EXPAND else mark._replace(outputs="")
    own = {"message": mark.sentence, "mark": left.stored(), **clear(step, "stop_for")}
    if step.reason or fields.get("reason"):
        own["reason"] = ""
    if step.cause:
        own["cause"] = None
    skips = mark.state is StepState.SKIPPED or step.kind is NodeKind.EXPAND
    if skips:
        own |= {"by_choice": True, "because": mark.sentence}
    event = StepEvent.MARK_SKIPPED if skips else _EVENTS[mark.state]
    ended = end_step(step, event, now, **{**fields, **kept, **own})
    outputs = json.loads(mark.outputs) if mark.outputs and not skips else None
    return replace(ended, outputs=outputs)


def _named(step: StepRecord) -> str:
    return f"{'item' if step.kind is NodeKind.ITEM else 'step'} {shown_id(step.id)}"
