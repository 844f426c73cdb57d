"""Every file of `cases/` is refused with exactly the problems that stand below it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, PURE_LOADER

_CASES = Path(__file__).parent / "cases"


class _Case(NamedTuple):
    title: str
    content: str
    problems: list[str]


def _read_cases() -> list[_Case]:
    """Read the cases: a title behind `===`, the content of a file, and its problems behind `---`."""
    cases = []
    for path in sorted(_CASES.iterdir()):
        for case in path.read_text(encoding="utf-8").split("=== ")[1:]:
            content, problems = case.split("--- problems\n")
            title, content = content.split("\n", maxsplit=1)
            cases.append(_Case(f"{path.stem}: {title}", content, problems.strip().splitlines()))
    return cases


@pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])
@pytest.mark.parametrize("case", _read_cases(), ids=lambda case: case.title)
def test_a_broken_file_is_refused_with_exact_places(case: _Case, loader: Any) -> None:
    """Both YAML readers list all problems, each at its line and column."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(case.content, filename="f", loader=loader)
    assert [str(problem)[2:] for problem in caught.value.problems] == case.problems
