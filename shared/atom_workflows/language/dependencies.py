"""Rules that involve several steps.

Every id is unique, every dependency names another step, and there are no cycles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from atom_workflows.language.nodes import Fields, Items, Node, Reading, Scalar
from atom_workflows.language.problems import Report, code, shorten
from atom_workflows.language.suggestions import Names

_Graph: TypeAlias = Mapping[str, Sequence[Scalar]]

_LONGEST_PATH_SHOWN: Final = 12
_LONGEST_TAKEN_APART: Final = 1_000


class Part(NamedTuple):
    """The steps under `steps` or `finally`.

    It holds the steps that could be read, and the node that contains them all.
    """

    steps: Sequence[Reading]
    node: Node | None


def check_dependencies(main: Part, last: Part, report: Report, *, whole: bool) -> None:
    """Check all the rules that involve several steps.

    `main` has the steps under `steps`, and `last` those under `finally`. If reading stopped early (`whole` is False),
    any step may be missing, so no name counts as unknown.
    """
    # The line of each id found so far.
    first: dict[str, int] = {}
    for part, other, advice in ((main, last, _AFTERWARDS), (last, main, _ENDED)):
        named = _Steps(part, other, advice) if whole else None
        graph: dict[str, list[Scalar]] = {}
        for step in part.steps:
            own = step.values.get("id")
            if own in first:
                said = f"the step id {code(own)} was already used on line {first[own]}"
                report.add(step.at("id"), said, "give this step a different id")
            elif own is not None:
                first[own] = step.at("id").line
            known = list(_check_names(own, step.values.get("dependsOn", ()), named, report))
            if own is not None:
                graph.setdefault(own, known)
        for path, closing in _find_cycles(graph):
            said = f"these steps wait for each other: {' -> '.join(map(shorten, path))}"
            report.add(closing, said, "each depends on the next; remove one of these dependencies")


_AFTERWARDS: Final = "it is under `finally`, which runs after all of `steps`; remove this dependency"
_ENDED: Final = "all of `steps` have ended before `finally` begins; remove this dependency"


def read_ids(part: Part) -> dict[str, None]:
    """Return all ids in a part.

    Invalid ids are included, as are the ids of steps that could not be read.
    """
    items = part.node.items if isinstance(part.node, Items) else []
    maps = [item for item in items if isinstance(item, Fields)] + [step.node for step in part.steps]
    ids = (fields.get("id") for fields in maps)
    return {node.text: None for node in ids if isinstance(node, Scalar)}


class _Steps:
    """All ids as written, including invalid ones.

    This way, an invalid id is not reported again wherever it is used.
    """

    def __init__(self, own: Part, other: Part, advice: str) -> None:
        self.ids = read_ids(own)
        self._others = read_ids(other)
        self._advice = advice

    @cached_property
    def names(self) -> Names:
        """The ids, indexed when they are first searched."""
        return Names(self.ids)

    def is_elsewhere(self, name: str) -> bool:
        """Return True if the other part has a step with this id."""
        return name in self._others

    def advise(self, unknown: str, report: Report) -> str:
        """Return advice on a dependency that does not name a step."""
        if self.is_elsewhere(unknown):
            return self._advice
        several = [part.strip() for part in unknown[:_LONGEST_TAKEN_APART].split(",")]
        if len(several) > 1 and all(part in self.ids for part in several):
            return f"write a list: {code('[' + ', '.join(several) + ']')}"
        near = report.nearest(unknown, self.names)
        return f"did you mean {code(near)}?" if near else "add that step, or remove this dependency"


def _check_names(
    own: str | None, dependencies: Sequence[Scalar], steps: _Steps | None, report: Report
) -> Iterator[Scalar]:
    """Yield each valid dependency once, and report the invalid ones."""
    seen: dict[str, Scalar] = {}
    for node in dependencies:
        name = node.text
        if name == own:
            report.add(node, f"the step {code(name)} depends on itself", "remove this dependency")
        elif name in seen:
            report.add(node, f"the dependency {code(name)} is listed twice", "remove one of them")
        elif steps is not None and name not in steps.ids:
            said = "this step cannot wait for {}" if steps.is_elsewhere(name) else "there is no step {}"
            report.add(node, said.format(code(name)), steps.advise(name, report))
        else:
            yield node
        seen.setdefault(name, node)


def _find_cycles(graph: _Graph) -> Iterator[tuple[list[str], Scalar]]:
    """Yield each cycle as its path and the dependency that closes it.

    This is a depth-first search with an explicit stack. Every dependency on a step that is still on the current path
    closes a cycle. Without these dependencies, there would be no cycles at all.
    """
    done: set[str] = set()
    for root in graph:
        if root in done:
            continue
        path, depth = [root], {root: 0}
        pending = [iter(graph[root])]
        while pending:
            node = next(pending[-1], None)
            if node is None:
                pending.pop()
                left = path.pop()
                depth.pop(left)
                done.add(left)
            elif node.text in depth:
                yield _excerpt(path, depth[node.text]), node
            elif node.text in graph and node.text not in done:
                depth[node.text] = len(path)
                path.append(node.text)
                pending.append(iter(graph[node.text]))


def _excerpt(path: list[str], start: int) -> list[str]:
    """Return the cycle that begins at `start`, ending where it began.

    The middle of a long cycle is replaced by the number of steps omitted.
    """
    length = len(path) - start
    if length <= _LONGEST_PATH_SHOWN:
        return [*path[start:], path[start]]
    half = _LONGEST_PATH_SHOWN // 2
    between = f"({length - 2 * half:,} more)"
    return [*path[start : start + half], between, *path[-half:], path[start]]
