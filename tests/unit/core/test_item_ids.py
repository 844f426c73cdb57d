"""The ids of the nodes of a step with `forEach`."""

from __future__ import annotations

import pytest

from atom_workflows.core.graph import kind_of
from atom_workflows.core.item_ids import ItemName, expander_id, fan_in_id, fan_out_id, item_id, parse_item_id, shown_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.messages.fields import ID, STEP_ID


@pytest.mark.parametrize("step_id", ["train", "a.b", "each.x", "9-x_y", "x" * 100])
@pytest.mark.parametrize(("index", "expansion"), [(0, 1), (17, 2), (9_999, 1_000)])
def test_an_item_is_known_by_its_id(step_id: str, index: int, expansion: int) -> None:
    """Its parts can be read from the id, which an event can carry, and users see it without the expansion."""
    name = item_id(step_id, index, expansion)
    assert parse_item_id(name) == ItemName(step_id, index, expansion)
    assert shown_id(name) == f"{step_id}[{index}]"
    assert STEP_ID.fullmatch(name)
    assert not ID.fullmatch(name)
    assert kind_of(name, has_task=True) is NodeKind.ITEM


@pytest.mark.parametrize("step_id", ["train", "a.b", "x" * 100])
def test_other_nodes_are_internal(step_id: str) -> None:
    """Their ids cannot be taken for those of steps or items, nor for one another."""
    names = [expander_id(step_id), fan_out_id(step_id, 12, 49), fan_in_id(step_id, 12, 1, 312)]
    assert [kind_of(name, has_task=False) for name in names] == [NodeKind.EXPAND, NodeKind.INTERNAL, NodeKind.INTERNAL]
    assert all(parse_item_id(name) is None and shown_id(name) == name and ID.fullmatch(name) for name in names)


@pytest.mark.parametrize("node_id", ["train", "~end", "~main", "~1", "a[b]", "a[1]x", "[1]", "a[1]~", "a~2[1]"])
def test_other_ids_are_no_items(node_id: str) -> None:
    """Only a step's id with an index is one."""
    assert parse_item_id(node_id) is None
