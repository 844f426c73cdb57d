"""What marking a step would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atom_client.text import counted, listing, local_time, one_line
from atom_client.views.loops import is_shown
from atom_client.views.queries import in_order
from atom_client.views.rerun_plan import RerunPlan, fails_again
from atom_workflows.core.graph import END_ID, MAIN_END_ID, is_internal
from atom_workflows.core.item_ids import expander_id, shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.marks import WORDS, Effect, stored_mark
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.rerun import dependents_of, find_unsuccessful, steps_to_rerun
from atom_workflows.core.selection import select_marked
from atom_workflows.core.states import StepState

_MOST: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPlan:
    """A mark, its run's nodes by id, and what it releases.

    `again` are the user's steps that are decided again if the run is reopened. In a run that continues, `released` are
    those that wait for nothing but the marked step, and `waiting` those that also wait for others, by id.
    """

    run: RunRecord
    step: StepRecord
    state: StepState
    effect: Effect
    rerun: RerunPlan
    released: Sequence[str] = ()
    waiting: Mapping[str, Sequence[str]]

    @classmethod
    def of(
        cls, run: RunRecord, nodes: Mapping[str, StepRecord], step: StepRecord, state: StepState, effect: Effect
    ) -> MarkPlan:
        """Find out what a mark releases.

        Raises `SelectionError` if the run cannot be reopened with it.
        """
        if effect is Effect.REOPENS:
            selection = select_marked(nodes, node_id=step.id)
            again = steps_to_rerun(nodes, retries=run.retries + 1, selection=selection)
            rerun = RerunPlan(run=run, nodes=nodes, again=frozenset(again), selection=selection, marked=step.id)
            return cls(run=run, step=step, state=state, effect=effect, rerun=rerun, waiting={})
        rerun = RerunPlan(run=run, nodes=nodes, again=frozenset(), selection=None)
        below = dependents_of(nodes)
        open_before = {
            name: [need for need in _shown_before(nodes, name) if need != step.id and not nodes[need].state.is_terminal]
            for name in dict.fromkeys(_shown_below(nodes, below, step.id))
            if not nodes[name].state.is_terminal
        }
        return cls(
            run=run,
            step=step,
            state=state,
            effect=effect,
            rerun=rerun,
            released=[name for name, needs in open_before.items() if not needs],
            waiting={name: needs for name, needs in open_before.items() if needs},
        )

    @property
    def again(self) -> list[str]:
        """The ids of the other steps that are decided again."""
        return [step.id for step in self.rerun.steps if step.id != self.step.id]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield table rows with the other steps that are decided again."""
        return (row for row in self.rerun.rows() if row[0] != self.step.id)

    def as_fields(self) -> dict[str, Any]:
        """Return the plan as fields for JSON output."""
        return {
            "run_id": self.run.id,
            "run": self.run.id,
            "step": shown_id(self.step.id),
            "state": self.state.value,
            "effect": self.effect.value,
            "again": self.again,
            "released": list(self.released),
            "waiting": {name: list(needs) for name, needs in self.waiting.items()},
        }

    def sentences(self) -> Iterator[str]:
        """Yield sentences about what the mark does."""
        yield self._about_step()
        yield from self._about_replaced()
        if self.state is StepState.SKIPPED and self.step.outputs:
            yield (
                f"A skipped step has no outputs: expressions that read {listing(list(self.step.outputs))} from it get "
                "null, and steps whose expressions need a value fail."
            )
        yield from self._about_reopened() if self.effect is Effect.REOPENS else self._about_others()

    def _about_step(self) -> str:
        step, state = f"{self._kind.capitalize()} {listing([shown_id(self.step.id)])}", self.state
        if self.effect is Effect.ENDS:
            unsure = f" Attempt {self.step.attempt} may have started a job, which will not be stopped."
            return f"{step} is {self.step.state}, and will be {state} at once.{unsure if self.step.is_unsure else ''}"
        if self.effect is Effect.STOPS_JOB:
            return (
                f"{step} is RUNNING: its job {self.step.job_id} will be stopped first, and then the {self._kind} will "
                f"be {state}. If the job cannot be stopped, the {self._kind} ends anyway, usually within ten minutes."
            )
        if self.effect is Effect.REOPENS:
            return (
                f"{step} is {self.step.state}, and run {self.run.id} is {self.run.state}. The run will be continued, "
                f"and the {self._kind} will be {state} without being run."
            )
        waits = "gets a place" if self.step.awaits_place else "would begin"
        return f"{step} has not begun. Once it {waits}, it will be {state} without being run."

    def _about_replaced(self) -> Iterator[str]:
        """Say which earlier mark this one replaces."""
        named = (self.rerun.nodes.get(name) for name in (expander_id(self.step.id), self.step.id))
        node = next((one for one in named if one is not None and one.has_open_mark), None)
        if node is not None:
            mark = stored_mark(node)
            why = f": {one_line(mark.why)}" if mark.why else ""
            by = f"{one_line(mark.actor)} marked it as {WORDS[mark.state]} at {local_time(mark.at)}{why}"
            yield f"This replaces an earlier mark: {by}."

    def _about_others(self) -> Iterator[str]:
        when = "Then" if self.effect is not Effect.ENDS else "At once"
        if self.released:
            goes_on = "will be decided" if self.state is StepState.SKIPPED else "will begin"
            yield f"{when}, the steps that wait only for it {goes_on}: {listing(list(self.released))}."
        for name, needs in list(self.waiting.items())[:_MOST]:
            yield f"{listing([name])} will still be waiting for {listing(list(needs))}."
        if not self.released and not self.waiting:
            last = [one.id for one in in_order(self.rerun.nodes.values()) if one.phase is Phase.FINALLY]
            if last and self.step.phase is Phase.MAIN:
                yield f"No other step depends on it; {listing(last)} under `finally` will run after the main steps."
            else:
                yield "No other step is waiting for it."

    def _about_reopened(self) -> Iterator[str]:
        nodes = self.rerun.nodes
        kept = [step for step in in_order(nodes.values()) if step.id not in self.rerun.again]
        failed = [step.id for step in kept if step.id in find_unsuccessful(nodes) and step.id != self.step.id]
        if kept:
            yield f"{counted(len(kept), 'other step')} will be kept."
        yield from (line for line in self.rerun.about_marks() if not line.startswith(f"{listing([self.step.id])} "))
        if failed:
            stay, fails = "stays" if len(failed) == 1 else "stay", fails_again(self.run)
            yield (
                f"{listing(failed)} {stay} unsuccessful, so the run will {fails}; `runs retry` then reruns what "
                "did not succeed."
            )

    @property
    def _kind(self) -> str:
        return "item" if self.step.kind is NodeKind.ITEM else "step"


def _shown_below(nodes: Mapping[str, StepRecord], below: Mapping[str, Sequence[str]], step_id: str) -> Iterator[str]:
    """Yield the user's steps that depend on a step."""
    for name in below.get(step_id, ()):
        node = nodes[name]
        if node.kind is NodeKind.EXPAND:
            yield node.each
        elif is_shown(node):
            yield name
        elif name not in {END_ID, MAIN_END_ID}:
            yield from _shown_below(nodes, below, name)


def _shown_before(nodes: Mapping[str, StepRecord], step_id: str) -> Iterator[str]:
    """Yield the user's steps and items that a step depends on."""
    for name in nodes[step_id].depends_on:
        if name not in nodes:
            continue
        if is_internal(name):
            yield from _shown_before(nodes, name)
        else:
            yield name
