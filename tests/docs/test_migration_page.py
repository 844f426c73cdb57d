"""What docs/how-to/migration.md says of files that are refused, and of those that are not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "how-to" / "migration.md").read_text(encoding="utf-8")
ROW: Final = re.compile(r"^\| (file|workflow|step|task) \| `(.+?)` \| (.+) \|$", re.MULTILINE)
BEHIND_THE_PLACE: Final = re.compile(r"^[^:]+:\d+:\d+: ")


def file_with(where: str, said: str) -> str:
    """Return the smallest file that says it there."""
    if where == "file":
        return said.replace(" ⏎ ", "\n")
    if where == "workflow":
        return f"{said}\nsteps:\n  - id: load\n"
    if where == "step" and said.startswith("id:"):
        return f"steps:\n  - {said}\n"
    if where == "step":
        return f"steps:\n  - id: extract\n  - id: load\n    {said}\n"
    image = "" if said.startswith("imageUri:") else "      imageUri: registry.example/load\n"
    return f"steps:\n  - id: load\n    task:\n{image}      {said}\n"


def problems_of(text: str) -> list[str]:
    """Return the messages that a user sees, without their places."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename="daily.yaml")
    return [BEHIND_THE_PLACE.sub("", str(problem)) for problem in caught.value.problems]


def test_the_table_is_found() -> None:
    """Each line of the table is read as a row."""
    table = PAGE.partition("| where | a file says | the message |\n")[2].partition("\n\n")[0]
    assert len(ROW.findall(PAGE)) == len(table.splitlines()) - 1 > 30


@pytest.mark.parametrize(("where", "said", "message"), ROW.findall(PAGE))
def test_each_refusal_is_as_documented(where: str, said: str, message: str) -> None:
    """Each row's file is refused for one reason, in the row's words."""
    assert problems_of(file_with(where, said)) == [message]
