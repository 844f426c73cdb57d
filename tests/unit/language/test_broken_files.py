"""Every file in `broken/` is refused with exactly the problems that stand beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, PURE_LOADER

_BROKEN = sorted(path for path in (Path(__file__).parent / "broken").iterdir() if path.suffix != ".expected")


@pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])
@pytest.mark.parametrize("path", _BROKEN, ids=lambda path: path.name)
def test_a_broken_file_is_refused_with_all_its_problems(path: Path, loader: Any) -> None:
    """Both YAML readers list all problems of a file in its order."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(path.read_bytes(), filename=path.name, loader=loader)
    expected = path.with_suffix(".expected").read_text(encoding="utf-8").splitlines()
    assert [str(problem) for problem in caught.value.problems] == [f"{path.name}:{line}" for line in expected]
