"""From the tree to plain values, by the kinds of the fields; whatever does not fit is noted and left out."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from atom_workflows.language.arguments import read_arguments
from atom_workflows.language.kinds import (
    Arguments,
    Choice,
    Duration,
    Kind,
    Number,
    Record,
    RecordList,
    Text,
    TextList,
    TextMap,
)
from atom_workflows.language.measures import read_duration, read_number
from atom_workflows.language.nodes import Broken, Fields, Items, Node, Scalar
from atom_workflows.language.problems import Report
from atom_workflows.language.readings import INVALID, Invalid, Reading, is_empty, wrong_type
from atom_workflows.language.suggestions import fold_spelling, names_of
from atom_workflows.language.texts import read_choice, read_text, read_text_list, read_text_map
from atom_workflows.language.wording import code, listing


def read_record(record: Record, node: Node, path: str, report: Report) -> Reading | Invalid:
    """Read a map of known fields; `path` is how messages call it, empty for the workflow itself and for a step."""
    owner = code(path) if path else f"a {record.title.lower()}"
    if isinstance(node, Broken):
        return INVALID
    if not isinstance(node, Fields):
        return _not_a_record(record, node, path, owner, report)
    misspelt = _check_names(record, node, owner, report)
    if node.complete:
        _check_presence(record, node.entries.keys() | misspelt, node, owner, report)
    values = {
        field.name: _read(field.kind, entry.value, f"{path}.{field.name}" if path else field.name, report)
        for field in record.fields
        if (entry := node.entries.get(field.name))
    }
    return Reading(node=node, values={name: value for name, value in values.items() if value is not INVALID})


def _read(kind: Kind, node: Node, path: str, report: Report) -> Any:  # noqa: C901, PLR0911  # one case per kind
    if isinstance(node, Broken):
        return INVALID
    match kind:
        case Text():
            return read_text(kind, node, code(path), report)
        case Choice():
            return read_choice(kind, node, path, report)
        case Duration():
            return read_duration(kind, node, path, report)
        case Number():
            return read_number(kind, node, path, report)
        case TextList():
            return read_text_list(kind, node, path, report)
        case TextMap():
            return read_text_map(kind, node, path, report)
        case Arguments():
            return read_arguments(node, path, report)
        case Record():
            return read_record(kind, node, path, report)
        case RecordList():
            return _read_records(kind, node, path, report)


def _not_a_record(record: Record, node: Node, path: str, owner: str, report: Report) -> Invalid:
    if is_empty(node):
        remedy = record.when_empty or "write its fields, or remove it"
    else:
        remedy = _as_main_field(record, node, path) or f"write its fields: {_listing(record.names)}"
    return wrong_type(node, owner, "a map", remedy, report)


def _as_main_field(record: Record, node: Node, path: str) -> str:
    """Say how to write a value that stands in place of its map.

    Nothing if it cannot be the map's main field.
    """
    main = next((field.kind for field in record.fields if field.name == record.main), None)
    if main is None or not isinstance(node, Scalar) or _read(main, node, "", Report("")) is INVALID:
        return ""
    written = f"{record.main}: {node.text}"
    if path:
        written = f"{path.rpartition('.')[2]}: {{{written}}}"
    return f"write {code(written)}{record.main_note}"


def _check_names(record: Record, node: Fields, owner: str, report: Report) -> set[str | None]:
    """Note the unknown names; the names that were probably meant are not missing."""
    names = record.names
    meant = set()
    for name, entry in node.entries.items():
        if name not in names:
            advice = _advice(record, name, entry.value)
            near = None if advice else _meant(record, name, report)
            meant.add(near)
            remedy = f"did you mean {code(near)}?" if near else f"the fields here are {_listing(names)}"
            report.add(entry.key, f"there is no field {code(name)} in {owner}", advice or remedy)
    return meant


def _advice(record: Record, name: str, value: Node) -> str:
    """Say what to do about another system's name, or a field of an inner map.

    Nothing if it is neither.
    """
    advice = record.advice.get(fold_spelling(name)) or _field_with(record, name)
    return advice if isinstance(advice, str) else advice(value)


def _meant(record: Record, name: str, report: Report) -> str | None:
    return record.foreign.get(fold_spelling(name)) or report.nearest(name, names_of(record.names))


@cache
def _listing(names: tuple[str, ...]) -> str:
    # A file may have 150,000 unknown fields.
    return listing(names)


def _field_with(record: Record, name: str) -> str:
    """The advice for a field that exists one level further in, empty if there is none."""
    owners = (f.name for f in record.fields if isinstance(f.kind, Record) and name in f.kind.names)
    return next((f"it belongs inside {code(owner)}" for owner in owners), "")


def _check_presence(record: Record, present: AbstractSet[str | None], node: Fields, owner: str, report: Report) -> None:
    if not node.entries and record.when_empty:
        report.add(node, f"{owner} is empty", record.when_empty)
        return
    owner = owner.replace("a ", "the ", 1) if owner.startswith("a ") else owner
    for field in record.fields:
        if field.required and field.name not in present:
            example = f"add one, such as `{field.name}: {field.examples[0]}`" if field.examples else ""
            report.add(node, f"{owner} has no `{field.name}`", example or f"add `{field.name}:`")
    if record.any_of and not present & set(record.any_of):
        neither = " nor ".join(map(code, record.any_of))
        report.add(node, f"{owner} has neither {neither}", f"add one of them, or {record.when_empty}")


def _read_records(kind: RecordList, node: Node, path: str, report: Report) -> Any:
    if not isinstance(node, Items):
        remedy = f"begin each {kind.noun} with `- id: `"
        return wrong_type(node, code(path), f"a list of {kind.noun}s", remedy, report)
    if not node.items and node.complete:
        report.add(node, f"{code(path)} is empty", f"a workflow needs at least one {kind.noun}")
    if len(node.items) > kind.maximum:
        said = f"there are {len(node.items):,} {kind.noun}s, more than the {kind.maximum:,} allowed"
        report.add(node.items[kind.maximum], said, "divide the workflow into several files")
    read = [read_record(kind.record, item, "", report) for item in node.items[: kind.maximum]]
    return tuple(reading for reading in read if isinstance(reading, Reading))
