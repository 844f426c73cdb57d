"""Turn a workflow's parameters or a step's outputs into form fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from atom_workflows.core.records import StepRecord
from atom_workflows.core.workflow import JsonValue, Param, Template
from atom_workflows.expressions.types import ANY, OrNull, Type, describe, write_type

_NAMED: Final = re.compile(r"`params\.([A-Za-z_][A-Za-z0-9_]*)|there is no param `([^`]*)`")


def param_objects(params: Iterable[Param], values: Mapping[str, JsonValue] | None = None) -> list[dict[str, Any]]:
    """Return the fields of a form, one for each parameter.

    A field has the parameter's type, its limits, and its default as it would be typed.

    `values` are the current values, if any. A default that an expression computes has no value yet.
    """
    return [
        {
            "name": param.name,
            "type": write_type(param.type),
            "type_text": describe(param.type),
            "may_be_null": isinstance(param.type, OrNull),
            "required": param.required,
            "default": None if param.required or isinstance(param.default, Template) else as_typed(param.default),
            "computed": param.default.text if isinstance(param.default, Template) else None,
            "value": as_typed(values[param.name]) if values and param.name in values else None,
            "description": param.description,
            "limits": dict(param.limits),
            "choices": [as_typed(one) for one in _choices(param)],
        }
        for param in params
    ]


def output_objects(step: StepRecord) -> list[dict[str, Any]]:
    """Return form fields for the outputs that a step declares."""
    return [
        {
            "name": name,
            "type": write_type(kind),
            "type_text": describe(kind),
            "may_be_null": isinstance(kind, OrNull),
            "required": not isinstance(kind, OrNull),
            "default": "null" if isinstance(kind, OrNull) else None,
            "computed": None,
            "value": None,
            "description": "",
            "limits": {},
            "choices": [],
        }
        for name, kind in step.outputs.items()
    ]


def as_typed(value: Any, type: Type | None = None) -> str:  # noqa: A002  # the natural name
    """Return a value as a person would type it for `--param`."""
    # Where a text may be any value, it is typed as JSON.
    is_plain = isinstance(value, str) and getattr(type, "of", type) != ANY
    return str(value) if is_plain else json.dumps(value, ensure_ascii=False)


def _choices(param: Param) -> Iterator[Any]:
    allowed = param.limits.get("enum")
    if isinstance(allowed, list | tuple):
        yield from allowed
        if isinstance(param.type, OrNull):
            yield None


def param_problems(problems: Iterable[str]) -> list[dict[str, Any]]:
    """Return each problem with the name of its parameter.

    The form shows a problem beside its field.
    """
    found = [(_NAMED.match(problem), problem) for problem in problems]
    return [{"param": (name[1] or name[2]) if name else None, "message": problem} for name, problem in found]
