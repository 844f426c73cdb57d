"""Translate the protocol's requests into the database's: writes, queries and aggregations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from atom_emulator.firestore.aggregation import Aggregation, AggregationKind
from atom_emulator.firestore.codec import decode, decode_fields, micros_of, split_name
from atom_emulator.firestore.errors import InvalidArgument, Unimplemented
from atom_emulator.firestore.paths import FieldPath, parse_field_path
from atom_emulator.firestore.queries import All, Compare, Cursor, Either, Filter, Op, Order, Query
from atom_emulator.firestore.writes import (
    ANY,
    Precondition,
    Put,
    Remove,
    Transform,
    TransformKind,
    Write,
)

# -- writes -----------------------------------------------------------------------------------------


def decode_write(write: Any, database: str) -> Write:
    """Decode one write of a commit to a database.

    `database` has the form `projects/P/databases/D`.
    """
    precondition = decode_precondition(write.current_document)
    match write.WhichOneof("operation"):
        case "update":
            return Put(
                path=path_in(write.update.name, database),
                fields=decode_fields(write.update.fields),
                mask=decode_mask(write.update_mask) if write.HasField("update_mask") else None,
                transforms=_transforms(write.update_transforms),
                precondition=precondition,
            )
        case "delete":
            return Remove(path=path_in(write.delete, database), precondition=precondition)
        case "transform":
            return Put(
                path=path_in(write.transform.document, database),
                mask=(),
                transforms=_transforms(write.transform.field_transforms),
                precondition=precondition,
            )
    raise Unimplemented("a write must be an update, a delete or a transform")


def path_in(name: str, database: str) -> str:
    """Return the path in a document's full name.

    The name must belong to that database.
    """
    own, path = split_name(name)
    if own != database:
        raise InvalidArgument(f"{name!r} is not in {database}")
    return path


def decode_mask(mask: Any) -> tuple[FieldPath, ...]:
    """Return the field paths of a mask."""
    return tuple(map(parse_field_path, mask.field_paths))


def decode_precondition(condition: Any) -> Precondition:
    """Return the precondition on the document."""
    match condition.WhichOneof("condition_type"):
        case "exists":
            return Precondition(exists=condition.exists)
        case "update_time":
            return Precondition(updated=micros_of(condition.update_time))
    return ANY


def _transforms(transforms: Iterable[Any]) -> tuple[Transform, ...]:
    return tuple(_transform(one) for one in transforms)


def _transform(one: Any) -> Transform:
    field = parse_field_path(one.field_path)
    kind = one.WhichOneof("transform_type")
    match kind:
        case "set_to_server_value":
            return Transform(field, TransformKind.REQUEST_TIME)
        case "increment" | "maximum" | "minimum":
            return Transform(field, TransformKind(kind), decode(getattr(one, kind)))
        case "append_missing_elements" | "remove_all_from_array":
            operand = [decode(value) for value in getattr(one, kind).values]
            return Transform(field, _LIST_TRANSFORMS[kind], operand)
    raise InvalidArgument(f"the transform of {one.field_path!r} is empty")


_LIST_TRANSFORMS: Final[Mapping[str, TransformKind]] = {
    "append_missing_elements": TransformKind.APPEND_MISSING,
    "remove_all_from_array": TransformKind.REMOVE_ALL,
}

# -- queries ----------------------------------------------------------------------------------------

_DESCENDING: Final = 2
_OR: Final = 2
_FIELD_OPS: Final = {
    1: Op.LESS,
    2: Op.AT_MOST,
    3: Op.GREATER,
    4: Op.AT_LEAST,
    5: Op.EQUAL,
    6: Op.NOT_EQUAL,
    7: Op.CONTAINS,
    8: Op.IN,
    9: Op.CONTAINS_ANY,
    10: Op.NOT_IN,
}
_UNARY_OPS: Final = {2: Op.IS_NAN, 3: Op.IS_NULL, 4: Op.IS_NOT_NAN, 5: Op.IS_NOT_NULL}


def decode_query(parent: str, query: Any) -> Query:
    """Return the query below `parent`, a path in the database or empty."""
    if len(query.from_) > 1:
        raise InvalidArgument("StructuredQuery.from cannot have more than one collection selector.")
    if query.HasField("find_nearest"):
        raise Unimplemented("find_nearest is not emulated")
    source = query.from_[0] if query.from_ else None
    return Query(
        collection=source.collection_id or None if source else None,
        parent=parent,
        group=bool(source and source.all_descendants),
        where=_filter(query.where) if query.HasField("where") else None,
        order_by=tuple(
            Order(parse_field_path(one.field.field_path), one.direction == _DESCENDING) for one in query.order_by
        ),
        start=_cursor(query.start_at) if query.HasField("start_at") else None,
        end=_cursor(query.end_at) if query.HasField("end_at") else None,
        offset=query.offset,
        limit=query.limit.value if query.HasField("limit") else None,
        select=tuple(parse_field_path(field.field_path) for field in query.select.fields)
        if query.HasField("select")
        else None,
    )


def _cursor(cursor: Any) -> Cursor:
    return Cursor(tuple(decode(value) for value in cursor.values), cursor.before)


def _filter(where: Any) -> Filter:
    match where.WhichOneof("filter_type"):
        case "field_filter":
            one = where.field_filter
            return Compare(parse_field_path(one.field.field_path), _op(_FIELD_OPS, one.op), decode(one.value))
        case "unary_filter":
            unary = where.unary_filter
            return Compare(parse_field_path(unary.field.field_path), _op(_UNARY_OPS, unary.op))
        case "composite_filter":
            kind = Either if where.composite_filter.op == _OR else All
            return kind(tuple(map(_filter, where.composite_filter.filters)))
    raise InvalidArgument("a filter is empty")


def _op(table: Mapping[int, Op], number: int) -> Op:
    if number not in table:
        raise InvalidArgument(f"operator {number} is unknown")
    return table[number]


def decode_aggregation(one: Any) -> Aggregation:
    """Return one aggregation, without its alias."""
    match one.WhichOneof("operator"):
        case "count":
            up_to = one.count.up_to.value if one.count.HasField("up_to") else None
            return Aggregation(kind=AggregationKind.COUNT, up_to=up_to)
        case "sum":
            return Aggregation(kind=AggregationKind.SUM, field=parse_field_path(one.sum.field.field_path))
        case "avg":
            return Aggregation(kind=AggregationKind.AVERAGE, field=parse_field_path(one.avg.field.field_path))
    raise InvalidArgument("an aggregation is empty")
