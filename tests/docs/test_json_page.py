"""The page on JSON, its schema, and the commands that print such documents."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator

from atom_client.cli.commands import cli
from atom_client.views.as_json import VERSION
from support.json_shapes import COMMANDS, SCHEMA, require_documented

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "json.md").read_text(encoding="utf-8")


def printing(command: click.Command, path: str = "") -> list[str]:
    """Return the names of the commands that can print JSON, without aliases."""
    if isinstance(command, click.Group):
        return [name for word, one in command.commands.items() for name in printing(one, f"{path} {word}".strip())]
    options = {flag: option for option in command.params for flag in option.opts}
    form = options.get("--format")
    is_json = "--json" in options or (form is not None and "json" in getattr(form.type, "choices", ()))
    return [path] if is_json and path != "runs why" else []


def test_every_command_with_json_is_documented() -> None:
    """The schema names the shapes of each command that prints JSON, and of no other."""
    assert set(COMMANDS) == set(printing(cli))
    assert {shape for shapes in COMMANDS.values() for shape in shapes} <= set(SCHEMA["$defs"])


def test_the_page_is_the_schemas() -> None:
    """The tables of the page are those of the schema."""
    assert runpy.run_path(str(DOCS / "json_page.py"))["generated"](PAGE) == PAGE


def test_the_schema_is_one() -> None:
    """An ordinary validator accepts the schema, and each document has the version that it names."""
    Draft202012Validator.check_schema(SCHEMA)
    documents = {shape for shapes in COMMANDS.values() for shape in shapes}
    assert {SCHEMA["$defs"][shape]["properties"]["version"]["const"] for shape in documents} == {VERSION}


def members(schema: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return all members of a shape, with the schema of each."""
    if not isinstance(schema, dict):
        return []
    own = [(f"{path}.{name}", one) for name, one in schema.get("properties", {}).items()]
    parts = [*own, *((path, one) for one in schema.get("anyOf", ())), (path, schema.get("items"))]
    return own + [found for at, one in parts for found in members(one, at)]


@pytest.mark.parametrize("name", SCHEMA["$defs"])
def test_every_member_is_described(name: str) -> None:
    """Each member has a sentence that says what it is, or refers to a shape that has."""
    undescribed = [
        path for path, one in members(SCHEMA["$defs"][name]) if "description" not in one and "$ref" not in one
    ]
    assert undescribed == []


def test_a_member_that_is_not_documented_is_noticed() -> None:
    """The comparison refuses a further member, a missing one, and another type."""
    rule = {"rule": "r", "verdict": "ok", "detail": ""}
    document: dict[str, Any] = {"version": 1, "follows_contract": True, "rules": [rule]}
    require_documented("runner check", json.loads(json.dumps(document)))
    for wrong in (
        {**document, "more": 1},
        {**document, "rules": [{**rule, "more": 1}]},
        {**document, "rules": [{"rule": "r", "verdict": "ok"}]},
        {**document, "follows_contract": "yes"},
        {**document, "version": 2},
    ):
        with pytest.raises(AssertionError, match=r"run docs/generate\.py"):
            require_documented("runner check", wrong)
