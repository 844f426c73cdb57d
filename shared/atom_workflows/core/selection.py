"""Decide what a retry runs again when a person names steps.

Without a selection, a retry runs what did not succeed (see rerun.py). A selection changes this. It is stored by the
commit that reopens the run, so that an interrupted retry continues with the same choice:

- *from* a step: the step and everything after it runs again, whatever their states.
- *only* a step: the step runs again, along with every step after it that did not succeed, or that succeeded in reaction
  to a failure. All other steps are kept, with the outputs that they returned, even if the outputs of the steps before
  them change.
- *failed*: everything that a retry without a selection would run again also runs again.

Steps that are not chosen keep their state. If one of them did not succeed, the run fails again.

A kept step does not wait for the step before it, so nothing after it would wait either, not even the run's end.
Therefore, the end (or the end of the main part) is made a dependent of each node that runs again and has only kept
dependents (`open_before_kept`). This edge remains, since a failure of that node has to fail the run in later rounds,
too. No step gets such an edge, since its trigger would count a dependency that it does not have. So a selection is
refused if a kept step lies between two steps that run again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from atom_workflows.core.expansion import is_item_node
from atom_workflows.core.graph import END_ID, MAIN_END_ID, is_internal
from atom_workflows.core.item_ids import expander_id, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind, Phase
from atom_workflows.core.records import StepRecord
from atom_workflows.core.rerun import dependents_of, everything_after, find_unsuccessful
from atom_workflows.core.states import StepState
from atom_workflows.errors import SelectionError

MAX_NAMES: Final = 100
"""The maximum number of steps that a person may name."""

MAX_EDGES: Final = 150
"""The maximum number of nodes that all retries of a run together may make dependencies of an end.

Each of these nodes gets one more dependent.
"""

_MOST_NAMED: Final = 5

_ALWAYS_AGAIN: Final = frozenset({NodeKind.INTERNAL, NodeKind.GATHER, NodeKind.MAIN_END, NodeKind.END})
"""The kinds of nodes that have no result of their own, but stand for the nodes before them."""


class Selection(NamedTuple):
    """The ids of the nodes that a person chose.

    The nodes are steps, the expanders of steps with `forEach`, and items. `settled` are the steps with `forEach` that
    succeeded, but of which some items were chosen: `failed` does not apply to the failures that these steps tolerated.
    """

    first: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    failed: bool = False
    settled: tuple[str, ...] = ()

    def names(self, node_id: str) -> bool:
        """Return True if a person chose this node itself."""
        return node_id in self.first or node_id in self.only


def select(
    steps: Mapping[str, StepRecord], *, first: Collection[str] = (), only: Collection[str] = (), failed: bool = False
) -> Selection | None:
    """Return the selection that corresponds to the names a person gave.

    `steps` are all nodes of the run's graph. A name is a step's id, or an item's id as shown to users. Returns None if
    there are no names, since a retry without names does what `failed` asks for anyway. Raises `SelectionError`.
    """
    if not first and not only:
        return None
    if len(first) + len(only) > MAX_NAMES:
        raise SelectionError(f"{len(first) + len(only)} steps are named, but at most {MAX_NAMES} can be")
    chosen = [tuple(dict.fromkeys(_find(steps, name) for name in names)) for names in (first, only)]
    loops = dict.fromkeys(step.each for names in chosen for step in map(steps.__getitem__, names) if is_item_node(step))
    settled = tuple(each for each in loops if each in steps and steps[each].state is StepState.SUCCEEDED)
    return _require_possible(steps, Selection(first=chosen[0], only=chosen[1], failed=failed, settled=settled))


def select_marked(steps: Mapping[str, StepRecord], *, node_id: str) -> Selection:
    """Return the selection that reopens a run for a marked node.

    The node is reset, and so are the nodes after it that did not succeed. Raises `SelectionError`.
    """
    if node_id not in steps:
        raise SelectionError(f"no step {shown_id(node_id)} can be marked", shown_id(node_id))
    return _require_possible(steps, Selection(only=(node_id,)))


def _require_possible(steps: Mapping[str, StepRecord], found: Selection) -> Selection:
    """Return the selection, or raise `SelectionError` if it is impossible."""
    again = choose(steps, found, retries=-1)
    below = dependents_of(steps)
    edges = open_before_kept(steps, below, again)
    _require_in_order(steps, below, again)
    known = sum(len(steps[end].depends_on) for end in (END_ID, MAIN_END_ID) if end in steps)
    if edges and len(edges) + known > MAX_EDGES:
        raise SelectionError(
            "too many of the steps that would run again are followed only by steps that would not; "
            "with --from, name the first step to run again"
        )
    return found


def _find(steps: Mapping[str, StepRecord], name: str) -> str:
    """Return the id of the node that a person named."""
    item = parse_item_id(name)
    if item is not None:
        expander = steps.get(expander_id(item.each))
        items = (step for step in steps.values() if step.each == item.each and step.kind is NodeKind.ITEM)
        found = next((step for step in items if step.index == item.index and shown_id(step.id) == name), None)
        if expander is None or found is None:
            raise SelectionError(f"no item {name} can run again", name)
        return found.id
    if is_internal(name) or name not in steps:
        raise SelectionError(f"no step {name} can run again", name)
    return expander_id(name) if steps[name].kind is NodeKind.GATHER else name


def choose(steps: Mapping[str, StepRecord], selection: Selection, *, retries: int) -> set[str]:
    """Return the nodes that run again, including items to be created anew.

    The result does not depend on how many of them retry number `retries` has already reset.
    """
    reset = {step.id for step in steps.values() if step.retries == retries}
    seeds = {*selection.first}
    if selection.failed:
        seeds |= {one for one in find_unsuccessful(steps) if steps[one].each not in selection.settled}
    again = everything_after(steps, (seeds - reset) | {*selection.first}) | reset
    # A node that an earlier round left open would begin on its own.
    left = (one.id for one in steps.values() if not one.state.is_terminal and one.id not in reset)
    below, pending = dependents_of(steps), [*selection.only, *left]
    while pending:
        step_id = pending.pop()
        if step_id in steps:
            again.add(step_id)
            pending += [name for name in below[step_id] if name not in again and _follows(steps, steps[name])]
    # A barrier that a stop of the run ended has not counted what is before it.
    pending = [*again]
    while pending:
        step = steps.get(pending.pop())
        needs = [steps[name] for name in (() if step is None else step.depends_on) if name in steps]
        uncounted = [one.id for one in needs if one.kind is NodeKind.INTERNAL and one.state is not StepState.SUCCEEDED]
        pending += [name for name in uncounted if name not in again]
        again.update(uncounted)
    return again


def _follows(steps: Mapping[str, StepRecord], step: StepRecord) -> bool:
    """Return True if the node runs again because a dependency does."""
    # The items of a loop belong to it, so the node that creates them is left alone if the loop succeeded.
    of_loop = steps.get(step.each, step) if step.kind is NodeKind.EXPAND else step
    return step.kind in _ALWAYS_AGAIN or of_loop.state is not StepState.SUCCEEDED or step.fails_run


def open_before_kept(
    steps: Mapping[str, StepRecord], below: Mapping[str, Collection[str]], again: Collection[str]
) -> dict[str, str]:
    """Return the nodes that run again but have only kept dependents.

    Each is mapped to the end node that has to wait for it.
    """
    main_end = MAIN_END_ID if MAIN_END_ID in steps else END_ID
    return {
        step_id: main_end if steps[step_id].phase is Phase.MAIN else END_ID
        for step_id in sorted(again)
        if step_id in steps and below[step_id] and all(_is_kept(steps, again, name) for name in below[step_id])
    }


def _is_kept(steps: Mapping[str, StepRecord], again: Collection[str], step_id: str) -> bool:
    """Return True unless the node runs again or is created anew."""
    return step_id not in again and not (is_item_node(steps[step_id]) and expander_id(steps[step_id].each) in again)


def _require_in_order(
    steps: Mapping[str, StepRecord],
    below: Mapping[str, Collection[str]],
    again: Collection[str],
) -> None:
    """Refuse to keep a step that lies between two that run again."""
    between, behind = set[str](), set[str]()
    pending = [name for one in again if one in steps for name in below[one] if _is_kept(steps, again, name)]
    while pending:
        step_id = pending.pop()
        if step_id in between or step_id in {END_ID, MAIN_END_ID}:
            continue
        # A barrier of the compiler runs again if any node before it does, but only the steps behind it matter.
        if step_id in again and steps[step_id].kind is not NodeKind.INTERNAL:
            behind.add(step_id)
            continue
        between.add(step_id)
        pending += below[step_id]
    if behind:
        raise SelectionError(_explain_order(steps, again, between, min(behind)))


def _explain_order(
    steps: Mapping[str, StepRecord], again: Collection[str], between: Collection[str], behind: str
) -> str:
    """Explain which kept steps lie between steps that run again."""
    kept, before = set[str](), set[str]()
    pending = [behind]
    while pending:
        for need in steps[pending.pop()].depends_on:
            if need in between and need not in kept:
                kept.add(need)
                pending.append(need)
            elif need in again and need in steps:
                before.add(need)
    names = sorted({name for one in kept if (name := _shown(steps, one))})
    first = min((name for one in before if (name := _shown(steps, one))), default="another step")
    middle = ", ".join(names[:_MOST_NAMED]) + (
        f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    )
    return (
        f"{_shown(steps, behind)} would run again, and so would {first}, which comes before it; but {middle} between "
        f"them would be kept. Name those in between as well, use --from {first}, or retry one after the other"
    )


def _shown(steps: Mapping[str, StepRecord], node: str) -> str:
    """Return the name by which a user knows the node, or ""."""
    step = steps[node]
    if step.kind is NodeKind.EXPAND:
        return step.each
    return "" if is_internal(node) else shown_id(node)
