"""The ids of a `forEach` step's nodes, and the names users see.

For a step `train`, the compiler creates the step itself and the node that creates its items, `~each.train`. That node
creates the items `train[0]`, `train[1]`, ..., or `train[0]~2` and so on the second time, and barriers before and after
them. A user's step id contains neither brackets nor `~`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

EXPANDER_PREFIX: Final = "~each."
PLACES_PREFIX: Final = "~places."

_ITEM: Final = re.compile(r"(?P<each>[^~\[\]]+)\[(?P<index>[0-9]+)\](?:~(?P<expansion>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class ItemName:
    """The parts of an item's id.

    These are its step, its index in the list, and the number of the expansion that created it.
    """

    each: str
    index: int
    expansion: int


def expander_id(step_id: str) -> str:
    """Return the id of the node that creates a step's items."""
    return f"{EXPANDER_PREFIX}{step_id}"


def item_id(step_id: str, index: int, expansion: int) -> str:
    """Return the id of an item."""
    return f"{step_id}[{index}]" if expansion == 1 else f"{step_id}[{index}]~{expansion}"


def parse_item_id(node_id: str) -> ItemName | None:
    """Return the parts of an item's id.

    Returns None if the node is not an item.
    """
    found = _ITEM.fullmatch(node_id)
    return None if found is None else ItemName(found["each"], int(found["index"]), int(found["expansion"] or 1))


def shown_id(node_id: str) -> str:
    """Return a node's id as shown to users, without any expansion number."""
    return node_id.partition("~")[0] if parse_item_id(node_id) else node_id


def places_id(step_id: str, expansion: int, shard: int) -> str:
    """Return the id of a node that hands out places to items."""
    return f"{places_prefix(step_id, expansion)}{shard}"


def places_prefix(step_id: str, expansion: int) -> str:
    """Return the common prefix of an expansion's `places_id` values."""
    return f"{PLACES_PREFIX}{step_id}~{expansion}."


def fan_out_id(step_id: str, expansion: int, number: int) -> str:
    """Return the id of a barrier before some of the items."""
    return f"~out.{step_id}~{expansion}.{number}"


def fan_in_id(step_id: str, expansion: int, level: int, number: int) -> str:
    """Return the id of a barrier between some items and their step."""
    return f"~in.{step_id}~{expansion}.{level}.{number}"
