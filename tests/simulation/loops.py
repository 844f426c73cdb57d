"""Steps with `forEach`: their lists, and how the jobs of their items go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from atom_workflows.core.item_ids import expander_id, item_id
from simulation.language import Source, Written

ITEMS_APART: Final = 10
"""The jobs of two items return numbers that are at least this far apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The lists of a step by name, or a single one without a name; how many of its items may fail, and run at a time.

    `as_list` says that a written list stands in the file as such, not as an expression.
    """

    lists: tuple[tuple[str, Source], ...]
    tolerate: int = 0
    max_parallel: int | None = None
    as_list: bool = True

    @property
    def names(self) -> list[str]:
        """The names of the parts of an item; one without a name is the item itself."""
        return [name for name, _ in self.lists]

    def as_definition(self) -> dict[str, Any]:
        """Return what the file says of it."""
        lists = {name: self._in_file(source) for name, source in self.lists}
        tolerate = {"tolerate": self.tolerate} if self.tolerate else {}
        limit = {} if self.max_parallel is None else {"maxParallel": self.max_parallel}
        return {"forEach": lists.get("", lists), **tolerate, **limit}

    def _in_file(self, source: Source) -> object:
        return list(source.items) if isinstance(source, Written) and self.as_list else str(source)

    def __str__(self) -> str:
        lists = ", ".join(f"{name or 'item'} in {source}" for name, source in self.lists)
        limit = "" if self.max_parallel is None else f", {self.max_parallel} at a time"
        return f"for each {lists}{limit}; {self.tolerate} may fail"


def nodes_of(step_id: str, count: int, expansion: int) -> Iterator[str]:
    """Yield the ids of what a step with so many items consists of, besides itself."""
    yield expander_id(step_id)
    yield from (item_id(step_id, index, expansion) for index in range(count))
