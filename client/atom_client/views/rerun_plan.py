"""What a retry would run again, and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from atom_client.deployment import with_place
from atom_client.errors import Failure
from atom_client.text import counted, listing, one_line
from atom_client.views.blocked_reruns import find_blocked
from atom_client.views.loops import count_nodes, is_shown, items_text
from atom_client.views.queries import in_order, read_outlines, similar_step
from atom_workflows.coordinator.reopening import require_alone
from atom_workflows.coordinator.services import Services
from atom_workflows.core.graph import is_internal
from atom_workflows.core.item_ids import expander_id, shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.rerun import dependents_of, find_unsuccessful, require_retriable, steps_to_rerun
from atom_workflows.core.selection import Selection, select
from atom_workflows.core.states import RunState, StepState
from atom_workflows.errors import SelectionError

HEADING: Final = ("STEP", "STATE", "RUNS AGAIN BECAUSE")
_DIGEST_LENGTH: Final = 16
_MOST_MARKS: Final = 5


AS_STARTED: Final = "using the file as it was when the run was started. If the file has changed, add --with FILE."


class RerunWords(NamedTuple):
    """What a retry's choices are called where the user makes them.

    `first` and `only` are followed by the chosen items; `step`, if given, stands for a chosen step.
    """

    heading: Sequence[str] = HEADING
    first: str = "--from"
    only: str = "--only"
    step: str = ""
    reruns_all: str = "--from runs everything after a step again"
    adds_failed: str = "add --failed to run unsuccessful steps again, too"


OF_COMMANDS: Final = RerunWords()


class Chosen(NamedTuple):
    """A user's choices for a retry: `--from`, `--only` and `--failed`."""

    first: Sequence[str] = ()
    only: Sequence[str] = ()
    failed: bool = False

    @property
    def is_selective(self) -> bool:
        """True if any step is named."""
        return bool(self.first or self.only)


@dataclass(frozen=True, kw_only=True)
class RerunPlan:
    """What a retry would run again.

    Holds the nodes of a run by id, the ids of those that run again, and the selection that chose them, if any.
    """

    run: RunRecord
    nodes: Mapping[str, StepRecord]
    again: frozenset[str]
    selection: Selection | None
    words: RerunWords = OF_COMMANDS
    # The node that a person is about to mark, if that is why the run is reopened.
    marked: str = ""

    @property
    def has_never_begun(self) -> bool:
        """True if the run was cancelled while it was QUEUED.

        Its steps were never written.
        """
        return self.run.started_at is None and len(self.steps) + len(self.kept) < self.run.step_count

    @cached_property
    def blocked(self) -> Mapping[str, str]:
        """The reset nodes that cannot run.

        Each is mapped to the kept failure that blocks it.
        """
        return (
            {} if self.selection is None else find_blocked(self.nodes, self.again, self.selection, marked=self.marked)
        )

    @property
    def count(self) -> int:
        """How many of the user's steps run again."""
        return self.run.step_count if self.has_never_begun else len(self.steps)

    @property
    def summary(self) -> str:
        """What the retry does, and how many steps it runs."""
        return f"{self._does}.{self._lists}"

    @property
    def sentence(self) -> str:
        """The summary, with the version of the file that is used."""
        return f"{self._does}, {AS_STARTED}{self._lists}"

    @property
    def _does(self) -> str:
        if self.has_never_begun:
            return f"Run {self.run.id} starts with {counted(self.count, 'step')}"
        to_run = [self.nodes[name] for name in self.again - self.blocked.keys() if name in self.nodes]
        if self.blocked and not any(map(is_shown, to_run)):
            return f"Run {self.run.id} continues, but none of its steps can run"
        return f"Run {self.run.id} continues: {count_nodes(to_run)} will run again"

    @property
    def _lists(self) -> str:
        to_run = self.again - self.blocked.keys()
        expanders = [node for node in self.nodes.values() if node.kind is NodeKind.EXPAND and node.id in to_run]
        loops = [node.each for node in expanders if node.items]
        return f" The lists of {listing(loops)} are computed again, and all of their items run." if loops else ""

    def about_marks(self) -> Iterator[str]:
        """Yield sentences about marked steps that a stop ended first."""
        marked = [node for node in self.nodes.values() if node.id in self.again and node.has_open_mark]
        if not marked:
            return
        from atom_workflows.core.marks import WORDS, stored_mark  # noqa: PLC0415 (people mark few steps)

        for node in marked[:_MOST_MARKS]:
            mark, name = stored_mark(node), listing([node.each if node.kind is NodeKind.EXPAND else shown_id(node.id)])
            by = f"as {one_line(mark.actor)} marked it"
            if self.selection is not None and self.selection.names(node.id):
                yield f"{name} will run, and not end as {WORDS[mark.state]}, {by}: you named it."
            else:
                yield f"{name} will not run, but end as {WORDS[mark.state]}, {by}."
        if len(marked) > _MOST_MARKS:
            yield f"{counted(len(marked) - _MOST_MARKS, 'more step')} will end as marked."

    @property
    def digest(self) -> str:
        """A digest of what runs again and what is kept.

        It changes whenever anything that matters to the retry changes.
        """
        run, nodes = self.run, sorted(self.nodes.values(), key=lambda node: node.id)
        states = [(node.id, node.state.value, node.id in self.again) for node in nodes]
        seen = (run.state.value, run.retries, str(run.finished_at), states)
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:_DIGEST_LENGTH]

    @property
    def steps(self) -> Sequence[StepRecord]:
        """The user's steps that run again, in their previous order."""
        return [step for step in in_order(self.nodes.values()) if step.id in self.again]

    @property
    def kept(self) -> Sequence[StepRecord]:
        """The user's other steps, in the order in which they ran."""
        return [step for step in in_order(self.nodes.values()) if step.id not in self.again]

    def as_fields(self) -> dict[str, Any]:
        """Return the plan's fields for JSON output."""
        items = sum(node.kind is NodeKind.ITEM for node in self.nodes.values() if node.id in self.again)
        again = [step.id for step in self.steps]
        return {
            "run_id": self.run.id,
            "run": self.run.id,
            "steps": self.count,
            "items": items,
            "again": again,
            "blocked": [name for name in again if name in self.blocked],
        }

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
                f"{their} old results even if the inputs change; {self.words.reruns_all}."
            )
        if failed:
            stay, fails = "stays" if len(failed) == 1 else "stay", fails_again(self.run)
            blocked = [step.id for step in self.steps if step.id in self.blocked]
            cannot = f"{listing(blocked)} cannot run and will be skipped, since " if blocked else ""
            yield f"{cannot}{listing(failed)} {stay} unsuccessful, so the run will {fails}; {self.words.adds_failed}."
        yield from self.about_marks()

    def _why(self, step: StepRecord) -> str:
        if step.id in self.blocked:
            return f"cannot run: `{shown_id(self.blocked[step.id])}` stays unsuccessful"
        selection, expander = self.selection or Selection(), self.nodes.get(expander_id(step.id))
        own = {step.id, *([] if expander is None else [expander.id])}
        for option, names in ((self.words.first, selection.first), (self.words.only, selection.only)):
            if own & set(names):
                return self.words.step or option
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
        """Yield the user's steps that depend on a step.

        The search looks through nodes that users do not see.
        """
        for name in below[step_id]:
            node = self.nodes[name]
            if node.kind is NodeKind.EXPAND:
                yield node.each
            elif is_internal(name):
                yield from self._shown_below(below, name)
            else:
                yield name


def fails_again(run: RunRecord) -> str:
    """Say that the run will fail, and if it has failed before."""
    return "fail again" if run.state is RunState.FAILED else "fail"


def plan_rerun(services: Services, run: RunRecord, chosen: Chosen, words: RerunWords = OF_COMMANDS) -> RerunPlan:
    """Determine what a retry would run again.

    Raises `Failure` if a named step does not exist, and `RunStateError` if the run cannot be retried.
    """
    store = services.store
    nodes = read_outlines(store, run.id)
    require_retriable(run, now=services.clock.now(), is_selective=chosen.is_selective)
    require_alone(services, run)
    try:
        selection = select(nodes, first=chosen.first, only=chosen.only, failed=chosen.failed)
    except SelectionError as error:
        meant = similar_step(store, run, error.name) if error.name else None
        lists = f"`{with_place(f'runs show {run.id}')}` lists its steps" if error.name else ""
        hint = f"did you mean {listing([meant])}?" if meant and meant != error.name else lists
        hint = items_text(nodes, error.name) or hint
        raise Failure(f"{error} in run {run.id}; {hint}" if error.name else str(error)) from error
    again = steps_to_rerun(nodes, retries=run.retries + 1, selection=selection)
    return RerunPlan(run=run, nodes=nodes, again=frozenset(again), selection=selection, words=words)
