"""The published JSON Schema for workflow files.

It is generated from the same fields that the reader uses. It lets an editor complete and check a file as it is being
written. Only the parser checks what the schema cannot express (unique ids, unknown dependencies, cycles, the limits on
durations).
"""

from __future__ import annotations

from typing import Any, Final

from atom_workflows.core.cron import LONGEST
from atom_workflows.core.durations import DURATION_PATTERN, format_duration
from atom_workflows.language.fields import PARAM, WORKFLOW
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
from atom_workflows.language.limits import MAX_ITEMS
from atom_workflows.language.step_fields import STEP, TASK

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ID: Final = "urn:atom-workflows:schema:workflow:1"
"""An identifier, not an address, so nothing is fetched. Its number increases if a change makes valid files invalid."""

_DEFINED: Final = {id(STEP): "step", id(TASK): "task", id(PARAM): "parameter"}
"""The records that get their own definition, under a name that editors show."""


_TYPE_REFERENCE: Final = {"$ref": "#/$defs/type"}
_TYPE: Final = {
    "title": "Type",
    "description": "The type of a value: `int`, `[text]` for a list, `{name: text}` for a map, `T or null`.",
    "anyOf": [
        {"type": "string", "maxLength": 2000},
        {"type": "array", "items": _TYPE_REFERENCE, "minItems": 1, "maxItems": 1},
        {"type": "object", "additionalProperties": _TYPE_REFERENCE, "minProperties": 1},
    ],
}
_CRON: Final = r"^\s*[^\s@]\S*(\s+\S+){4}\s*$"
_TIME_OF_DAY: Final = "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"
_EXPRESSION: Final = {"type": "string", "pattern": r"\$\{\{"}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) for a whole file."""
    schema = _record(WORKFLOW)
    definitions = {name: _record(record) for record, name in ((STEP, "step"), (TASK, "task"), (PARAM, "parameter"))}
    definitions["type"] = _TYPE
    said = "A workflow: steps that run container tasks, each after the steps it depends on."
    return {"$schema": _DIALECT, "$id": _ID, **schema, "description": said, "$defs": definitions}


def _record(record: Record) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in record.fields:
        description = field.description
        if isinstance(field.kind, Duration):
            # JSON Schema cannot express the limits on a duration, so the description states them.
            least, most = "more than 0s and " * field.kind.positive, format_duration(field.kind.maximum)
            description += f" A duration such as 30s, 10m, 1h30m or 1.5h, {least}at most {most}."
        properties[field.name] = {
            **_kind(field.kind),
            "description": description,
            **({} if field.default is None else {"default": field.default}),
            **({"examples": list(field.examples)} if field.examples else {}),
        }
    schema: dict[str, Any] = {
        "title": record.title,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    required = [field.name for field in record.fields if field.required]
    if required:
        schema["required"] = required
    if record.any_of:
        enough = [*([name] for name in record.any_of), *([list(record.or_all_of)] if record.or_all_of else [])]
        schema["anyOf"] = [{"required": names} for names in enough]
    return schema


def _kind(kind: Kind) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912  # one case per kind
    match kind:
        case Text():
            return _text(kind)
        case Choice():
            return {"enum": list(kind.words)}
        case Duration():
            return {"type": "string", "pattern": DURATION_PATTERN}
        case Number():
            number = {"type": "integer" if kind.whole else "number", "minimum": kind.minimum, "maximum": kind.maximum}
            return {"anyOf": [number, _EXPRESSION]} if kind.expressions else number
        case Flag():
            return {"type": "boolean"}
        case Condition():
            return {"type": ["string", "boolean"]}
        case Zone():
            return {"type": "string"}
        case Cron():
            return {"type": "string", "pattern": _CRON, "maxLength": LONGEST}
        case TimeOfDay():
            return {"type": "string", "pattern": _TIME_OF_DAY}
        case ParamValues():
            return {"type": "object"}
        case Anything():
            return {}
        case TypeNotation():
            return _TYPE_REFERENCE
        case TypeMap():
            return _map_of(kind.key, kind.maximum, _TYPE_REFERENCE)
        case ExpressionMap():
            return _map_of(kind.key, kind.maximum, _EXPRESSION)
        case ParamMap():
            short = {"type": ["string", "number", "boolean"]}
            return _map_of(kind.key, kind.maximum, {"anyOf": [_reference(kind.record), short]})
        case TextList():
            return {"anyOf": [{"type": "array", "items": _text(kind.item), "uniqueItems": True}, _text(kind.item)]}
        case TextMap():
            names = _text(kind.key)
            return {"type": "object", "propertyNames": names, "additionalProperties": _text(kind.value)}
        case Arguments():
            return {"anyOf": [{"type": ["array", "object"]}, _EXPRESSION]}
        case ItemLists():
            items = {"anyOf": [{"type": "array", "maxItems": MAX_ITEMS}, _EXPRESSION]}
            return {"anyOf": [*items["anyOf"], {**_map_of(kind.key, kind.maximum, items), "minProperties": 1}]}
        case Record():
            return _reference(kind)
        case RecordList():
            return {
                "type": "array",
                "items": _reference(kind.record),
                "minItems": kind.minimum,
                "maxItems": kind.maximum,
            }


def _map_of(key: Text, maximum: int, value: dict[str, Any]) -> dict[str, Any]:
    names = _text(key)
    return {"type": "object", "propertyNames": names, "maxProperties": maximum, "additionalProperties": value}


def _text(kind: Text) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "maxLength": kind.max_length}
    if kind.min_length:
        schema["minLength"] = kind.min_length
    if kind.pattern:
        schema["pattern"] = kind.pattern
    if kind.forbidden:
        schema["not"] = {"pattern": kind.forbidden}
    return schema


def _reference(record: Record) -> dict[str, Any]:
    name = _DEFINED.get(id(record))
    return {"$ref": f"#/$defs/{name}"} if name else _record(record)
