"""Turn the tree into plain values according to the kinds of the fields. Invalid values are reported and left out."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, Final, TypeGuard

from atom_workflows.core.durations import format_duration, parse_duration, respell_duration
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
from atom_workflows.language.nodes import (
    INVALID,
    Broken,
    Fields,
    Invalid,
    Items,
    Node,
    Reading,
    Scalar,
    Unclear,
    is_empty,
    quotes_missing,
    resolve,
    wrong_type,
)
from atom_workflows.language.problems import Report, code, in_quotes, listing, shorten
from atom_workflows.language.suggestions import fold_spelling, names_of

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
"""Control characters: C0, DEL and C1."""


def read_record(record: Record, node: Node, path: str, report: Report) -> Reading | Invalid:
    """Read a map with a fixed set of fields.

    `path` is the map's name in messages; it is empty for the workflow itself and for a step.
    """
    owner = code(path) if path else f"a {record.title.lower()}"
    if isinstance(node, Broken):
        return INVALID
    if not isinstance(node, Fields):
        if is_empty(node):
            remedy = record.when_empty or "write its fields, or remove it"
        else:
            remedy = _as_main_field(record, node, path) or f"write its fields: {_listing(record.names)}"
        return wrong_type(node, owner, "a map", remedy, report)
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
            return read_records(kind, node, path, report)


def _as_main_field(record: Record, node: Node, path: str) -> str:
    """Return advice on a value written in place of a map.

    The advice is empty if the value cannot be the map's main field.
    """
    main = next((field.kind for field in record.fields if field.name == record.main), None)
    if main is None or not isinstance(node, Scalar) or _read(main, node, "", Report("")) is INVALID:
        return ""
    written = f"{record.main}: {node.text}"
    if path:
        written = f"{path.rpartition('.')[2]}: {{{written}}}"
    return f"write {code(written)}{record.main_note}"


def _check_names(record: Record, node: Fields, owner: str, report: Report) -> set[str | None]:
    """Report unknown names, and return the names probably meant instead.

    This way, a misspelt field is not reported as missing as well.
    """
    names = record.names
    meant = set()
    for name, entry in node.entries.items():
        if name in names:
            continue
        folded = fold_spelling(name)
        # Advice on another system's name, or on a field of an inner map.
        advice = record.advice.get(folded) or ""
        if not advice:
            inner = (field for field in record.fields if isinstance(field.kind, Record) and name in field.kind.names)
            advice = next((f"it belongs inside {code(field.name)}" for field in inner), "")
        near = None if advice else record.foreign.get(folded) or report.nearest(name, names_of(names))
        meant.add(near)
        remedy = f"did you mean {code(near)}?" if near else f"the fields here are {_listing(names)}"
        given = advice if isinstance(advice, str) else advice(entry.value)
        report.add(entry.key, f"there is no field {code(name)} in {owner}", given or remedy)
    return meant


@cache
def _listing(names: tuple[str, ...]) -> str:
    # Cached, because a file may have 150,000 unknown fields.
    return listing(names)


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


def read_records(kind: RecordList, node: Node, path: str, report: Report) -> Any:
    """Read a list of maps with a fixed set of fields."""
    if not isinstance(node, Items):
        remedy = f"begin each {kind.noun} with `- id: `"
        return wrong_type(node, code(path), f"a list of {kind.noun}s", remedy, report)
    if not node.items and node.complete:
        report.add(node, f"{code(path)} is empty", f"a workflow needs at least one {kind.noun}")
    if len(node.items) > kind.maximum:
        said = f"there are {len(node.items):,} {kind.noun}s, more than the {kind.maximum:,} allowed"
        report.add(node.items[kind.maximum], said, "split the workflow into several files")
    read = [read_record(kind.record, item, "", report) for item in node.items[: kind.maximum]]
    return tuple(reading for reading in read if isinstance(reading, Reading))


def read_text(kind: Text, node: Node, subject: str, report: Report) -> str | Invalid:
    """Read text.

    `subject` is the value's name in messages.
    """
    if isinstance(node, Broken):
        return INVALID
    if not isinstance(node, Scalar) or is_empty(node):
        return wrong_type(node, subject, "text", kind.when_empty, report)
    text = resolve(node)
    if not isinstance(text, str):
        return quotes_missing(node, subject, report)
    wrong = _find_fault(kind, text)
    if wrong is None:
        return text
    report.add(node, f"{subject} {wrong[0]}", wrong[1])
    return INVALID


def read_choice(kind: Choice, node: Node, path: str, report: Report) -> str | Invalid:
    """Read one of a fixed set of words."""
    allowed = " or ".join(code(word) for word in kind.words)
    if not isinstance(node, Scalar) or is_empty(node):
        return wrong_type(node, code(path), "a word", f"write {allowed}", report)
    if node.text in kind.words:
        return node.text
    near = report.nearest(node.text, names_of(kind.words))
    suggestion = f"did you mean {code(near)}?" if near else f"write {allowed}"
    report.add(node, f"{code(path)} cannot be {code(node.text)}", suggestion)
    return INVALID


def read_text_list(kind: TextList, node: Node, path: str, report: Report) -> Any:
    """Read a list of texts, or a single text.

    Returns the nodes of the valid texts, since their positions are needed later.
    """
    if is_empty(node):
        return wrong_type(node, code(path), "a list", "leave it out if there are none", report)
    if not isinstance(node, Items | Scalar):
        return wrong_type(node, code(path), "a list", "write a list, such as `[a, b]`", report)
    subject = f"an entry of {code(path)}" if isinstance(node, Items) else code(path)
    return tuple(
        item
        for item in (node.items if isinstance(node, Items) else [node])
        if read_text(kind.item, item, subject, report) is not INVALID and isinstance(item, Scalar)
    )


def read_text_map(kind: TextMap, node: Node, path: str, report: Report) -> Any:
    """Read a map from text to text."""
    if not isinstance(node, Fields):
        remedy = "leave it out if there are none" if is_empty(node) else "write a map, such as `{team: sales}`"
        return wrong_type(node, code(path), "a map from text to text", remedy, report)
    for entry in node.entries.values():
        wrong = _find_fault(kind.key, entry.name)
        if wrong:
            report.add(entry.key, f"a name in {code(path)} {wrong[0]}", wrong[1])
    return {
        entry.name: read_text(kind.value, entry.value, code(f"{path}.{entry.name}"), report)
        for entry in node.entries.values()
    }


def _find_fault(kind: Text, text: str) -> tuple[str, str] | None:
    """Return the text's fault and advice on it, or None."""
    if len(text) > kind.max_length:
        return f"has {len(text):,} characters, more than the {kind.max_length:,} allowed", "shorten it"
    if len(text) < kind.min_length:
        return "is empty", kind.when_empty
    # str.isprintable alone would also refuse rare kinds of spaces.
    if not kind.multiline and not text.isprintable() and _CONTROL.search(text):
        return f"contains a line break or control character: {code(text)}", "remove it"
    if _matches(kind, text):
        return None
    advice = f"use only {kind.rule}"
    instead = kind.respell(text)[: kind.max_length] if kind.respell else ""
    if instead and _matches(kind, instead):
        display = kind.display if " " in text or not text.isascii() else ""
        advice = f"write {code(instead)}{display}; use only {kind.rule}"
    return f"cannot be {code(text)}", advice


def _matches(kind: Text, text: str) -> bool:
    allowed = kind.pattern is None or re.fullmatch(kind.pattern, text)
    return bool(allowed) and not (kind.forbidden and re.fullmatch(kind.forbidden, text))


_UNITS: Final = "write a number with a unit, such as `30s`, `10m`, `2h`, `1d` or `1h30m`"


def read_duration(kind: Duration, node: Node, path: str, report: Report) -> timedelta | Invalid:
    """Read a duration."""
    text = resolve(node) if isinstance(node, Scalar) else None
    if _is_number(text):
        said = f"{code(path)} is the bare number {code(str(text))}, but a duration needs a unit"
        report.add(node, said, _advise_on_unit(str(text)))
        return INVALID
    if not isinstance(text, str):
        return wrong_type(node, code(path), "a duration", _UNITS, report)
    try:
        duration = parse_duration(text)
    except ValueError:
        right = respell_duration(text)
        report.add(node, f"{code(path)} cannot be {code(text)}", f"write `{right}`" if right else _advise_on_unit(text))
        return INVALID
    if duration > kind.maximum or (kind.positive and not duration):
        least = "more than 0s and " * kind.positive
        bounds = f"write a duration of {least}at most {format_duration(kind.maximum)}"
        report.add(node, f"{code(path)} cannot be {code(text)}", bounds)
        return INVALID
    return duration


def read_number(kind: Number, node: Node, path: str, report: Report) -> float | Invalid:
    """Read a number."""
    noun = "a whole number" if kind.whole else "a number"
    bounds = f"write {noun} from {kind.minimum} to {kind.maximum}"
    value = resolve(node) if isinstance(node, Scalar) else None
    if isinstance(node, Scalar) and isinstance(value, str) and _is_number(resolve(replace(node, plain=True))):
        report.add(node, f"{code(path)} must be {noun}, but {code(value)} is text in quotes", "remove the quotes")
        return INVALID
    if not _is_number(value):
        return wrong_type(node, code(path), noun, bounds, report)
    if kind.minimum <= value <= kind.maximum and (isinstance(value, int) or not kind.whole):
        return value
    report.add(node, f"{code(path)} cannot be {code(str(value))}", bounds)
    return INVALID


def _advise_on_unit(number: str) -> str:
    """Return advice on a number without a unit."""
    bare = number.isdecimal() and number.isascii()
    return f"add a unit: `{shorten(number)}s` for seconds, `{shorten(number)}m` for minutes" if bare else _UNITS


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_arguments(node: Node, path: str, report: Report) -> Any:
    """Read a list or a map of JSON values."""
    if isinstance(node, Items | Fields | Broken):
        return _read_json(node, path, report)
    example = f"[{shorten(node.text)}]"
    remedy = "leave it out if there are none" if is_empty(node) else f"write a list, such as `{example}`"
    return wrong_type(node, code(path), "a list or a map", remedy, report)


def _read_json(node: Node, path: str, report: Report) -> Any:
    """Return the node's value.

    The tree's depth is limited, so this recursion is as well.
    """
    match node:
        case Items():
            return [_read_json(item, path, report) for item in node.items]
        case Fields():
            return {entry.name: _read_json(entry.value, path, report) for entry in node.entries.values()}
        case Scalar():
            value = resolve(node)
            if not isinstance(value, Unclear):
                return value
            remedy = f"if you mean the text, put it in quotes: {in_quotes(node.text)}"
            also = f"; otherwise write {value.remedy}" if value.remedy else ""
            report.add(node, f"in {code(path)}, {code(node.text)} is {value.meaning}", remedy + also)
            return INVALID
        case Broken():
            return INVALID
