"""Turn the tree into plain values.

The kinds of the fields determine how values are read. Invalid values are reported and omitted.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from atom_workflows.errors import TypeNotationError
from atom_workflows.language.embedded import (
    OPENING,
    expressions_of,
    read_condition,
    read_embedded,
    refuse_expression,
    report_fault,
)
from atom_workflows.language.kinds import (
    Anything,
    Arguments,
    Choice,
    Condition,
    Cron,
    Duration,
    ExpressionMap,
    Flag,
    ItemLists,
    Kind,
    Number,
    ParamMap,
    ParamValues,
    Record,
    RecordList,
    Text,
    TextList,
    TextMap,
    TimeOfDay,
    TypeMap,
    TypeNotation,
    Zone,
)
from atom_workflows.language.nodes import (
    INVALID,
    Broken,
    Entry,
    Fields,
    Invalid,
    Items,
    Node,
    Reading,
    Scalar,
    Unclear,
    is_empty,
    resolve,
    wrong_type,
)
from atom_workflows.language.problems import Report, code, in_quotes, listing, shorten
from atom_workflows.language.scalars import (
    find_fault,
    read_choice,
    read_cron_field,
    read_duration,
    read_flag,
    read_number,
    read_text,
    read_time_of_day,
    read_zone,
)
from atom_workflows.language.suggestions import fold_spelling, names_of

if TYPE_CHECKING:
    from atom_workflows.expressions.types import Type


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
    meant = _check_names(record, node, owner, report)
    if meant:
        # Values are read under the names that were probably meant, so that all of their problems are found at once, and
        # no others that would vanish with the misspelling. A value of another shape may mean something else.
        node = replace(node, entries=node.entries | meant)
    if node.complete:
        _check_presence(record, node, owner, report)
    values = {
        field.name: _read(field.kind, entry.value, f"{path}.{field.name}" if path else field.name, report)
        for field in record.fields
        if (entry := node.entries.get(field.name)) and (field.name not in meant or _has_shape(field.kind, entry.value))
    }
    return Reading(node=node, values={name: value for name, value in values.items() if value is not INVALID})


def _has_shape(kind: Kind, node: Node) -> bool:
    """Return True if the value could be what the field expects.

    This is False only if the field expects a map or a list of maps, and the value neither is one nor suggests how to
    write one.
    """
    if isinstance(kind, Record):
        return isinstance(node, Fields) or bool(_as_main_field(kind, node, ""))
    return isinstance(node, Items) or not isinstance(kind, RecordList)


def _read(kind: Kind, node: Node, path: str, report: Report) -> Any:
    if node.alias and report.via is None:
        report.via = node.alias
        value = _read_kind(kind, node, path, report)
        report.via = None
        return value
    return _read_kind(kind, node, path, report)


def _read_kind(kind: Kind, node: Node, path: str, report: Report) -> Any:  # noqa: C901, PLR0911, PLR0912  # one case per kind
    if isinstance(node, Broken):
        return INVALID
    if isinstance(node, Scalar) and OPENING in node.text and not _allows_expressions(kind):
        meant = refuse_expression(node, code(path), report)
        if meant is None:
            return INVALID
        node = meant
    match kind:
        case Text():
            return read_text(kind, node, code(path), report)
        case Choice():
            return read_choice(kind, node, path, report)
        case Duration():
            return read_duration(kind, node, path, report)
        case Number():
            return read_number(kind, node, path, report)
        case Flag():
            return read_flag(node, path, report)
        case Zone():
            return read_zone(node, path, report)
        case Cron():
            return read_cron_field(node, path, report)
        case TimeOfDay():
            return read_time_of_day(node, path, report)
        case Condition():
            return read_condition(node, path, report)
        case TypeNotation():
            return read_type_notation(node, path, report)
        case Anything() | ParamValues():
            return replace(node, alias=report.via) if report.via else node
        case TypeMap() | ExpressionMap():
            return read_named_values(kind, node, path, report)
        case ParamMap():
            return read_params(kind, node, path, report)
        case TextList():
            return read_text_list(kind, node, path, report)
        case TextMap():
            return read_text_map(kind, node, path, report)
        case Arguments():
            return read_arguments(node, path, report)
        case ItemLists():
            return read_item_lists(kind, node, path, report)
        case Record():
            return read_record(kind, node, path, report)
        case RecordList():
            return read_records(kind, node, path, report)


def _allows_expressions(kind: Kind) -> bool:
    always = isinstance(kind, Condition | Anything | ParamValues | Arguments | ItemLists)
    return always or (isinstance(kind, Text | Number) and kind.expressions)


def _as_main_field(record: Record, node: Node, path: str) -> str:
    """Return advice on a value written in place of a map.

    The advice is empty unless the value fits the map's main field or a field in `any_of`.
    """
    fitting = (
        field
        for field in sorted(record.fields, key=lambda field: field.name != record.main)
        if isinstance(node, Scalar)
        and field.name in {record.main, *record.any_of}
        and _read(field.kind, node, "", Report("")) is not INVALID
    )
    field = next(fitting, None)
    if field is None or not isinstance(node, Scalar):
        return ""
    # Other readers of YAML may take an unquoted time for a number.
    written = f"{field.name}: {in_quotes(node.text) if isinstance(field.kind, TimeOfDay) else node.text}"
    if path:
        written = f"{path.rpartition('.')[2]}: {{{written}}}"
    return f"write {code(written)}{record.main_note}"


def _check_names(record: Record, node: Fields, owner: str, report: Report) -> dict[str, Entry]:
    """Report unknown names, and return their entries by intended name.

    An entry is left out if the intended field is present under its own name.
    """
    names = record.names
    meant: dict[str, Entry] = {}
    for name, entry in node.entries.items():
        if name in names or (OPENING in name and refuse_expression(entry.key, f"a name in {owner}", report) is None):
            continue
        folded = fold_spelling(name)
        # Advice on another system's name, or on a field of an inner map.
        advice = record.advice.get(folded) or ""
        if not advice:
            inner = (field for field in record.fields if isinstance(field.kind, Record) and name in field.kind.names)
            advice = next((f"it belongs inside {code(field.name)}" for field in inner), "")
        near = None if advice else record.foreign.get(folded) or report.nearest(name, names_of(names))
        if near and near not in node.entries:
            meant.setdefault(near, entry)
        remedy = f"did you mean {code(near)}?" if near else f"the fields here are {_listing(names)}"
        given = advice if isinstance(advice, str) else advice(entry.value)
        report.add(entry.key, f"there is no field {code(name)} in {owner}", given or remedy)
    return meant


@cache
def _listing(names: tuple[str, ...]) -> str:
    # Cached, because a file may have 150,000 unknown fields.
    return listing(names)


def _check_presence(record: Record, node: Fields, owner: str, report: Report) -> None:
    if not node.entries and record.when_empty:
        report.add(node, f"{owner} is empty", record.when_empty)
        return
    owner = owner.replace("a ", "the ", 1) if owner.startswith("a ") else owner
    for field in record.fields:
        if field.required and field.name not in node.entries:
            example = f"add one, such as `{field.name}: {field.examples[0]}`" if field.examples else ""
            report.add(node, f"{owner} has no `{field.name}`", example or f"add `{field.name}:`")
    given = node.entries.keys()
    is_complete = given & set(record.any_of) or (record.or_all_of and given >= set(record.or_all_of))
    if record.any_of and not is_complete:
        neither = " nor ".join(map(code, record.any_of))
        missing = [name for name in record.or_all_of if name not in given]
        present = [name for name in record.or_all_of if name in given]
        instead = record.when_empty
        if present:
            instead = f"{' and '.join(map(code, missing))} to go with {' and '.join(map(code, present))}"
        report.add(node, f"{owner} has neither {neither}", f"add one of them, or {instead}")


def read_records(kind: RecordList, node: Node, path: str, report: Report) -> Any:
    """Read a list of maps with a fixed set of fields."""
    if not isinstance(node, Items):
        first = next(field.name for field in kind.record.fields if field.required)
        remedy = f"begin each {kind.noun} with `- {first}: `"
        return wrong_type(node, code(path), f"a list of {kind.noun}s", remedy, report)
    if len(node.items) < kind.minimum and node.complete:
        report.add(node, f"{code(path)} is empty", f"a workflow needs at least one {kind.noun}")
    if len(node.items) > kind.maximum:
        said = f"there are {len(node.items):,} {kind.noun}s, more than the {kind.maximum:,} allowed"
        report.add(node.items[kind.maximum], said, "split the workflow into several files")
    read = [read_record(kind.record, item, "", report) for item in node.items[: kind.maximum]]
    return tuple(reading for reading in read if isinstance(reading, Reading))


def read_text_list(kind: TextList, node: Node, path: str, report: Report) -> Any:
    """Read a list of strings, or a single string.

    Returns the nodes of the valid strings, since their positions are needed later.
    """
    if is_empty(node):
        return wrong_type(node, code(path), "a list", "leave it out if there are none", report)
    if not isinstance(node, Items | Scalar):
        return wrong_type(node, code(path), "a list", "write a list, such as `[a, b]`", report)
    subject = f"an entry of {code(path)}" if isinstance(node, Items) else code(path)
    return tuple(
        item
        for item in (node.items if isinstance(node, Items) else [node])
        if not (isinstance(item, Scalar) and OPENING in item.text and refuse_expression(item, subject, report) is None)
        and read_text(kind.item, item, subject, report) is not INVALID
        and isinstance(item, Scalar)
    )


def read_text_map(kind: TextMap, node: Node, path: str, report: Report) -> Any:
    """Read a map from strings to strings."""
    if not isinstance(node, Fields):
        remedy = "leave it out if there are none" if is_empty(node) else "write a map, such as `{team: sales}`"
        return wrong_type(node, code(path), "a map from text to text", remedy, report)
    values = {}
    for entry in node.entries.values():
        name = _read_name(kind.key, entry, path, report)
        values[entry.name if name is None else name] = _read(kind.value, entry.value, f"{path}.{entry.name}", report)
    return values


def _read_name(kind: Text, entry: Entry, path: str, report: Report) -> str | None:
    """Return an entry's name, or report an invalid one.

    Returns None for an invalid name.
    """
    name, where = entry.name, f"a name in {code(path)}"
    if OPENING in name:
        meant = refuse_expression(entry.key, where, report)
        if meant is None:
            return None
        name = meant.text
    wrong = find_fault(kind, name)
    if wrong is None:
        return name
    report.add(entry.key, f"{where} {wrong[0]}", wrong[1])
    return None


_LONGEST_TYPE: Final = 2_000


def read_type_notation(node: Node, path: str, report: Report) -> Type | Invalid:
    """Read the notation of a type.

    It is a string, a list that contains the type of its items, or a map that contains the types of its members.
    """
    from atom_workflows.expressions.types import ListOf, MapOf, read_type  # noqa: PLC0415 (only some files have types)

    if isinstance(node, Scalar) and len(node.text) > _LONGEST_TYPE:
        report.add(node, f"the type is longer than {_LONGEST_TYPE:,} characters", "return a file's `gsUri` instead")
        return INVALID
    match node:
        case Items(items=[item]):
            inner = _read(TypeNotation(), item, f"{path}[]", report)
            return inner if isinstance(inner, Invalid) else ListOf(inner)
        case Fields(entries=entries) if entries:
            members = {
                name: _read(TypeNotation(), entry.value, f"{path}.{name}", report) for name, entry in entries.items()
            }
            return INVALID if INVALID in members.values() else MapOf(members)
    try:
        return read_type(_as_notation(node))
    except TypeNotationError as error:
        report.add(node, error.message, error.suggestion)
        return INVALID


def _as_notation(node: Node) -> object:
    match node:
        case Scalar():
            return None if is_empty(node) else node.text
        case Items():
            return [_as_notation(item) for item in node.items[:2]]
        case _:
            return {}


def read_named_values(kind: TypeMap | ExpressionMap, node: Node, path: str, report: Report) -> Any:
    """Read a map from names to types, or to values with expressions.

    Returns each entry as a pair: the node that contains its name, and its value.
    """
    if not isinstance(node, Fields):
        example = "{rows: int}" if isinstance(kind, TypeMap) else '{rows: "${{ steps.list.outputs.rows }}"}'
        remedy = "leave it out if there are none" if is_empty(node) else f"write a map, such as `{example}`"
        return wrong_type(node, code(path), "a map", remedy, report)
    _check_count(kind, node, path, report)
    inner = TypeNotation() if isinstance(kind, TypeMap) else Anything()
    found = {}
    for entry in node.entries.values():
        name = _read_name(kind.key, entry, path, report)
        value = _read(inner, entry.value, f"{path}.{entry.name}", report)
        if name is not None and value is not INVALID:
            found[name] = (entry.key, value)
    return found


def _check_count(kind: TypeMap | ExpressionMap | ParamMap | ItemLists, node: Fields, path: str, report: Report) -> None:
    if len(node.entries) > kind.maximum:
        first = list(node.entries.values())[kind.maximum]
        said = f"{code(path)} has {len(node.entries):,} names, more than the {kind.maximum:,} allowed"
        report.add(first.key, said, "remove some, or combine several into one map")


def read_params(kind: ParamMap, node: Node, path: str, report: Report) -> Any:
    """Read the parameters.

    Returns each entry as a pair: the node that contains its name, and either its fields or the node that contains its
    default.
    """
    if not isinstance(node, Fields):
        remedy = "leave it out if there are none" if is_empty(node) else "write a map, such as `{day: {type: date}}`"
        return wrong_type(node, code(path), "a map", remedy, report)
    _check_count(kind, node, path, report)
    found = {}
    for entry in node.entries.values():
        name = _read_name(kind.key, entry, path, report)
        value: Any = entry.value
        if isinstance(value, Fields) or is_empty(value):
            value = _read(kind.record, value, f"{path}.{entry.name}", report)
        elif isinstance(value, Items):
            said = f"{code(f'{path}.{entry.name}')} must be a map, but this is a list"
            report.add(value, said, "write its type and its default: `{type: [text], default: [...]}`")
            continue
        if name is not None and value is not INVALID and not isinstance(value, Broken):
            found[name] = (entry.key, value)
    return found


def read_arguments(node: Node, path: str, report: Report) -> Any:
    """Read a list or a map of JSON values."""
    if isinstance(node, Items | Fields | Broken):
        return _read_json(node, path, report)
    if OPENING in node.text:
        value = read_embedded(node, report)
        if not isinstance(value, str):
            return value
    from atom_workflows.language.commands import list_words  # noqa: PLC0415 (only needed for advice)

    example = list_words(node.text) or f"[{shorten(node.text)}]"
    remedy = "leave it out if there are none" if is_empty(node) else f"write a list, such as `{example}`"
    return wrong_type(node, code(path), "a list or a map", remedy, report)


def read_item_lists(kind: ItemLists, node: Node, path: str, report: Report) -> Any:
    """Read the items of a loop.

    Returns the lists by name, each as JSON values or an expression; a single list has the name "". Lists that could not
    be read are included as `INVALID`, since expressions may still read their items.
    """
    if not isinstance(node, Fields):
        items = _read_items(node, path, report)
        return items if isinstance(items, Invalid) else {"": items}
    if not node.entries:
        report.add(node, f"{code(path)} is empty", "write a list, or a map of lists")
        return INVALID
    _check_count(kind, node, path, report)
    lists = {}
    for entry in node.entries.values():
        name = _read_name(kind.key, entry, path, report)
        outer, report.via = report.via, report.via or entry.value.alias
        lists[entry.name if name is None else name] = _read_items(entry.value, f"{path}.{entry.name}", report)
        report.via = outer
    return lists


def _read_items(node: Node, path: str, report: Report) -> Any:
    """Read a list of JSON values, or an expression."""
    if isinstance(node, Broken):
        return INVALID
    if isinstance(node, Items):
        items = _read_json(node, path, report)
        for _, inner in expressions_of({"": items}):
            said = f"expressions are not allowed inside the list {code(path)}"
            report_fault(inner, 0, said, "make the whole list one expression: `${{ [a, b] }}`", report)
        return items
    if isinstance(node, Scalar) and OPENING in node.text:
        value = read_embedded(node, report)
        if not isinstance(value, str):
            return value
    remedy = "write a list, such as `[eu, us]`, or an expression, such as `${{ steps.list.outputs.files }}`"
    if isinstance(node, Scalar) and node.text.startswith(("steps.", "params.")):
        remedy = f"write {code(f'${{{{ {node.text} }}}}')}"
    return wrong_type(node, code(path), "a list", remedy, report)


def _read_json(node: Node, path: str, report: Report) -> Any:
    """Return the node's value, including any expressions."""
    if node.alias and report.via is None:
        report.via = node.alias
        value = _read_json_node(node, path, report)
        report.via = None
        return value
    return _read_json_node(node, path, report)


def _read_json_node(node: Node, path: str, report: Report) -> Any:
    """Return the node's value.

    The tree's depth is limited, so the depth of this recursion is limited as well.
    """
    match node:
        case Items():
            return [_read_json(item, path, report) for item in node.items]
        case Fields():
            return {
                _plain_name(entry, path, report): _read_json(entry.value, path, report)
                for entry in node.entries.values()
            }
        case Scalar():
            value = resolve(node)
            if isinstance(value, str) and OPENING in value:
                return read_embedded(node, report)
            if not isinstance(value, Unclear):
                return value
            remedy = f"if you mean the text, put it in quotes: {in_quotes(node.text)}"
            also = f"; otherwise write {value.remedy}" if value.remedy else ""
            report.add(node, f"in {code(path)}, {code(node.text)} is {value.meaning}", remedy + also)
            return INVALID
        case Broken():
            return INVALID


def _plain_name(entry: Entry, path: str, report: Report) -> str:
    """Return a name, and report any expression in it."""
    if OPENING not in entry.name:
        return entry.name
    meant = refuse_expression(entry.key, f"a name in {code(path)}", report)
    return entry.name if meant is None else meant.text
