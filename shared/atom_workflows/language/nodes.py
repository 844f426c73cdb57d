"""The YAML tree, each node with its place.

These values are filled while the file is read and never changed afterwards; they are not frozen because freezing
costs a third of the time of reading a large file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(slots=True, kw_only=True)
class Scalar:
    """A single value as written; `plain` means without quotes, so it may be other than text."""

    text: str
    plain: bool
    line: int
    column: int
    weight: int = 1
    height: int = 0


@dataclass(slots=True, kw_only=True)
class Items:
    """A list. `complete` is False if the file broke off inside it."""

    line: int
    column: int
    items: list[Node] = field(default_factory=list)
    complete: bool = True
    weight: int = 1
    height: int = 1


@dataclass(slots=True, kw_only=True)
class Entry:
    """A key of a map and its value."""

    key: Scalar
    name: str
    value: Node


@dataclass(slots=True, kw_only=True)
class Fields:
    """A map; each name once. `complete` is False if the file broke off inside it."""

    line: int
    column: int
    entries: dict[str, Entry] = field(default_factory=dict)
    complete: bool = True
    weight: int = 1
    height: int = 1

    def get(self, name: str) -> Node | None:
        """The value of the name, None if the map has no such name."""
        entry = self.entries.get(name)
        return entry.value if entry else None


@dataclass(slots=True, kw_only=True)
class Broken:
    """Stands where something was already complained about, so that nobody complains again."""

    line: int
    column: int
    weight: int = 1
    height: int = 0


Node: TypeAlias = Scalar | Items | Fields | Broken
