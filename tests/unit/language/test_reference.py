"""What is published of the file format is true and current."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from jsonschema import Draft202012Validator

from atom_workflows.expressions.types import (
    ANY,
    BOOL,
    DATE,
    DURATION,
    GS_URI,
    INSTANT,
    INT,
    NUMBER,
    TEXT,
    TIME,
    MapOf,
    Type,
    write_type,
)
from atom_workflows.language import limits, scopes
from atom_workflows.language.certainty import StepGraph
from atom_workflows.language.fields import PARAM, WORKFLOW
from atom_workflows.language.json_schema import json_schema
from atom_workflows.language.kinds import Field
from atom_workflows.language.loops import COUNTS
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow, Report
from atom_workflows.language.reference import REFERENCE_FILE, SCHEMA_FILE, schema_text, with_tables
from atom_workflows.language.scopes import RETRIED_KINDS, File, Position, scope_of
from atom_workflows.language.step_fields import POLICIES, RETRY, STEP, TASK

_DOCS = Path(__file__).parents[3] / "docs" / "reference"
_BROKEN = Path(__file__).parent / "broken"
_VALIDATOR = Draft202012Validator(json_schema())
_EXAMPLES = [
    example
    for example in re.findall(r"```yaml\n(.*?)```", (_DOCS / REFERENCE_FILE).read_text(encoding="utf-8"), re.DOTALL)
    if "steps:" in example
]
_ITEMS: Final[list[Any]] = [[], [1, None, {"a": []}], "${{ [1] }}", {"a": [1], "b": "${{ range(2) }}"}]
_EXPRESSIBLE = ("01", "02", "03", "06", "07", "13", "15", "16", "18", "37", "38", "39", "52", "53", "54")
"""The broken files that a schema can refuse: names, types and bounds, but nothing between steps."""


def test_the_schema_file_is_current() -> None:
    """The schema file is what the fields generate."""
    assert (_DOCS / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text()


def test_the_reference_is_current() -> None:
    """The reference's tables are those of the fields."""
    reference = (_DOCS / REFERENCE_FILE).read_text(encoding="utf-8")
    assert with_tables(reference) == reference


def test_the_reference_names_the_true_limits() -> None:
    """The reference's limits are those of the parser."""
    reference = (_DOCS / REFERENCE_FILE).read_text(encoding="utf-8")
    for row in (
        f"| The file | {limits.MAX_FILE_BYTES // 2**20} MiB |",
        f"| Steps | {limits.MAX_STEPS:,} |",
        f"| One task as JSON | {limits.MAX_TASK_BYTES // 2**10} KiB |",
        f"| Lists and maps inside one another | {limits.MAX_DEPTH} |",
        f"| Items of a loop, counting all combinations | {limits.MAX_ITEMS:,} |",
        f"| Items of all loops of a run | {limits.MAX_ITEMS_OF_RUN:,} |",
        f"| One item as JSON | {limits.MAX_ITEM_BYTES // 2**10} KiB |",
        f"| Lists of which a loop combines the items | {limits.MAX_LISTS} |",
        f"| Lists of a loop in the file, as JSON in total | {limits.MAX_LISTS_BYTES:,} bytes |",
        f"counting everything that its aliases expand to | {limits.MAX_NODES:,} |",
    ):
        assert row in reference


def test_the_schema_is_a_schema() -> None:
    """The schema is valid by its own dialect."""
    Draft202012Validator.check_schema(json_schema())


def test_the_schema_has_a_name_and_no_address() -> None:
    """The schema's `$id` is a URN, so tools fetch nothing."""
    assert json_schema()["$id"] == "urn:atom-workflows:schema:workflow:1"


@pytest.mark.parametrize("text", _EXAMPLES)
def test_examples_of_the_reference_are_valid(text: str) -> None:
    """Parser and schema both take every example that users see."""
    parse_workflow(text, filename="example.yaml")
    _VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "step",
    [
        {"id": "a", "dependsOn": "b"},
        {"id": "a", "dependsOn": ["b"]},
        *({"id": "a", "task": {"url": "u"}, "forEach": items, "tolerate": 0} for items in _ITEMS),
        *({"id": "a", "timeout": text} for text in ("1.5h", "500ms", "1h 30m", "1w", "1d2h3m4.5s")),
    ],
)
def test_the_schema_takes_what_the_parser_takes(step: dict[str, Any]) -> None:
    """An editor marks no spelling that is accepted."""
    document = {"steps": [step, {"id": "b"}]}
    assert parse_workflow(json.dumps(document), filename="f.json")
    _VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "step",
    [
        {"id": "a", "dependsOn": ""},
        {"id": "a", "dependsOn": 7},
        {"id": "a", "dependsOn": {}},
        *({"id": "a", "task": {"url": "u"}, "forEach": items} for items in (1, "a", None, {}, {"a": "b"}, {"": [1]})),
        *({"id": "a", "task": {"url": "u"}, "forEach": [1], "tolerate": count} for count in (-1, 1.5, "1", 10_001)),
        *({"id": "a", "task": {"url": "u"}, "forEach": [1], "maxParallel": count} for count in (0, "all", 10_001)),
        *({"id": "a", "timeout": text} for text in ("90sec", "60min", "2H", "PT1H30M", "1.5h30m", "1h ", "30")),
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(step: dict[str, Any]) -> None:
    """An editor marks each spelling that is not."""
    document = {"steps": [step, {"id": "b"}]}
    with pytest.raises(InvalidWorkflow):
        parse_workflow(json.dumps(document), filename="f.json")
    assert not _VALIDATOR.is_valid(document)


def _broken_files() -> list[Path]:
    return sorted(p for p in _BROKEN.iterdir() if p.name[:2] in _EXPRESSIBLE and p.suffix != ".expected")


@pytest.mark.parametrize("path", _broken_files(), ids=lambda path: path.name)
def test_the_schema_refuses_what_it_can(path: Path) -> None:
    """The schema refuses unknown fields, wrong types, missing fields and bad ids."""
    text = path.read_text(encoding="utf-8")
    document: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    assert not _VALIDATOR.is_valid(document)


@pytest.mark.parametrize(
    "field",
    [
        field
        for fields in (WORKFLOW.fields, PARAM.fields, STEP.fields, TASK.fields, POLICIES, RETRY.fields)
        for field in fields
    ],
    ids=lambda field: field.name,
)
def test_every_field_is_described_and_its_examples_hold(field: Field) -> None:
    """Every field has a description, and its examples are valid."""
    assert field.description.endswith(".")
    schema = _schemas_of(field)
    for example in field.examples:
        Draft202012Validator({**schema, "$defs": json_schema()["$defs"]}).validate(example)


def _schemas_of(field: Field) -> dict[str, Any]:
    """Return the schema's own entries for a field, wherever they stand."""
    schema = json_schema()
    places = [schema, *schema["$defs"].values(), schema["properties"]["defaults"]]
    places.append(schema["properties"]["defaults"]["properties"]["retry"])
    found: list[dict[str, Any]] = [
        place["properties"][field.name] for place in places if field.name in place.get("properties", {})
    ]
    return next(one for one in found if one["description"].startswith(field.description))


def test_the_reference_names_all_that_expressions_read() -> None:
    """Every name, member, type and kind of failure that an expression can read is in the reference."""
    reference = (_DOCS / REFERENCE_FILE).read_text(encoding="utf-8")
    position = Position(roots=scopes.TASK | scopes.RETRY, graph=StepGraph(()), at_the_end=True)
    file = File(params={}, main=StepGraph(()), last=StepGraph(()), report=Report("f"))
    names = scope_of((), position, file, frozenset()).names
    for root in ("run", "step", "failure"):
        for member in _members(names[root]):
            assert f"`{root}.{member}" in reference, member
    for member in COUNTS.fields:
        assert f"`steps.ID.counts.{member}`" in reference.replace("`.", "`steps.ID.counts."), member
    for kind in RETRIED_KINDS:
        assert f"`{kind}`" in reference
    for scalar in (TEXT, INT, NUMBER, BOOL, DATE, TIME, INSTANT, DURATION, GS_URI, ANY):
        assert f"| `{write_type(scalar)}` |" in reference


def _members(of: Type) -> list[str]:
    assert isinstance(of, MapOf)
    return list(of.fields)
