"""How problems are reported."""

from __future__ import annotations

import json

import pytest

from atom_workflows.errors import AtomWorkflowsError
from atom_workflows.language.limits import MAX_PROBLEMS
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow, Problem


def problems_of(text: str | bytes, filename: str = "f.yaml") -> tuple[Problem, ...]:
    """Return the problems of an invalid file."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename=filename)
    return caught.value.problems


def test_a_problem_is_a_line_and_a_json_object() -> None:
    """People get `file:line:column: what; remedy`, programs get the same as fields."""
    (problem,) = problems_of("steps:\n- id: a\n  dependsOn: [b]\n")
    said, remedy = "there is no step `b`", "add that step, or remove this dependency"
    assert str(problem) == f"f.yaml:3:15: {said}; {remedy}"
    assert json.loads(json.dumps(problem.as_fields())) == {
        "file": "f.yaml",
        "line": 3,
        "column": 15,
        "message": said,
        "suggestion": remedy,
    }


def test_the_error_is_in_the_tree_and_a_value_error() -> None:
    """The error is a ValueError with all problems as its text."""
    with pytest.raises(ValueError, match=r"(?s)^f.yaml:1:1: .*\nf.yaml:2:1: ") as caught:
        parse_workflow("a: 1\nb: 2\nsteps: [{id: a}]\n", filename="f.yaml")
    assert isinstance(caught.value, AtomWorkflowsError)


def test_a_long_list_of_problems_is_cut_and_counted() -> None:
    """The first hundred problems are listed, and the others counted."""
    many = 3_000
    problems = problems_of("steps:\n" + "".join(f"- {{id: s{n}, a: 1}}\n" for n in range(many)))
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[MAX_PROBLEMS - 1].line == MAX_PROBLEMS + 1
    assert problems[-1].message == f"... and {many - MAX_PROBLEMS:,} more further down".replace(",", "")


def test_a_mistake_behind_an_alias_counts_once() -> None:
    """A bad value that many steps share is one problem."""
    text = "steps:\n- {id: a, task: &t {imageUri: 1}}\n" + "".join(f"- {{id: b{n}, task: *t}}\n" for n in range(50))
    assert [problem.line for problem in problems_of(text)] == [2]


def test_a_step_repeated_by_an_alias_is_a_duplicate() -> None:
    """A step that an alias repeats has a duplicate id."""
    (problem,) = problems_of("steps: [&a {id: a}, *a]\n")
    assert problem.message == "the step id `a` was already used on line 1"


def test_no_text_of_the_file_breaks_a_line() -> None:
    """Each problem is one printable line, whatever the file holds."""
    for problem in problems_of('steps: [{id: "a\\n\\e[31m\\u2028b", dependsOn: ["c\\nd"]}]', "f\n.yaml"):
        assert str(problem).isprintable()
