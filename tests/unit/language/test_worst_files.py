"""The largest files that are permitted cost seconds at most: work is counted, not timed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from atom_workflows.language import limits
from atom_workflows.language.parser import parse_into, parse_workflow
from atom_workflows.language.problems import InvalidWorkflow, Problem, Report
from atom_workflows.language.suggestions import BUDGET, Names, Suggestions
from support.work import lines_run
from support.worst_files import WORST

_SMALL, _LARGE = 4_000, 16_000


def _lines_run(content: str, filename: str) -> int:
    """Count the lines of Python that reading the file runs.

    Comparisons of names have a count of their own.
    """
    report = Report(filename)
    report.suggestions = Suggestions(budget=0)

    def read() -> None:
        with suppress(InvalidWorkflow):
            parse_into(report, content, filename=filename)

    return lines_run(read)


@pytest.mark.parametrize("name", WORST)
def test_the_work_grows_no_faster_than_the_file(name: str) -> None:
    """A file four times as large takes about four times the work."""
    filename, make = WORST[name]
    small, large = (_lines_run(make(size), filename) for size in (_SMALL, _LARGE))
    assert large < 5 * small + 20_000


def test_unclosed_wrappers_in_a_condition_are_not_searched_for_their_ends() -> None:
    """Advice quotes only a short condition: searching a long one for what each wrapper encloses would take minutes."""
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow('steps:\n- {id: a, when: "x ' + "${{" * 40_000 + '"}\n', filename="f.yaml")
    (problem,) = caught.value.problems
    assert problem.suggestion == "write the whole condition without `${{ }}`"


class _CountedNames:
    """Names that count how often they are gone through."""

    def __init__(self, names: list[str]) -> None:
        self.times = 0
        self._names = names

    def __iter__(self) -> Iterator[str]:
        self.times += 1
        return iter(self._names)


def test_names_are_gone_through_once_for_all_questions() -> None:
    """All questions together go through the names once."""
    counted = _CountedNames([f"s{number}" for number in range(2_000)])
    names, suggestions = Names(counted), Suggestions()
    for number in range(5_000):
        suggestions.nearest(f"q{number}", names)
    assert counted.times == 1
    assert suggestions.spent <= BUDGET


@pytest.mark.parametrize(("name", "size"), [("unknown dependencies", 500_000), ("similar dependencies", 100_000)])
def test_the_comparisons_of_a_file_have_a_budget(name: str, size: int) -> None:
    """Comparisons of nearly correct names stay within the budget."""
    filename, make = WORST[name]
    report = Report(filename)
    with pytest.raises(InvalidWorkflow):
        parse_into(report, make(size), filename=filename)
    assert BUDGET // 2 < report.suggestions.spent <= BUDGET


def test_a_file_of_ordinary_size_has_all_its_suggestions() -> None:
    """A hundred mistakes among 300 steps all get a suggestion."""
    steps = "".join(f"- id: load-table-{n}\n" for n in range(300))
    wrong = "".join(f"- {{id: r{n}, dependsOn: [lod-tabel-{n}]}}\n" for n in range(limits.MAX_PROBLEMS))
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(f"steps:\n{steps}{wrong}", filename="f.yaml")
    assert all(problem.suggestion.startswith("did you mean `load-") for problem in caught.value.problems)


def test_spelling_is_compared_without_a_budget() -> None:
    """Case and separators are corrected even without a budget."""
    names = Names(["load-sales", "LoadStock", "report"])
    suggestions = Suggestions(budget=0)
    assert suggestions.nearest("LOAD-SALES", names) == "load-sales"
    assert suggestions.nearest("load.stock", names) == "LoadStock"
    assert suggestions.nearest("load_sales", names) == "load-sales"
    assert suggestions.nearest("reprot", names) is None
    assert Suggestions().nearest("reprot", names) == "report"
    assert Suggestions().nearest("x" * 101, names) is None


def test_names_of_another_length_are_not_compared() -> None:
    """Names of very different lengths are not compared."""
    suggestions = Suggestions()
    assert suggestions.nearest("abcd", Names(["abcdefghijklmnop" * 3])) is None
    assert suggestions.spent == 0


def _problems(content: str, filename: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(content, filename=filename)
    return caught.value.problems


@pytest.mark.parametrize("sign", ["x", "ä", "\U0001f600"])
def test_the_problems_fit_a_document(sign: str) -> None:
    """The problems of a run fit into 1 MiB, however long its names are."""
    path = f"gs://{'b' * 222}/{sign * (1_000 // len(sign.encode()))}.yaml"
    quoted = sign * 100
    problems = _problems("steps:\n" + "".join(f'- {{id: "{quoted}{n}", "{quoted}": 1}}\n' for n in range(500)), path)
    size = len(json.dumps([problem.as_fields() for problem in problems], ensure_ascii=False).encode())
    assert size < limits.MAX_PROBLEM_BYTES + 10_000
    assert sum(1 for _ in problems) <= limits.MAX_PROBLEMS + 1


def test_problems_that_are_too_large_together_are_counted() -> None:
    """Very long names leave room for fewer problems."""
    problems = _problems("steps:\n" + "- {}\n" * 50, "x" * 20_000)
    assert len(problems) == 20
    assert problems[-1].message == "... and 31 more further down"


def test_what_is_below_the_depth_counts_as_values() -> None:
    """Values below the depth limit count, too."""
    content = "steps: " + "[" * 20 + "a," * (limits.MAX_NODES + 10)
    assert any("more than 300,000 values" in problem.message for problem in _problems(content, "f.yaml"))


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\x85", "\u2028"])
def test_many_tag_directives_are_refused(line_break: str) -> None:
    """Many tag directives are refused."""
    content = "".join(f"%TAG !{n}! x{line_break}" for n in range(101)) + f"---{line_break}steps: []\n"
    assert [problem.message for problem in _problems(content, "f.yaml")] == [
        "there are more than 100 lines that begin with %TAG"
    ]
    few = "".join(f"%TAG !{n}! x{line_break}" for n in range(100)) + f"---{line_break}steps: [{{id: a}}]\n"
    assert parse_workflow(few, filename="f.yaml").steps
