"""Convert between the protocol's messages and the database's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from atom_emulator.firestore.errors import InvalidArgument
from atom_emulator.firestore.values import EPOCH, MICROSECOND, Fields, GeoPoint, Reference, to_micros
from atom_emulator.firestore.writes import Record


def split_name(name: str) -> tuple[str, str]:
    """Split `projects/P/databases/D/documents[/path]` into database and path."""
    parts = name.split("/", 5)
    if len(parts) < 5 or parts[0] != "projects" or parts[2] != "databases" or parts[4] != "documents":  # noqa: PLR2004 - the parts of the name
        raise InvalidArgument(f"{name!r} is not a name of the form projects/P/databases/D/documents/...")
    return "/".join(parts[:4]), parts[5] if len(parts) > 5 else ""  # noqa: PLR2004 - the parts of the name


def micros_of(stamp: Any) -> int:
    """Convert a protocol Timestamp to microseconds since 1970.

    Any finer precision is dropped.
    """
    return int(stamp.seconds * 1_000_000 + stamp.nanos // 1000)


def set_stamp(stamp: Any, micros: int) -> None:
    """Write microseconds since 1970 into a protocol Timestamp."""
    seconds, rest = divmod(micros, 1_000_000)
    stamp.seconds = seconds
    stamp.nanos = rest * 1000


# -- from the wire ----------------------------------------------------------------------------------


def decode(value: Any) -> Any:
    """Convert a protocol Value to a Python value."""
    return _PLAIN.get(value.WhichOneof("value_type"), _refuse)(value)


def decode_fields(fields: Mapping[str, Any]) -> Fields:
    """Return the fields of a document or of a map value."""
    # Not items(): a protocol map implements it in Python, with one generator step per item.
    return {name: decode(fields[name]) for name in fields}


def _refuse(value: Any) -> Any:
    raise InvalidArgument(f"a value of kind {value.WhichOneof('value_type') or 'unset'} cannot be stored")


def _reference(value: Any) -> Reference:
    return Reference(*split_name(value.reference_value))


def _point(value: Any) -> GeoPoint:
    point = value.geo_point_value
    return GeoPoint(point.latitude, point.longitude)


_PLAIN: Final[dict[str | None, Callable[[Any], Any]]] = {
    "null_value": lambda _: None,
    "boolean_value": lambda value: value.boolean_value,
    "integer_value": lambda value: value.integer_value,
    "double_value": lambda value: value.double_value,
    "timestamp_value": lambda value: EPOCH + micros_of(value.timestamp_value) * MICROSECOND,
    "string_value": lambda value: value.string_value,
    "bytes_value": lambda value: value.bytes_value,
    "reference_value": _reference,
    "geo_point_value": _point,
    "array_value": lambda value: [decode(item) for item in value.array_value.values],
    "map_value": lambda value: decode_fields(value.map_value.fields),
}


# -- to the wire ------------------------------------------------------------------------------------


def encode(value: Any, into: Any) -> None:
    """Write a value into a protocol Value."""
    _ENCODE[type(value)](value, into)


def encode_fields(fields: Fields, into: Any) -> None:
    """Write fields into a protocol map of values."""
    for name, value in fields.items():
        _ENCODE[type(value)](value, into[name])


def encode_record(record: Record, root: str, into: Any) -> None:
    """Write a document; `root` is `projects/P/databases/D/documents`."""
    into.name = f"{root}/{record.path}"
    encode_fields(record.fields, into.fields)
    set_stamp(into.create_time, record.created)
    set_stamp(into.update_time, record.updated)


def _scalar(field: str) -> Callable[[Any, Any], None]:
    return lambda value, into: setattr(into, field, value)


def _encode_list(value: list[Any], into: Any) -> None:
    into.array_value.SetInParent()
    for item in value:
        encode(item, into.array_value.values.add())


def _encode_map(value: Fields, into: Any) -> None:
    into.map_value.SetInParent()
    encode_fields(value, into.map_value.fields)


def _encode_reference(value: Reference, into: Any) -> None:
    into.reference_value = f"{value.database}/documents/{value.path}"


def _encode_point(value: GeoPoint, into: Any) -> None:
    into.geo_point_value.latitude = value.latitude
    into.geo_point_value.longitude = value.longitude
    into.geo_point_value.SetInParent()


_ENCODE: Final[dict[type, Callable[[Any, Any], None]]] = {
    type(None): lambda _, into: setattr(into, "null_value", 0),
    bool: _scalar("boolean_value"),
    int: _scalar("integer_value"),
    float: _scalar("double_value"),
    type(EPOCH): lambda value, into: set_stamp(into.timestamp_value, to_micros(value)),
    str: _scalar("string_value"),
    bytes: _scalar("bytes_value"),
    Reference: _encode_reference,
    GeoPoint: _encode_point,
    list: _encode_list,
    dict: _encode_map,
}
