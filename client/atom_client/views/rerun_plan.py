"""What a retry would run again, and why, before it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from atom_client.text import counted, listing
from atom_client.views.loops import is_shown
from atom_client.views.queries import in_order
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import expander_id, shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.records import StepRecord
from atom_workflows.core.rerun import dependents_of, find_unsuccessful
from atom_workflows.core.selection import Selection
from atom_workflows.core.states import StepState

HEADING: Final = ("STEP", "STATE", "RUNS AGAIN BECAUSE")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunPlan:
    """The nodes of a run by id, the ids of those that run again, and the selection that chose them, if any."""

    nodes: Mapping[str, StepRecord]
    again: frozenset[str]
    selection: Selection | None

    @property
    def steps(self) -> Sequence[StepRecord]:
        """The user's steps that run again, in the order in which they ran before."""
        return [step for step in in_order(self.nodes.values()) if step.id in self.again]

    @property
    def kept(self) -> Sequence[StepRecord]:
        """The user's other steps, in the order in which they ran."""
        return [step for step in in_order(self.nodes.values()) if step.id not in self.again]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield the cells of a table with the steps that run again."""
        for step in self.steps:
            yield step.id, step.state.value, self._why(step)

    def notes(self) -> Iterator[str]:
        """Yield sentences about the steps that do not run again."""
        below, kept = dependents_of(self.nodes), {step.id for step in self.kept}
        stale = [name for step in self.steps for name in self._shown_below(below, step.id) if name in kept]
        failed = [step.id for step in self.kept if step.id in find_unsuccessful(self.nodes)]
        if kept:
            yield f"{counted(len(kept), 'step')} will be kept as they are." if len(kept) > 1 else "1 step will be kept."
        if stale:
            names = list(dict.fromkeys(stale))
            they, their, steps = ("It", "its", "step") if len(names) == 1 else ("They", "their", "steps")
            yield (
                f"{listing(names)} will be kept although the preceding {steps} will run again. {they} will keep "
                f"{their} old results even if the inputs change; --from runs everything after a step again."
            )
        if failed:
            stay = "stays" if len(failed) == 1 else "stay"
            yield (
                f"{listing(failed)} {stay} unsuccessful, so the run will fail again; add --failed to run unsuccessful "
                "steps again, too."
            )

    def _why(self, step: StepRecord) -> str:
        selection, expander = self.selection or Selection(), self.nodes.get(expander_id(step.id))
        own = {step.id, *([] if expander is None else [expander.id])}
        for option, names in (("--from", selection.first), ("--only", selection.only)):
            if own & set(names):
                return option
            items = [name for name in names if name in self.nodes and self.nodes[name].each == step.id]
            if items and (expander is None or expander.id not in self.again):
                return f"{option} {', '.join(shown_id(name) for name in items[:3])}{', …' if len(items) > 3 else ''}"  # noqa: PLR2004 - a few
        if step.phase is Phase.FINALLY:
            return "it is under `finally`"
        if step.state is not StepState.SUCCEEDED and step.id in find_unsuccessful({step.id: step}):
            return f"it is {step.state}"
        before = self._step_before(step)
        return f"it comes after `{before}`" if before else f"it is {step.state}"

    def _step_before(self, step: StepRecord) -> str:
        """Return the nearest step before this one that runs again, or ""."""
        pending, seen = [step.id], set[str]()
        while pending:
            name = pending.pop(0)
            for need in self.nodes[name].depends_on:
                if need not in self.again or need in seen or need not in self.nodes:
                    continue
                if is_shown(self.nodes[need]):
                    return need
                seen.add(need)
                pending.append(need)
        return ""

    def _shown_below(self, below: Mapping[str, Sequence[str]], step_id: str) -> Iterator[str]:
        """Yield the user's steps that depend on a step, through nodes that users do not see."""
        for name in below[step_id]:
            node = self.nodes[name]
            if node.kind is NodeKind.EXPAND:
                yield node.each
            elif is_internal(name):
                yield from self._shown_below(below, name)
            else:
                yield name
