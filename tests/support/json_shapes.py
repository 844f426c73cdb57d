"""The documented shapes of what commands print with `--json`, as strict as the page that lists them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

SCHEMA: Final = json.loads(
    (Path(__file__).parents[2] / "docs" / "reference" / "json.schema.json").read_text(encoding="utf-8")
)
COMMANDS: Final[dict[str, list[str]]] = SCHEMA["commands"]
ALIASES: Final = {"runs why": "why"}


def require_documented(command: str, document: Any) -> None:
    """Require one of the shapes of a command, and no member that the page does not have.

    A command that is not known may print any of the shapes.
    """
    names = COMMANDS.get(ALIASES.get(command, command)) or sorted(SCHEMA["$defs"])
    problems = {name: [error.message for error in validator(name).iter_errors(document)] for name in names}
    if all(problems.values()):
        nearest = min(problems, key=lambda name: len(problems[name]))
        raise AssertionError(
            f"`{command} --json` is not as docs/reference/json.schema.json has it; add what is new there, and run "
            f"docs/generate.py. As {nearest}: {'; '.join(problems[nearest])[:2_000]}"
        )


@cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of a shape that allows no further members."""
    return Draft202012Validator(_strict(SCHEMA["$defs"][name]))


def _strict(schema: Any) -> Any:
    """Return the schema with what it refers to, and without members that it does not list."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _strict(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    whole = {name: _strict(one) for name, one in schema.items() if name != "properties"}
    if "properties" in schema:
        whole["properties"] = {name: _strict(one) for name, one in schema["properties"].items()}
        whole.setdefault("additionalProperties", False)
    return whole
