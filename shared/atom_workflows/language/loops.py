"""Find the type, the number and the size of a loop's items.

A list is known before the run if it is written in the file, or if its expression reads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final

from atom_workflows.core.reads import ITEM_ROOTS
from atom_workflows.expressions.notation import MAX_FIELDS, MAX_TYPE_DEPTH
from atom_workflows.expressions.syntax import is_member_name, reads
from atom_workflows.expressions.types import (
    ANY,
    BOOL,
    INT,
    NULL,
    NUMBER,
    TEXT,
    ListOf,
    MapOf,
    OrNull,
    Scalar,
    Type,
    Words,
    or_null,
)
from atom_workflows.language.embedded import Embedded
from atom_workflows.language.limits import MAX_ITEM_BYTES, MAX_ITEMS, MAX_ITEMS_OF_RUN, MAX_LISTS_BYTES
from atom_workflows.language.nodes import Fields, Items, Node, Reading
from atom_workflows.language.problems import Located, Report, code

_MOST_WORDS: Final = 100
"""If a list has at most this many distinct strings, comparing an item with any other string is reported."""

_TIMES: Final = " \u00d7 "

COUNTS: Final = MapOf(dict.fromkeys(("total", "succeeded", "failed", "skipped"), INT))
"""What `steps.ID.counts` contains."""


def is_loop(step: Reading) -> bool:
    """Return True if the step has `forEach`, even an invalid one."""
    return "forEach" in step.node.entries


def reads_items(values: Sequence[Embedded]) -> bool:
    """Return True if any value reads the current item or its index."""
    expressions = (placeholder.expression for value in values for placeholder in value.template.placeholders)
    return any(path[0] in ITEM_ROOTS for expression in expressions for path in reads(expression))


def expressions_of_loop(step: Reading) -> list[Embedded]:
    """Return the expressions in the step's `forEach` and `maxParallel`."""
    values = [*step.values.get("forEach", {}).values(), step.values.get("maxParallel")]
    return [value for value in values if isinstance(value, Embedded)]


def is_decided_for_each_item(step: Reading) -> bool:
    """Return True if the condition skips individual items, not the whole step."""
    when = step.values.get("when")
    return is_loop(step) and when is not None and reads_items([when])


def gather(step: Reading, outputs: Mapping[str, Type]) -> dict[str, Type]:
    """Return the types of a loop's outputs, given one item's outputs.

    Each output of a loop is a list of the items' values.
    """
    fate, field = ("may be skipped", "when") if is_decided_for_each_item(step) else ("may fail", "tolerate")
    if field == "tolerate" and not step.values.get(field):
        return {name: ListOf(of) for name, of in outputs.items()}
    reason = f"because items of {code(step.values['id'])} {fate} (line {step.at(field).line})"
    return {name: ListOf(or_null(of, reason)) for name, of in outputs.items()}


# -- the type of an item -----------------------------------------------------------------------------------------------


def item_type(lists: Mapping[str, Type]) -> Type:
    """Return the type of an item, given each list's item type."""
    single = lists.get("")
    return _storable(single if single is not None else MapOf(lists), MAX_TYPE_DEPTH)


def _storable(of: Type, depth: int) -> Type:
    """Use `any` for the parts that the type notation cannot express."""
    match of:
        case ListOf(item) if depth > 1:
            return ListOf(_storable(item, depth - 1))
        case MapOf(fields) if depth > 1 and 0 < len(fields) <= MAX_FIELDS and all(map(is_member_name, fields)):
            return MapOf({name: _storable(inner, depth - 1) for name, inner in fields.items()})
        case OrNull(inner, reason, remedy):
            return or_null(_storable(inner, depth), reason, remedy)
        case Words():
            return of
        case Scalar() if of != NULL:
            return of
        case _:
            return ANY


def type_of_values(values: Sequence[Any]) -> Type:
    """Return the narrowest type that all the JSON values have.

    A member that only some of the maps have may be null. Values that have been reported as invalid may be anything.
    """
    given = [value for value in values if value is not None]
    classes = set(map(type, given))
    of: Type = ANY
    if classes == {str}:
        words = tuple(dict.fromkeys(given))
        of = Words(words) if len(words) <= _MOST_WORDS else TEXT
    elif classes == {list}:
        of = ListOf(type_of_values([item for value in given for item in value]))
    elif classes == {dict}:
        of = _type_of_maps(given)
    elif classes == {bool}:
        of = BOOL
    elif classes <= {int, float} and classes:
        of = NUMBER if float in classes else INT
    return of if len(given) == len(values) else or_null(of)


def _type_of_maps(values: Sequence[Mapping[str, Any]]) -> Type:
    found: dict[str, list[Any]] = {}
    for value in values:
        for name, member in value.items():
            found.setdefault(name, []).append(member)
    fields: dict[str, Type] = {}
    for name, members in found.items():
        fields[name] = type_of_values(members)
        if len(members) < len(values):
            missing = next(number for number, value in enumerate(values) if name not in value)
            fields[name] = or_null(fields[name], f"because item {missing} of the list has no {code(name)}")
    return MapOf(fields)


# -- the number of items, and their size -------------------------------------------------------------------------------


def check_items(step: Reading, known: Mapping[str, Sequence[Any]], report: Report) -> int | None:
    """Check the lists that are known before the run.

    Returns the number of items if it is known and valid. Combinations are only counted, not built.
    """
    key = step.node.entries["forEach"].key
    counts = {name: len(items) for name, items in known.items()}
    total = prod(counts.values())
    is_within_limit = total <= MAX_ITEMS
    if not is_within_limit:
        _refuse_count(step, counts, total, report)
    _check_sizes(step, known, report)
    for name, items in known.items():
        _warn_of_repetition(step, name, items, report)
    if len(known) < len(step.values["forEach"]) or not is_within_limit:
        return None
    if not total:
        report.warn(key, "there are no items, so this step never runs a job", "add items to the list")
    tolerated = step.values.get("tolerate", 0)
    if 0 < total <= tolerated:
        count = f"are only {total:,}" if total > 1 else "is only 1"
        said = f"the step succeeds even if all of its items fail, since there {count}"
        report.warn(step.at("tolerate"), said, f"write at most {total - 1:,}" if total > 1 else "remove it")
    return total


def _refuse_count(step: Reading, counts: Mapping[str, int], total: int, report: Report) -> None:
    entry = step.node.entries["forEach"]
    place: Located = entry.key
    if "" in counts and isinstance(entry.value, Items) and not entry.value.alias:
        place = entry.value.items[MAX_ITEMS]
    several = [name for name, count in counts.items() if count > 1]
    product = _TIMES.join(several)
    what = f"`forEach` has {product} = {total:,}" if len(several) > 1 else f"`forEach` has {total:,}"
    report.add(place, f"{what} items, more than the {MAX_ITEMS:,} allowed", "split the items among several steps")


def _check_sizes(step: Reading, known: Mapping[str, Sequence[Any]], report: Report) -> None:
    remedy = "put large content into files, and list their names"
    sizes = {name: list(map(_json_size, items)) for name, items in known.items()}
    written = sum(sum(sizes[name]) for name in known if not isinstance(step.values["forEach"][name], Embedded))
    if written > MAX_LISTS_BYTES:
        said = f"the lists of `forEach` are {written:,} bytes as JSON, more than the {MAX_LISTS_BYTES:,} allowed"
        report.add(step.node.entries["forEach"].key, said, remedy)
    if "" in known:
        for number, size in enumerate(sizes[""]):
            if size > MAX_ITEM_BYTES:
                said = f"an item of `forEach` is {size:,} bytes as JSON, more than the {MAX_ITEM_BYTES:,} allowed"
                report.add(_place_of(step, "", number), said, remedy)
        return
    largest = {name: max(of_list) for name, of_list in sizes.items() if of_list}
    # Braces, and each name in quotes with a colon and a comma.
    size = 1 + sum(len(json.dumps(name)) + 2 + of_item for name, of_item in largest.items())
    if size > MAX_ITEM_BYTES:
        name = max(largest, key=largest.__getitem__)
        said = f"the largest item of `forEach` is {size:,} bytes as JSON, more than the {MAX_ITEM_BYTES:,} allowed"
        report.add(_place_of(step, name, sizes[name].index(largest[name])), said, remedy)


def _json_size(value: Any) -> int:
    # Values that have been reported as invalid count as null.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=lambda _: None)
    return len(text.encode("utf-8", "replace"))


def _warn_of_repetition(step: Reading, name: str, items: Sequence[Any], report: Report) -> None:
    if isinstance(step.values["forEach"][name], Embedded):
        return
    seen: set[str] = set()
    for number, item in enumerate(items):
        text = json.dumps(item, ensure_ascii=False, default=lambda _: None)
        if text in seen:
            said = f"{code(item if isinstance(item, str) else text)} is listed twice, so its jobs run twice"
            report.warn(_place_of(step, name, number), said, "remove one of them")
        seen.add(text)


def _place_of(step: Reading, name: str, number: int) -> Located:
    """Return the position of an item in the file.

    For an item inside an alias or an expression, this is the position of the alias or expression.
    """
    node: Node = step.at("forEach")
    if isinstance(node, Fields) and not node.alias:
        node = next((entry.value for entry in node.entries.values() if entry.name == name), node)
    if isinstance(node, Items) and not node.alias:
        node = node.items[number]
    return node.alias or node


def check_items_of_run(loops: Sequence[tuple[Reading, int]], report: Report) -> None:
    """Report loops that together have too many items.

    `loops` contains the loops that cannot be skipped, each with its number of items.
    """
    total = sum(count for _, count in loops)
    if total <= MAX_ITEMS_OF_RUN:
        return
    reached = 0
    for step, count in loops:
        reached += count
        if reached > MAX_ITEMS_OF_RUN:
            said = f"the loops in this file have {total:,} items, more than the {MAX_ITEMS_OF_RUN:,} allowed in a run"
            report.add(step.node.entries["forEach"].key, said, "split the workflow into several files")
            return
