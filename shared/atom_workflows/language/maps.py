"""From the keys and values of a map to its entries: names are text, each once, and `<<` merges other maps in."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from atom_workflows.language.nodes import Broken, Entry, Fields, Items, Node, Scalar
from atom_workflows.language.problems import Located, Report
from atom_workflows.language.scalars import describe, resolve
from atom_workflows.language.wording import code, in_quotes

_MERGE: Final = "<<"


def map_of(nodes: list[Node], at: Located, report: Report) -> Fields:
    """The map of alternating keys and values; a last key without a value is left out, for the file broke off there."""
    entries: dict[str, Entry] = {}
    for key, value in zip(nodes[::2], nodes[1::2], strict=False):
        name = _name(key, report)
        if name is None or not isinstance(key, Scalar):
            continue
        if name in entries:
            first = entries[name].key.line
            said = f"the field {code(name)} was there before, on line {first}"
            report.add(key, said, "remove one of them")
        else:
            entries[name] = Entry(key=key, name=name, value=_placed(value, key))
    return Fields(line=at.line, column=at.column, entries=_merged(entries, report))


def _name(key: Node, report: Report) -> str | None:
    if isinstance(key, Broken):
        return None
    name = resolve(key) if isinstance(key, Scalar) else None
    if isinstance(name, str):
        return name
    said, remedy = f"a field's name must be text, but this is {describe(key)}", "write a text before the `:`"
    if isinstance(key, Scalar) and key.text:
        said = f"a field's name must be text, but {code(key.text)} is {describe(key)}"
        remedy = f"put it in quotes: {in_quotes(key.text)}"
    report.add(key, said, remedy)
    return None


def _placed(value: Node, key: Scalar) -> Node:
    """The value; one of which nothing is written stands where its key does, for readers differ in where it is."""
    if isinstance(value, Scalar) and value.plain and not value.text:
        return replace(value, line=key.line, column=key.column)
    return value


def _merged(entries: dict[str, Entry], report: Report) -> dict[str, Entry]:
    merge = entries.get(_MERGE)
    if merge is None or not merge.key.plain:
        return entries
    own = {name: entry for name, entry in entries.items() if entry is not merge}
    merged: dict[str, Entry] = {}
    sources = merge.value.items if isinstance(merge.value, Items) else [merge.value]
    # From the last to the first, which counts most; each is gone through once, however many there are.
    for source in reversed(sources):
        if isinstance(source, Fields):
            merged.update(source.entries)
        elif not isinstance(source, Broken):
            said = f"`<<` merges a map, or a list of maps, but this is {describe(source)}"
            report.add(source, said, "give it an alias such as `*name` that stands for a map")
    return merged | own
