"""Fold similar steps into one, so that wide graphs are readable."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from atom_client.graph.picture import PicturedStep, Shape, dependents_of, group_fans, number_layers

LEAST_FOLDED: Final = 10
"""Fewer steps can be read side by side, so they are not folded."""

_MOST_ROUNDS: Final = 12


class Fold(StrEnum):
    """The ways to fold a picture."""

    # Steps with the same dependencies and the same dependents.
    FANS = "fans"
    # Also steps of a layer whose dependencies and dependents are similar in turn, such as those of parallel chains.
    SIMILAR = "similar"
    NONE = "none"


class Folded(NamedTuple):
    """A node of a folded picture.

    It is a single step, or stands for several `members`, the first of which is `step`. For a folded node, `after` is
    everything that its members depend on.
    """

    step: PicturedStep
    members: Sequence[PicturedStep]

    @property
    def is_folded(self) -> bool:
        """True if the node stands for several steps."""
        return len(self.members) > 1


def fold_steps(steps: Sequence[PicturedStep], fold: Fold, opened: Collection[str] = ()) -> list[Folded]:
    """Return the nodes to draw, in the order of their first steps.

    Folded nodes whose first step's id is among `opened` are drawn as separate steps.
    """
    groups: list[list[PicturedStep]] = []
    if fold is not Fold.NONE:
        groups = group_fans(steps) if fold is Fold.FANS else _group_similar(steps)
    folded: dict[str, Sequence[PicturedStep]] = {}
    for group in groups:
        # A step with `forEach` is folded already.
        similar = [step for step in group if step.shape is not Shape.LOOP]
        if len(similar) >= LEAST_FOLDED and similar[0].id not in opened:
            folded |= dict.fromkeys((step.id for step in similar), similar)
    nodes = []
    for step in steps:
        members: Sequence[PicturedStep] = folded.get(step.id, [step])
        if members[0].id != step.id:
            continue
        before = dict.fromkeys(one for member in members for one in member.after)
        after = tuple(dict.fromkeys(folded[one][0].id if one in folded else one for one in before))
        nodes.append(Folded(step._replace(after=after), members))
    return nodes


def _group_similar(steps: Sequence[PicturedStep]) -> list[list[PicturedStep]]:
    """Return groups of steps with the same groups before and after them.

    A group lies within a layer, so groups never depend on each other in a cycle.
    """
    dependents = dependents_of(steps)
    group = number_layers(steps)
    count = len(set(group.values()))
    # Each round splits groups by what is one step farther away.
    for _ in range(_MOST_ROUNDS):
        numbers: dict[tuple[int, frozenset[int], frozenset[int]], int] = {}
        split = {}
        for step in steps:
            before = frozenset(group[one] for one in step.after if one in group)
            behind = frozenset(group[one] for one in dependents[step.id])
            split[step.id] = numbers.setdefault((group[step.id], before, behind), len(numbers))
        if len(numbers) == count:
            break
        group, count = split, len(numbers)
        # So many groups leave little to fold besides fans.
        if count > len(steps) / 2:
            return group_fans(steps)
    found: dict[int, list[PicturedStep]] = {}
    for step in steps:
        found.setdefault(group[step.id], []).append(step)
    return list(found.values())
