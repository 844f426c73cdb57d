"""Documents and writes as Firestore's own protocol messages.

The client package wraps each message in a Python object of its own, one for every value inside it. That costs more than
the call itself, so what is sent and read most, steps, is put straight into the messages underneath.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, CommitRequest, GetDocumentRequest

from atom_workflows.ports import Create, Delete, Document, Fields, Update, Write, WriteResult


def _class_under(wrapper: Any) -> Any:
    return type(wrapper.pb(wrapper()))


_Commit: Final = _class_under(CommitRequest)
_BatchGet: Final = _class_under(BatchGetDocumentsRequest)
_Get: Final = _class_under(GetDocumentRequest)

_SCALARS: Final = (
    (str, "string_value"),
    (bool, "boolean_value"),  # before int, of which bool is one
    (int, "integer_value"),
    (float, "double_value"),
    (bytes, "bytes_value"),
)


class FirestoreMessages:
    """The messages of one database, which is named `projects/{project}/databases/{database}`."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._documents = f"{database}/documents/"

    def get(self, path: str) -> Any:
        """A request for one document."""
        return GetDocumentRequest.wrap(_Get(name=self._documents + path))

    def batch_get(self, paths: Iterable[str]) -> Any:
        """A request for several documents; none may be named twice."""
        return BatchGetDocumentsRequest.wrap(
            _BatchGet(database=self._database, documents=[self._documents + path for path in paths])
        )

    def commit(self, writes: Sequence[Write]) -> Any:
        """A request for writes that happen together; raises ValueError for a value that Firestore cannot hold."""
        request = _Commit(database=self._database)
        for write in writes:
            self._add(write, request.writes.add())
        return CommitRequest.wrap(request)

    def document(self, message: Any) -> Document:
        """The document that a message holds."""
        return Document(
            path=message.name.removeprefix(self._documents),
            fields={name: _decoded(value) for name, value in message.fields.items()},
            version=message.update_time,
        )

    def _add(self, write: Write, message: Any) -> None:
        name = self._documents + write.path
        if isinstance(write, Delete):
            message.delete = name
            return
        message.update.name = name
        _encode_fields(write.fields, message.update.fields)
        if isinstance(write, Create):
            message.current_document.exists = False
        else:
            _limit_to_named_fields(write, message)


def results(writes: Sequence[Write], answer: Any) -> list[WriteResult]:
    """What a commit answered; increments are answered in the order in which they were sent."""
    return [
        WriteResult(
            version=result.update_time,
            increments={
                name: transformed.integer_value
                for name, transformed in zip(_increments(write), result.transform_results, strict=True)
            },
        )
        for write, result in zip(writes, answer.write_results, strict=True)
    ]


def _limit_to_named_fields(write: Update, message: Any) -> None:
    message.update_mask.SetInParent()  # Without a mask, even an empty one, all other fields would be deleted.
    message.update_mask.field_paths.extend(map(_quoted, write.fields))
    for name, by in _increments(write).items():
        message.update_transforms.add(field_path=_quoted(name)).increment.integer_value = by
    if write.guard is None:
        message.current_document.exists = True
    else:
        message.current_document.update_time.CopyFrom(write.guard)


def _increments(write: Write) -> Mapping[str, int]:
    return write.increments if isinstance(write, Update) else {}


@lru_cache(maxsize=256)
def _quoted(name: str) -> str:
    """A field's name where a path is expected."""
    return str(FieldPath(name).to_api_repr())


def _encode_fields(fields: Fields, into: Any) -> None:
    for name, value in fields.items():
        _encode(value, into[name])


def _encode(value: Any, into: Any) -> None:
    match value:
        case None:
            into.null_value = 0
        case datetime():
            into.timestamp_value.FromDatetime(value)
        case Mapping():
            into.map_value.SetInParent()
            _encode_fields(value, into.map_value.fields)
        case list() | tuple():
            into.array_value.SetInParent()
            for item in value:
                _encode(item, into.array_value.values.add())
        case _:
            setattr(into, _scalar_kind(value), value)


def _scalar_kind(value: Any) -> str:
    for kind, name in _SCALARS:
        if isinstance(value, kind):
            return name
    raise TypeError(f"Firestore cannot hold a {type(value).__name__}")


def _decoded(value: Any) -> Any:
    kind = value.WhichOneof("value_type")
    match kind:
        case "null_value":
            return None
        case "timestamp_value":
            return value.timestamp_value.ToDatetime(UTC)
        case "map_value":
            return {name: _decoded(item) for name, item in value.map_value.fields.items()}
        case "array_value":
            return [_decoded(item) for item in value.array_value.values]
        case _:
            return getattr(value, kind)
