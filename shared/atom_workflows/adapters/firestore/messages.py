"""Convert documents and writes to and from Firestore's protocol messages.

The client library wraps each message, and every value in it, in another Python object. That costs more than the call
itself, so requests and responses use the underlying messages directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.field_path import FieldPath

from atom_workflows.adapters.grpc_calls import message_class
from atom_workflows.ports import (
    Create,
    Direction,
    Document,
    Fields,
    Operator,
    Query,
    Update,
    Upsert,
    Write,
    WriteResult,
)

_Commit: Final = message_class(types.CommitRequest)
_BatchGet: Final = message_class(types.BatchGetDocumentsRequest)
_Get: Final = message_class(types.GetDocumentRequest)
_RunQuery: Final = message_class(types.RunQueryRequest)
_RunAggregation: Final = message_class(types.RunAggregationQueryRequest)

DOCUMENT: Final = message_class(types.Document)
BATCH_GET_ANSWER: Final = message_class(types.BatchGetDocumentsResponse)
COMMIT_ANSWER: Final = message_class(types.CommitResponse)
QUERY_ANSWER: Final = message_class(types.RunQueryResponse)
COUNT_ANSWER: Final = message_class(types.RunAggregationQueryResponse)

COUNT_ALIAS: Final = "counted"
"""The alias of the count in the response to a count query."""

_Filters: Final = types.StructuredQuery
_OPERATORS: Final[Mapping[Operator, int]] = {
    "==": _Filters.FieldFilter.Operator.EQUAL,
    "!=": _Filters.FieldFilter.Operator.NOT_EQUAL,
    "<": _Filters.FieldFilter.Operator.LESS_THAN,
    "<=": _Filters.FieldFilter.Operator.LESS_THAN_OR_EQUAL,
    ">": _Filters.FieldFilter.Operator.GREATER_THAN,
    ">=": _Filters.FieldFilter.Operator.GREATER_THAN_OR_EQUAL,
    "in": _Filters.FieldFilter.Operator.IN,
}
_EQUALITIES: Final = frozenset({"==", "in"})
_DIRECTIONS: Final[Mapping[Direction, int]] = {
    "ascending": _Filters.Direction.ASCENDING,
    "descending": _Filters.Direction.DESCENDING,
}
_NAME: Final = "__name__"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FirestoreMessages:
    """Builds and reads the messages for one database, named `projects/{project}/databases/{database}`."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._documents = f"{database}/documents/"

    def get(self, path: str, fields: Sequence[str] | None) -> Any:
        """Build a request for one document, or for some of its fields."""
        request = _Get(name=self._documents + path)
        if fields is not None:
            request.mask.field_paths.extend(map(_quote, fields))
        return request

    def batch_get(self, paths: Iterable[str], fields: Sequence[str] | None) -> Any:
        """Build a request for several documents, or for some of their fields.

        The paths must be distinct.
        """
        request = _BatchGet(database=self._database, documents=[self._documents + path for path in paths])
        if fields is not None:
            request.mask.field_paths.extend(map(_quote, fields))
        return request

    def commit(self, writes: Sequence[Write]) -> Any:
        """Build a request for an atomic commit of the writes.

        Raises `ValueError` for a value that Firestore cannot store.
        """
        request = _Commit(database=self._database)
        for write in writes:
            self._add_write(write, request.writes.add())
        return request

    def query(self, query: Query) -> Any:
        """Build a request for the documents that match a query."""
        request = _RunQuery(parent=self._parent(query))
        self._set_query(query, request.structured_query)
        return request

    def count(self, query: Query) -> Any:
        """Build a request that counts the documents that match a query."""
        request = _RunAggregation(parent=self._parent(query))
        self._set_query(query, request.structured_aggregation_query.structured_query)
        request.structured_aggregation_query.aggregations.add(alias=COUNT_ALIAS).count.SetInParent()
        return request

    def document(self, message: Any, fields: frozenset[str] | None = None) -> Document:
        """Return the document in a message, or only some of its fields."""
        return Document(
            path=message.name.removeprefix(self._documents),
            fields=_decode_fields(message.fields, fields),
            version=message.update_time,
        )

    def _parent(self, query: Query) -> str:
        """Return the name of the collection's parent document, or the root."""
        return (self._documents + query.collection.rpartition("/")[0]).rstrip("/")

    def _set_query(self, query: Query, message: Any) -> None:
        message.from_.add(collection_id=query.collection.rpartition("/")[2], all_descendants=query.group)
        filters = message.where.composite_filter
        for name, operator, value in query.where:
            condition = filters.filters.add()
            if operator == "==" and value is None:
                # Firestore cannot compare with null; it has a separate condition for that.
                condition.unary_filter.field.field_path = name
                condition.unary_filter.op = _Filters.UnaryFilter.Operator.IS_NULL
                continue
            condition.field_filter.field.field_path = name
            condition.field_filter.op = _OPERATORS[operator]
            _encode(value, condition.field_filter.value)
        if query.where:
            filters.op = _Filters.CompositeFilter.Operator.AND
        for name, direction in _complete_order(query):
            message.order_by.add(direction=_DIRECTIONS[direction]).field.field_path = name
        if query.fields is not None:
            for name in query.fields:
                message.select.fields.add(field_path=name)
        if query.after is not None:
            *values, path = query.after
            for value in values:
                _encode(value, message.start_at.values.add())
            message.start_at.values.add(reference_value=self._documents + path)
        if query.limit is not None:
            message.limit.value = query.limit

    def _add_write(self, write: Write, message: Any) -> None:
        name = self._documents + write.path
        message.update.name = name
        _encode_fields(write.fields, message.update.fields)
        if isinstance(write, Create):
            message.current_document.exists = False
            return
        # Without a mask (an empty one is enough), Firestore would delete all other fields.
        message.update_mask.SetInParent()
        message.update_mask.field_paths.extend(map(_quote, write.fields))
        for field, by in write.increments.items():
            message.update_transforms.add(field_path=_quote(field)).increment.integer_value = by
        if isinstance(write, Upsert):
            return
        if write.guard is None:
            message.current_document.exists = True
        else:
            message.current_document.update_time.CopyFrom(write.guard)


def decode_results(writes: Sequence[Write], answer: Any) -> list[WriteResult]:
    """Return the results of a commit, in the order of its writes.

    Firestore returns the results of increments in the order in which the increments were sent.
    """
    return [
        WriteResult(
            version=result.update_time,
            increments={
                name: transformed.integer_value
                for name, transformed in zip(
                    write.increments if isinstance(write, Update | Upsert) else (),
                    result.transform_results,
                    strict=True,
                )
            },
        )
        for write, result in zip(writes, answer.write_results, strict=True)
    ]


def _complete_order(query: Query) -> Iterator[tuple[str, Direction]]:
    """Yield a query's sort fields, including those that Firestore adds.

    Firestore adds the fields of inequality conditions, then the name, all in the direction of the last sort field. The
    query needs the same indexes whether or not these fields are spelled out.
    """
    yield from query.order_by
    last_direction = query.order_by[-1][1] if query.order_by else "ascending"
    ordered = {name for name, _ in query.order_by}
    unequal = {name for name, operator, _ in query.where if operator not in _EQUALITIES}
    yield from ((name, last_direction) for name in sorted(unequal - ordered))
    yield _NAME, last_direction


@lru_cache(maxsize=256)
def _quote(name: str) -> str:
    """Quote a field's name for use where a path is expected."""
    return str(FieldPath(name).to_api_repr())


# -- to the protocol -------------------------------------------------------------------------------------------------


def _encode_fields(fields: Fields, into: Any) -> None:
    for name, value in fields.items():
        _encode(value, into[name])


def _encode(value: Any, into: Any) -> None:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:  # A `StrEnum`, for example, is encoded like its base class.
        encoder = next((encoder for kind, encoder in _ENCODERS.items() if isinstance(value, kind)), None)
    if encoder is None:
        raise TypeError(f"Firestore cannot store a {type(value).__name__}")
    encoder(value, into)


def _scalar(name: str) -> Callable[[Any, Any], None]:
    return lambda value, into: setattr(into, name, value)


def _encode_time(value: datetime, into: Any) -> None:
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    into.timestamp_value.seconds = since.days * 86_400 + since.seconds
    into.timestamp_value.nanos = since.microseconds * 1_000


def _encode_map(value: Fields, into: Any) -> None:
    into.map_value.SetInParent()
    _encode_fields(value, into.map_value.fields)


def _encode_list(value: Sequence[Any], into: Any) -> None:
    into.array_value.SetInParent()
    for item in value:
        _encode(item, into.array_value.values.add())


_ENCODERS: Final[Mapping[type, Callable[[Any, Any], None]]] = {
    type(None): lambda _, into: setattr(into, "null_value", 0),
    str: _scalar("string_value"),
    bool: _scalar("boolean_value"),  # before int, since a bool is also an int
    int: _scalar("integer_value"),
    float: _scalar("double_value"),
    bytes: _scalar("bytes_value"),
    datetime: _encode_time,
    Mapping: _encode_map,
    dict: _encode_map,
    list: _encode_list,
    tuple: _encode_list,
}

# -- from the protocol -----------------------------------------------------------------------------------------------


def _decode_fields(fields: Any, wanted: frozenset[str] | None = None) -> dict[str, Any]:
    # Avoid items(): a protocol map builds the pairs in Python, one by one.
    names = fields if wanted is None else wanted.intersection(fields)
    return {name: _decode(fields[name]) for name in names}


def _decode(value: Any) -> Any:
    kind = value.WhichOneof("value_type")
    decoder = _DECODERS.get(kind)
    return getattr(value, kind) if decoder is None else decoder(value)


def _decode_time(value: Any) -> datetime:
    moment = value.timestamp_value
    return _EPOCH + timedelta(seconds=moment.seconds, microseconds=moment.nanos // 1_000)


_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "null_value": lambda _: None,
    "timestamp_value": _decode_time,
    "map_value": lambda value: _decode_fields(value.map_value.fields),
    "array_value": lambda value: [_decode(item) for item in value.array_value.values],
}
