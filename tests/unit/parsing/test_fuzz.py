"""Whatever the bytes, the parser answers with a workflow or with `InvalidWorkflow`."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atom_workflows.core.workflow import Workflow
from atom_workflows.parsing.parse import parse_workflow
from atom_workflows.parsing.problems import InvalidWorkflow, Problem
from atom_workflows.parsing.syntax import FASTEST_LOADER, PURE_LOADER

_VALID = """steps:
  - id: a
    dependsOn: [b]
    task: &t {imageUri: x, args: [1, "two", {three: 3.0}], labels: {k: v}}
    retry: {maxAttempts: 3, backoff: {initial: 10s}}
  - id: b
    task: {<<: *t, url: u}
"""
_WORDS = r"""
steps: id: dependsOn: task: args: labels: retry: timeout: imageUri: backoff: [ ] { } , : - ? & * &a *a ! !!str | > <<:
# % @ ` ' " \ \x \ud83d \U00110000 %YAML --- ... a b 1 0x1 010 1e999 .inf ~ null true no 2024-05-01 30s 1:30
9999999999999999999999
"""
_SIGNS = ("\n", "\n  ", "\n  - ", " ", "\t", "\r\n", ": ", "- ", "\ufeff", "\0", "\x85", "\u2028", "\ud800", "é")
_PIECES = st.sampled_from([*_WORDS.split(), *_SIGNS])
_LOADERS = st.sampled_from([FASTEST_LOADER, PURE_LOADER])
_NAMES = st.sampled_from(["f.yaml", "f.json", "", "a\nb"])
_QUICK = settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _answers(content: bytes | str, filename: str, loader: Any) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        assert isinstance(parse_workflow(content, filename=filename, loader=loader), Workflow)
    except InvalidWorkflow as invalid:
        problems = invalid.problems
    places = [(problem.line, problem.column) for problem in problems]
    assert places == sorted(places)
    assert all(line >= 1 and column >= 1 for line, column in places)
    assert all(str(problem).isprintable() for problem in problems)


@_QUICK
@given(st.binary(max_size=200), _NAMES, _LOADERS)
def test_any_bytes_are_answered(content: bytes, filename: str, loader: Any) -> None:
    """Random bytes raise nothing else."""
    _answers(content, filename, loader)


@_QUICK
@given(st.lists(_PIECES, max_size=40).map("".join), _NAMES, _LOADERS)
def test_any_pieces_of_yaml_are_answered(text: str, filename: str, loader: Any) -> None:
    """The words and signs of the format in any order raise nothing else."""
    _answers(text, filename, loader)


@_QUICK
@given(st.integers(0, len(_VALID)), st.integers(0, 12), st.lists(_PIECES, max_size=3).map("".join), _LOADERS)
def test_any_edit_of_a_good_file_is_answered(start: int, removed: int, added: str, loader: Any) -> None:
    """A slip of the hand anywhere in a good file raises nothing else."""
    _answers(_VALID[:start] + added + _VALID[start + removed :], "f.yaml", loader)
