"""What docs/reference/mock-script.md says of scripts for the mock Task Runner."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Final

import pytest

from atom_emulator.task_runner.script_fields import BEHAVIOR_FIELDS, CONDITION_FIELDS, FAULT_FIELDS, SCRIPT_FIELDS
from atom_emulator.task_runner.script_file import InvalidScript, parse_script
from atom_emulator.task_runner.script_matches import require_matches
from atom_workflows.language.parser import parse_workflow

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "reference" / "mock-script.md").read_text(encoding="utf-8")
EXAMPLES: Final = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
OF_JOBS: Final = {name: field for name, field in {**BEHAVIOR_FIELDS, **CONDITION_FIELDS}.items() if field.example}


def blocks(text: str, kind: str = "") -> list[str]:
    """Return the blocks of code of one kind."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [block for of, block in found if of == kind]


def test_the_tables_are_the_codes() -> None:
    """Writing the page again changes nothing; if this fails, run `python docs/generate.py`."""
    assert runpy.run_path(str(ROOT / "docs" / "mock_script.py"))["generated"](PAGE) == PAGE


@pytest.mark.parametrize("name", sorted(OF_JOBS))
def test_each_example_of_a_field_is_valid(name: str) -> None:
    """The example of a field sets that field in a rule."""
    field = OF_JOBS[name]
    assert field.example.startswith(f"{name}: ")
    [rule] = parse_script(f"rules:\n  - {field.example}\n").rules
    assert rule != parse_script("rules: [{}]").rules[0]


def test_the_scripts_on_the_pages_are_valid() -> None:
    """Each script on the page and among the examples is read, and that of the examples has every field."""
    for text in blocks(PAGE, "yaml"):
        assert parse_script(text).rules
    [full] = blocks(EXAMPLES, "yaml")
    assert parse_script(full).rules
    expected = {*SCRIPT_FIELDS, *CONDITION_FIELDS, *BEHAVIOR_FIELDS, *FAULT_FIELDS}
    assert {name for name in expected if not re.search(rf"\b{name}:", full)} == set()


def test_problems_are_reported_as_the_page_says() -> None:
    """The page's problems are those of such scripts."""
    wrong, unmatched = (block for block in blocks(PAGE) if block.startswith("jobs.mock.yaml:"))
    with pytest.raises(InvalidScript) as caught:
        parse_script(
            "rules:\n  - step: a\n    failTimes: 1\n  - step: b\n    duration: long\n", filename="jobs.mock.yaml"
        )
    assert caught.value.problems == wrong.splitlines()
    loop = "{id: train, forEach: [1, 2, 3, 4, 5, 6], task: {url: u}}"
    workflow = parse_workflow(f"name: daily\nsteps: [{{id: extract, task: {{url: u}}}}, {loop}]", filename="daily.yaml")
    script = parse_script("rules:\n  - step: extarct\n\n  - step: train[6]\n", filename="jobs.mock.yaml")
    with pytest.raises(InvalidScript) as caught:
        require_matches(script, workflow, "daily.yaml")
    assert caught.value.problems == unmatched.splitlines()
