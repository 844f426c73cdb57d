"""Build a tree from YAML or JSON events, within all limits.

Recursion is not used, and nothing too large is ever built. The names in a map are unique strings, and `<<` merges other
maps into it.

An alias refers to the same node again, so it takes up no memory here. The values that are later built from the tree
have no aliases, so a one-kilobyte file can expand to gigabytes of values. Each node therefore has a weight and a
height, an alias adds the weight and height of its node, and building stops once the file is too heavy. Values that are
nested too deeply are skipped but still weighed, so that any problems after them are found in bounded time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from atom_workflows.language import limits
from atom_workflows.language.json_syntax import JsonValue
from atom_workflows.language.nodes import Broken, Entry, Fields, Items, Node, Scalar, describe, resolve
from atom_workflows.language.problems import Located, Place, Report, code, in_quotes

_HOPELESS_DEPTH: Final = 10 * limits.MAX_DEPTH


def compose(events: Iterable[Any], report: Report) -> tuple[Node | None, bool]:
    """Return the tree of the file's document, if there is one.

    The second result is True if the document was read to its end.
    """
    composer = _Composer(report)
    for event in events:
        composer.feed(event)
        if composer.ended:
            break
    return composer.finish()


@dataclass(slots=True, kw_only=True)
class _Open:
    """A list or map that is still being read."""

    is_map: bool
    line: int
    column: int
    anchor: str | None
    nodes: list[Node] = field(default_factory=list)


class _Composer:
    def __init__(self, report: Report) -> None:
        self.ended = False
        self._report = report
        self._whole = False
        self._root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._weight = 0
        self._skipping = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            JsonValue: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end,
            yaml.SequenceEndEvent: self._end,
            yaml.DocumentStartEvent: self._document_start,
            yaml.DocumentEndEvent: self._document_end,
            yaml.StreamEndEvent: self._document_end,
        }

    def feed(self, event: Any) -> None:
        """Process the next event."""
        handler = self._handlers.get(type(event))
        if handler:
            handler(event)

    def finish(self) -> tuple[Node | None, bool]:
        """Close what a broken file left open, and return the result."""
        while self._open:
            self._close(complete=False)
        return self._root, self._whole

    def _document_start(self, event: Any) -> None:
        if self._whole:
            said = "a second document begins here, but a file may contain only one workflow"
            self._report.add(_place(event), said, "remove the line `---`, or put the rest in a separate file")
            self.ended = True

    def _document_end(self, _event: Any) -> None:
        self._whole = True

    def _scalar(self, event: Any) -> None:
        if self._skipping:
            self._weigh(1, _place(event))
            return
        text, mark = event.value, event.start_mark
        self._check_tag(event)
        weight = 1 + len(text) // limits.TEXT_PER_NODE
        line, column = mark.line + 1, mark.column + 1
        plain = not event.style and not event.tag
        node = Scalar(text=text, plain=plain, line=line, column=column, weight=weight)
        self._weigh(weight, node)
        self._attach(node, event.anchor)

    def _alias(self, event: Any) -> None:
        place = _place(event)
        if self._skipping:
            self._weigh(1, place)
            return
        node = self._anchors.get(event.anchor)
        if node is None:
            shown = code("*" + event.anchor)
            if any(opened.anchor == event.anchor for opened in self._open):
                self._report.add(place, f"the alias {shown} refers to a value that contains it", "remove it")
            else:
                remedy = f"write {code('&' + event.anchor)} before the value it refers to"
                self._report.add(place, f"the alias {shown} has no anchor before it", remedy)
            node = Broken(line=place.line, column=place.column)
        if len(self._open) + node.height > limits.MAX_DEPTH:
            self._too_deep(place)
            node = Broken(line=place.line, column=place.column)
        self._weigh(node.weight, place)
        self._attach(replace(node, alias=place), None)

    def _start(self, event: Any) -> None:
        place = _place(event)
        if self._skipping or len(self._open) >= limits.MAX_DEPTH:
            if not self._skipping:
                self._too_deep(place)
            self._skipping += 1
            # Skipping also takes time, so skipped values are weighed as well.
            self._weigh(1, place)
            if self._skipping > _HOPELESS_DEPTH:
                self.ended = True
            return
        self._check_tag(event)
        is_map = isinstance(event, yaml.MappingStartEvent)
        opened = _Open(is_map=is_map, line=place.line, column=place.column, anchor=event.anchor)
        self._open.append(opened)
        self._weigh(1, place)

    def _end(self, event: Any) -> None:
        if not self._skipping:
            self._close(complete=True)
            return
        self._skipping -= 1
        if not self._skipping:
            place = _place(event)
            self._attach(Broken(line=place.line, column=place.column), None)

    def _close(self, *, complete: bool) -> None:
        done = self._open.pop()
        node: Items | Fields
        if done.is_map:
            node = build_map(done.nodes, Place(line=done.line, column=done.column), self._report)
        else:
            node = Items(line=done.line, column=done.column, items=done.nodes)
        node.complete = complete
        node.weight = 1 + sum(child.weight for child in done.nodes)
        node.height = 1 + max((child.height for child in done.nodes), default=0)
        self._attach(node, done.anchor)

    def _attach(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1].nodes.append(node)
        else:
            self._root = node

    def _weigh(self, weight: int, place: Located) -> None:
        self._weight += weight
        if self._weight > limits.MAX_NODES:
            most = f"{limits.MAX_NODES:,}"
            said = f"the file contains more than {most} values, counting everything that its aliases expand to"
            self._report.add(place, said, "use fewer aliases, or split the workflow into several files")
            self.ended = True

    def _too_deep(self, place: Place) -> None:
        said = f"lists and maps are nested more than {limits.MAX_DEPTH} levels deep"
        self._report.add(place, said, "flatten them")

    def _check_tag(self, event: Any) -> None:
        if event.tag and event.tag != "!":
            shown = code(event.tag.replace("tag:yaml.org,2002:", "!!"))
            said = f"the tag {shown} is not allowed"
            nodes = self._open[-1].nodes if self._open and self._open[-1].is_map else []
            is_condition = len(nodes) % 2 == 1 and isinstance(nodes[-1], Scalar) and nodes[-1].text == "when"
            if is_condition and not event.tag.startswith("tag:"):
                self._report.add(_place(event), f"`!` begins a tag, but {shown} is not a tag", "write `not` for `!`")
                return
            self._report.add(_place(event), said, "remove it; a value in quotes is text")


def _place(event: Any) -> Place:
    return Place(line=event.start_mark.line + 1, column=event.start_mark.column + 1)


_MERGE: Final = "<<"


def build_map(nodes: list[Node], at: Located, report: Report) -> Fields:
    """Build a map from alternating keys and values.

    A final key without a value is left out, since reading stopped there.
    """
    entries: dict[str, Entry] = {}
    for key, value in zip(nodes[::2], nodes[1::2], strict=False):
        name = _read_name(key, report)
        if name is None or not isinstance(key, Scalar):
            continue
        if name in entries:
            first = entries[name].key.line
            said = f"the field {code(name)} was already set on line {first}"
            report.add(key, said, "remove one of them")
        else:
            placed = value
            if isinstance(value, Scalar) and value.plain and not value.text:
                # YAML readers report different positions for a missing value, so it gets the position of its key.
                placed = replace(value, line=key.line, column=key.column)
            entries[name] = Entry(key=key, name=name, value=placed)
    return Fields(line=at.line, column=at.column, entries=_merge(entries, report))


def _read_name(key: Node, report: Report) -> str | None:
    if isinstance(key, Broken):
        return None
    name = resolve(key) if isinstance(key, Scalar) else None
    if isinstance(name, str):
        return name
    said, remedy = f"a field's name must be text, but this is {describe(key)}", "write some text before the `:`"
    if isinstance(key, Scalar) and key.text:
        said = f"a field's name must be text, but {code(key.text)} is {describe(key)}"
        remedy = f"put it in quotes: {in_quotes(key.text)}"
    report.add(key, said, remedy)
    return None


def _merge(entries: dict[str, Entry], report: Report) -> dict[str, Entry]:
    merge = entries.get(_MERGE)
    if merge is None or not merge.key.plain:
        return entries
    own = {name: entry for name, entry in entries.items() if entry is not merge}
    merged: dict[str, Entry] = {}
    sources = merge.value.items if isinstance(merge.value, Items) else [merge.value]
    # Go from last to first, since the first map takes precedence. Each map is visited only once.
    for source in reversed(sources):
        if isinstance(source, Fields):
            for name, entry in source.entries.items():
                via = source.alias
                merged[name] = entry if via is None else replace(entry, value=replace(entry.value, alias=via))
        elif not isinstance(source, Broken):
            said = f"`<<` merges a map, or a list of maps, but this is {describe(source)}"
            report.add(source, said, "use an alias such as `*name` that refers to a map")
    return merged | own
