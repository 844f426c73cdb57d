"""Decide which steps of an ended run a new run can keep.

The file or parameters of the new run were edited. A step is kept if it succeeded, what it runs and the values that it
reads are unchanged, and every step before it is kept. A step that was skipped by choice is kept in the same way, since
it would be skipped again. If edited dependencies change what a step's trigger decides, the step is not kept. The steps
under `finally` always run again, because they follow the whole run.

Two nodes are compared by what the store holds for the earlier one and would hold for the other: the new file is
compiled with the earlier run's id and times, so that these do not count as differences. Only digests of each node are
kept in memory, since a run has up to 10,000 steps, and each task may be 64 KB in size. What counts:

    runs the step again                                    changes nothing
    ---------------------------------------------------   -----------------------------------------------------------
    the task's name, image, engine, url and args           its machine (scaleTier, masterType) and labels
    `when`, `trigger`                                      `timeout`, `retry`, `onLost`, `allowFailure`, descriptions
    the declared outputs                                   the order of the file, comments, and the spelling of YAML
    the lists of a loop and its `tolerate`                 `maxParallel`
    the values of params, env and run that it reads        `run.id`, `run.createdAt`, and values that it does not read
    a step that it newly depends on                        a removed dependency, or one on a step already before it
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from graphlib import TopologicalSorter
from typing import Any, Final, NamedTuple

from atom_workflows.core.graph import Node
from atom_workflows.core.item_ids import expander_id
from atom_workflows.core.kinds import Counters, NodeKind, Phase, Release, decide_release
from atom_workflows.core.reads import paths_in, select_constants
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.retention import is_nearly_gone
from atom_workflows.core.run_values import run_values
from atom_workflows.core.states import RunState, StepState
from atom_workflows.core.workflow import Condition, Step, Template, Trigger, Workflow
from atom_workflows.errors import RunStateError

MOST_REPAIRS: Final = 20
"""The maximum number of later runs that a run remembers as its repairs."""

_DIGEST_LENGTH: Final = 16
_MOST_NAMED: Final = 3
_ANY: Final = ""
"""Used in place of a name if an expression may read any value under its root."""


# -- whether a run can be repaired -----------------------------------------------------------------------------------


def require_reusable(run: RunRecord, *, now: datetime) -> None:
    """Raise `RunStateError` if a new run cannot keep steps of this one."""
    if not run.state.is_terminal:
        raise RunStateError(f"run {run.id} is {run.state}; wait for it to end, or cancel it first")
    if run.state in {RunState.INVALID, RunState.SKIPPED} or run.started_at is None:
        raise RunStateError(f"run {run.id} is {run.state} and has no steps to keep; start its workflow again")
    if is_nearly_gone(run.expire_at, now=now):
        gone_at = f"{run.expire_at:%Y-%m-%d %H:%M} UTC"
        raise RunStateError(f"run {run.id} will be deleted at {gone_at}, too soon to keep its steps; start it again")


def require_no_other(run: RunRecord, relatives: Iterable[RunRecord]) -> None:
    """Raise `RunStateError` if a relative of this run is open.

    Relatives are the run that this one repairs, other repairs of that run, and repairs of this one. They belong to the
    same scheduled time, and would run the same steps at the same time, with jobs that write to the same places.
    """
    for other in relatives:
        if not other.state.is_terminal:
            how = f"already repairs run {other.repairs}" if other.repairs else f"is repaired by run {run.id}"
            raise RunStateError(f"run {other.id} {how}, and is {other.state}; wait for it to end, or cancel it")


# -- what is compared ------------------------------------------------------------------------------------------------


class Part(StrEnum):
    """The parts of a step that are compared, and the words for them. Reasons list the parts in this order."""

    KIND = "kind of step"
    TASK = "task"
    IMAGE = "image"
    ENGINE = "engine"
    URL = "url"
    ARGS = "args"
    CONDITION = "condition"
    TRIGGER = "trigger"
    OUTPUTS = "declared outputs"
    LOOP = "forEach"
    # The values and types that its expressions read, as far as these have not been replaced by their results.
    VALUES = "values read"


_TASK_FIELDS: Final[Mapping[str, Part]] = {
    "job_name": Part.TASK,
    "imageUri": Part.IMAGE,
    "engine": Part.ENGINE,
    "url": Part.URL,
    "args": Part.ARGS,
}
"""The fields of a job's body that decide what it runs."""


class Facts(NamedTuple):
    """The facts about a node that are compared, without its task."""

    kind: NodeKind
    state: StepState
    by_choice: bool
    phase: Phase
    depends_on: tuple[str, ...]
    parts: Mapping[Part, str]
    # The outputs that a step gathers from its items, and their types.
    gathers: Mapping[str, Any]
    # True if its trigger skipped it, given how its dependencies had ended.
    by_trigger: bool


def facts_of(node: StepRecord) -> Facts:
    """Return the facts about a node that are compared.

    The node must have been read with its task.
    """
    return Facts(
        kind=node.kind,
        state=node.state,
        by_choice=node.by_choice,
        phase=node.phase,
        depends_on=node.depends_on,
        parts=_parts_of(node) if node.kind in _COMPARED else {},
        gathers=_notation(node.outputs) if node.kind is NodeKind.GATHER else {},
        by_trigger=node.by_choice
        and _skips(node.kind, node.trigger, Counters(0, node.unsuccessful, node.skipped, node.total)),
    )


def _skips(kind: NodeKind, trigger: Trigger, counters: Counters) -> bool:
    return decide_release(kind, counters, trigger) is Release.SKIP


_COMPARED: Final = frozenset({NodeKind.JOB, NodeKind.BARRIER, NodeKind.EXPAND, NodeKind.GATHER})


def _parts_of(node: StepRecord) -> dict[Part, str]:
    templates = [one for one in node.templates if one.path[0] in _TASK_FIELDS]
    conditions = [one for one in (node.when, node.loop.when if node.loop else None) if one is not None]
    lists = {} if node.loop is None else node.loop.lists
    read: list[Condition | Template] = [*templates, *conditions]
    read += [one for one in lists.values() if isinstance(one, Template)]
    parts: dict[Part, Any] = {Part.KIND: node.kind, Part.TRIGGER: node.trigger}
    for name, part in _TASK_FIELDS.items():
        of_field = [[one.path, one.text] for one in templates if one.path[0] == name]
        value = (node.request or {}).get(name)
        parts[part] = None if value is None and not of_field else [value, of_field]
    parts[Part.CONDITION] = [one.text for one in conditions]
    if node.loop is not None:
        shown = {name: one.text if isinstance(one, Template) else [one] for name, one in lists.items()}
        parts[Part.LOOP] = [shown, node.loop.item_type]
        parts[Part.OUTPUTS] = _notation(node.loop.outputs)
    elif node.kind is NodeKind.GATHER:
        parts[Part.LOOP] = node.tolerate
    else:
        parts[Part.OUTPUTS] = _notation(node.outputs)
    # Without expressions, there may still be a time zone, in which outputs and items are read.
    reads_any = node.constants and (read or node.outputs or node.loop is not None)
    parts[Part.VALUES] = select_constants(node.constants, read) if reads_any else {}
    # Most of them are empty, and there are ten for each of 10,000 steps.
    return {part: _digest(value) for part, value in parts.items() if value}


def _notation(outputs: Mapping[str, Any]) -> dict[str, Any]:
    if not outputs:
        return {}
    from atom_workflows.expressions.types import write_type  # noqa: PLC0415 (only steps with outputs need it)

    return {name: write_type(of) for name, of in outputs.items()}


# `json.dumps` would create an encoder for each call.
_encode: Final = json.JSONEncoder(sort_keys=True).encode


def _digest(value: Any) -> str:
    """Return a short string that is equal for equal values.

    It is the value itself as JSON if that is short.
    """
    text = _encode(value)
    return text if len(text) <= _DIGEST_LENGTH else _hash(text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def changed_values(earlier: RunRecord, planned: RunRecord) -> frozenset[tuple[str, str]]:
    """Return the root and name of each value that differs between runs.

    `planned` has the id and the creation time of the earlier run. Values of the environment that only one of the runs
    has are left out, since a run stores only those that its file reads.
    """
    roots: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "params": (earlier.params, planned.params),
        "run": (run_values(earlier), run_values(planned)),
    }
    changed = {
        (root, name)
        for root, (before, after) in roots.items()
        for name in before.keys() | after.keys()
        if name not in before or name not in after or _digest(before[name]) != _digest(after[name])
    }
    in_both = earlier.env.keys() & planned.env.keys()
    return frozenset(changed | {("env", name) for name in in_both if earlier.env[name] != planned.env[name]})


# -- the judgment ----------------------------------------------------------------------------------------------------


class What(StrEnum):
    """What happens to a step. The values are part of the JSON output."""

    KEEP = "keep"
    RUN = "run"
    REMOVE = "remove"


class Choice(NamedTuple):
    """What happens to a step, and why.

    The reason is the end of a sentence, or "" for a step that is simply kept.
    """

    step_id: str
    what: What
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """The choice for each step, in the order of the new file.

    Steps that are no longer in the file come last. `skipped` are the kept steps that were skipped by choice. `changed`
    are the values that differ. `finally_differs` is True if a step under `finally`, which runs in any case, would do
    something else.
    """

    choices: tuple[Choice, ...]
    skipped: frozenset[str] = frozenset()
    changed: frozenset[tuple[str, str]] = frozenset()
    finally_differs: bool = False

    def of(self, what: What) -> list[str]:
        """Return the ids of the steps to which `what` happens."""
        return [choice.step_id for choice in self.choices if choice.what is what]

    @property
    def digest(self) -> str:
        """A digest of what is kept.

        A start message that holds it is refused if what would be kept is no longer what the user has seen.
        """
        return _hash(_encode(sorted(self.of(What.KEEP))))


def judge(
    earlier: Mapping[str, Facts],
    planned: Mapping[str, Facts],
    workflow: Workflow,
    changed: frozenset[tuple[str, str]],
) -> Judgment:
    """Decide whether each step is kept; if not, give the first reason.

    `earlier` are the nodes of the ended run, and `planned` those that the new file would have given it. `changed` are
    the values that differ between the runs.
    """
    edges = _EarlierEdges(earlier)
    steps = {step.id: step for step in workflow.all_steps}
    in_finally = {step.id for step in workflow.finally_steps}
    reasons: dict[str, str] = {}
    for step_id in TopologicalSorter({step.id: step.depends_on for step in workflow.all_steps}).static_order():
        step = steps[step_id]
        reasons[step_id] = (
            ("steps under `finally` always run again" if step_id in in_finally else "")
            or _why_not_reusable(step_id, earlier)
            or _why_different(step, earlier, planned, changed)
            or edges.describe_new_dependency(step)
            or next((f"{need} runs again" for need in step.depends_on if reasons[need]), "")
            or _why_decided_again(step, earlier)
        )
    kept = {step_id for step_id, why in reasons.items() if not why}
    skipped = frozenset(step_id for step_id in kept if earlier[step_id].state is StepState.SKIPPED)
    choices = [
        Choice(step_id, What.KEEP, "it was skipped by choice" if step_id in skipped else "")
        if step_id in kept
        else Choice(step_id, What.RUN, reasons[step_id])
        for step_id in steps
    ]
    choices += [
        Choice(node_id, What.REMOVE, "it is no longer in the file")
        for node_id, one in earlier.items()
        if node_id not in steps and one.kind in _OF_USERS
    ]
    finally_differs = any(_why_different(step, earlier, planned, changed) for step in workflow.finally_steps)
    return Judgment(choices=tuple(choices), skipped=skipped, changed=changed, finally_differs=finally_differs)


_OF_USERS: Final = frozenset({NodeKind.JOB, NodeKind.BARRIER, NodeKind.GATHER})


def _why_not_reusable(step_id: str, earlier: Mapping[str, Facts]) -> str:
    before = earlier.get(step_id)
    if before is None or before.kind not in _OF_USERS:
        return "it is new"
    if before.phase is Phase.FINALLY:
        return "it was under `finally`"
    if before.state is StepState.SUCCEEDED or before.by_choice:
        return ""
    return {StepState.FAILED: "it failed", StepState.CANCELLED: "it was cancelled"}.get(before.state, "it did not run")


def _why_different(
    step: Step, earlier: Mapping[str, Facts], planned: Mapping[str, Facts], changed: frozenset[tuple[str, str]]
) -> str:
    """Return why a step would do something different than before, or "".

    The step itself need not have been edited.
    """
    names = [step.id, *([expander_id(step.id)] if step.for_each is not None else [])]
    pairs = [(earlier.get(name), planned[name]) for name in names]
    before, after = pairs[0]
    if any(one is None or one.kind is not other.kind for one, other in pairs):
        return f"its {Part.KIND} changed"
    differing = {
        part
        for one, other in pairs
        if one is not None
        for part in one.parts.keys() | other.parts.keys()
        if one.parts.get(part) != other.parts.get(part)
    }
    values = sorted(_changed_reads(step, changed))
    if values:
        return f"it reads {_listed([f'`{value}`' for value in values])}, which changed"
    if edited := [part.value for part in Part if part in differing and part is not Part.VALUES]:
        return f"its {_listed(edited)} changed"
    if differing:
        return "the types or the time zone of the values that it reads have changed"
    if before is not None and any(before.gathers.get(name) != of for name, of in after.gathers.items()):
        return "some outputs of its items are now read but were not before"
    return ""


def _why_decided_again(step: Step, earlier: Mapping[str, Facts]) -> str:
    """Return why the step's trigger now decides differently, or "".

    The steps that it depends on are all kept: they succeeded, or were skipped by choice.
    """
    before = earlier.get(expander_id(step.id), earlier[step.id])
    skipped = sum(earlier[need].state is StepState.SKIPPED for need in step.depends_on)
    skips = _skips(before.kind, step.trigger, Counters(0, 0, skipped, len(step.depends_on)))
    if skips and before.state is StepState.SUCCEEDED:
        return "its dependencies changed, so it is now skipped"
    return "its dependencies changed, so it is no longer skipped" if before.by_trigger and not skips else ""


def _changed_reads(step: Step, changed: frozenset[tuple[str, str]]) -> Iterator[str]:
    """Yield the changed values that decide what the step does."""
    read: list[Condition | Template] = [] if step.when is None else [step.when]
    read += [one for one in (step.task.templates if step.task else ()) if one.path[0] in _TASK_FIELDS]
    read += [] if step.for_each is None else [one for one in step.for_each.lists.values() if isinstance(one, Template)]
    found = {(root, path[0] if path else _ANY) for text in read for root, *path in paths_in(text)} if changed else set()
    for root, name in changed:
        if (root, name) in found or (root, _ANY) in found:
            yield f"{root}.{name}"


def _listed(words: Sequence[str]) -> str:
    shown = [*words[:_MOST_NAMED], *([f"{len(words) - _MOST_NAMED} more"] if len(words) > _MOST_NAMED else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


@dataclass(slots=True)
class _EarlierEdges:
    """The earlier graph.

    The nodes before each node are computed when first needed, as a number with one bit for each of them, since 10,000
    sets of up to 10,000 names would not fit into a function's memory.
    """

    nodes: Mapping[str, Facts]
    _bits: dict[str, int] = field(default_factory=dict)
    _before: dict[str, int] = field(default_factory=dict)

    def describe_new_dependency(self, step: Step) -> str:
        """Return a clause about a dependency that is new, or "".

        A dependency is new if it did not come before the step in the earlier graph.
        """
        first = expander_id(step.id) if expander_id(step.id) in self.nodes else step.id
        for need in step.depends_on:
            if need not in self.nodes[first].depends_on and not self._is_before(need, first):
                return f"it now depends on {need}"
        return ""

    def _is_before(self, need: str, step_id: str) -> bool:
        if not self._before:
            self._find_before()
        return bool(self._before[step_id] & self._bits.get(need, 0))

    def _find_before(self) -> None:
        # The items of loops are not among the nodes.
        needs = {name: [one for one in node.depends_on if one in self.nodes] for name, node in self.nodes.items()}
        for number, name in enumerate(TopologicalSorter(needs).static_order()):
            self._bits[name] = 1 << number
            self._before[name] = 0
            for need in needs[name]:
                self._before[name] |= self._before[need] | self._bits[need]


def nothing_differs(judgment: Judgment, workflow: Workflow, earlier: RunRecord, planned: RunRecord) -> bool:
    """Return True if the new run would only repeat the earlier one.

    A run that did not succeed although all of its steps did, for example because its outputs could not be computed, can
    be repaired by a file in which no step has changed.
    """
    in_finally = {step.id for step in workflow.finally_steps}
    again = judgment.finally_differs or any(step_id not in in_finally for step_id in judgment.of(What.RUN))
    outputs = [{one.path: one.text for one in run.output_templates} for run in (earlier, planned)]
    is_same = outputs[0] == outputs[1] and _digest(earlier.constants) == _digest(planned.constants)
    return not again and not judgment.of(What.REMOVE) and is_same and earlier.state is RunState.SUCCEEDED


def kept_nodes(nodes: Mapping[str, Node], kept: frozenset[str]) -> frozenset[str]:
    """Return all compiled nodes that are kept if these steps are.

    A barrier that the compiler added is kept if everything that it stands for is.
    """
    found = {*kept, *(expander_id(step_id) for step_id in kept if expander_id(step_id) in nodes)}
    for node_id in TopologicalSorter({node.id: node.depends_on for node in nodes.values()}).static_order():
        node = nodes[node_id]
        if node.kind is NodeKind.INTERNAL and all(need in found for need in node.depends_on):
            found.add(node_id)
    return frozenset(found)
