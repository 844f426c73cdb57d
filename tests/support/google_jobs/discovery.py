"""Requests held against Google's discovery documents, which google-api-python-client brings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

DOCUMENTS: Final = {"batch": "batch.v1", "run": "run.v2", "storage": "storage.v1"}
"""The API to the name of its document."""

_SCALARS: Final = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
_NUMBERS_AS_TEXT: Final = frozenset({"int64", "uint64"})
_DURATION: Final = re.compile(r"[0-9]+(\.[0-9]{1,9})?s")


class AgainstTheDocument(AssertionError):
    """A request that the API's discovery document does not allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method of an API, as its document has it."""

    id: str
    verb: str
    path: re.Pattern[str]
    parameters: Mapping[str, Any]
    request: str


@cache
def document(api: str) -> Mapping[str, Any]:
    """Return the API's discovery document."""
    spec = find_spec("googleapiclient")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "discovery_cache" / "documents" / f"{DOCUMENTS[api]}.json"
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def methods(api: str) -> tuple[Method, ...]:
    """Return all methods of the API."""
    return tuple(_methods(document(api), document(api)))


def _methods(part: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[Method]:
    for one in part.get("methods", {}).values():
        path = f"/{whole['servicePath']}{one.get('flatPath') or one['path']}"
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path))
        yield Method(
            id=one["id"],
            verb=one["httpMethod"],
            path=re.compile(pattern),
            parameters={**whole["parameters"], **one.get("parameters", {})},
            request=one.get("request", {}).get("$ref", ""),
        )
    for inner in part.get("resources", {}).values():
        yield from _methods(inner, whole)


def check(api: str, verb: str, path: str, query: Mapping[str, str], body: Any) -> Method:
    """Return the method that a request calls.

    `path` is quoted as it is sent. Raises `AgainstTheDocument` if there is no such method, or if the request has what
    the method does not take.
    """
    called = [one for one in methods(api) if one.verb == verb and one.path.fullmatch(path)]
    # `jobs/{id}:cancel` is also a path of `jobs/{id}`; the longer pattern is meant.
    called.sort(key=lambda one: len(one.path.pattern), reverse=True)
    if not called:
        raise AgainstTheDocument(f"{api} has no {verb} {path}")
    method = called[0]
    for name, value in query.items():
        _check_query(method, name, value)
    if method.request:
        _check_object(document(api)["schemas"], method.request, body, method.id)
    elif body is not None:
        raise AgainstTheDocument(f"{method.id} takes no body")
    return method


def _check_query(method: Method, name: str, value: str) -> None:
    parameter = method.parameters.get(name)
    if parameter is None or parameter["location"] != "query":
        raise AgainstTheDocument(f"{method.id} has no parameter {name}")
    if "enum" in parameter and value not in parameter["enum"]:
        raise AgainstTheDocument(f"{method.id}: {name} cannot be {value!r}")
    if parameter["type"] == "integer" and not value.isdecimal():
        raise AgainstTheDocument(f"{method.id}: {name} must be a number, not {value!r}")


def _check_object(schemas: Mapping[str, Any], name: str, value: Any, where: str) -> None:
    schema = schemas[name]
    if not isinstance(value, dict):
        raise AgainstTheDocument(f"{where} must be a {name}, not {value!r:.80}")
    properties = schema.get("properties", {})
    for key, inner in value.items():
        if key not in properties:
            raise AgainstTheDocument(f"{where}: {name} has no {key}")
        text = properties[key].get("description", "")
        if properties[key].get("readOnly") or text.startswith("Output only."):
            raise AgainstTheDocument(f"{where}: {name}.{key} is output only")
        if text.startswith("Deprecated"):
            raise AgainstTheDocument(f"{where}: {name}.{key} is deprecated")
        _check_value(schemas, properties[key], inner, f"{where}.{key}")
    for key, described in properties.items():
        if described.get("description", "").startswith("Required.") and key not in value:
            raise AgainstTheDocument(f"{where}: {name} needs {key}")


def _check_value(schemas: Mapping[str, Any], schema: Mapping[str, Any], value: Any, where: str) -> None:
    if "$ref" in schema:
        _check_object(schemas, schema["$ref"], value, where)
        return
    kind, form = schema["type"], schema.get("format", "")
    if kind == "array":
        if not isinstance(value, list):
            raise AgainstTheDocument(f"{where} must be a list")
        for number, item in enumerate(value):
            _check_value(schemas, schema["items"], item, f"{where}[{number}]")
    elif kind == "object":
        if not isinstance(value, dict):
            raise AgainstTheDocument(f"{where} must be a map")
        for key, item in value.items():
            _check_value(schemas, schema["additionalProperties"], item, f"{where}.{key}")
    else:
        _check_scalar(kind, form, schema, value, where)


def _check_scalar(kind: str, form: str, schema: Mapping[str, Any], value: Any, where: str) -> None:
    expected = _SCALARS[kind]
    if not isinstance(value, expected) or (kind == "integer" and isinstance(value, bool)):  # type: ignore[arg-type]  # a type or a tuple of types
        raise AgainstTheDocument(f"{where} must be a {kind}, not {value!r:.80}")
    if form in _NUMBERS_AS_TEXT and not str(value).lstrip("-").isdecimal():
        raise AgainstTheDocument(f"{where} must be a number as text, not {value!r:.80}")
    if form == "google-duration" and not _DURATION.fullmatch(value):
        raise AgainstTheDocument(f"{where} must be a duration such as 60s, not {value!r:.80}")
    if "enum" in schema and value not in schema["enum"]:
        raise AgainstTheDocument(f"{where} cannot be {value!r:.80}")
