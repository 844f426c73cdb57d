"""Loops of a file: the type of an item, the limits on the lists, and what is warned of."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

from atom_workflows.core.reads import is_per_item
from atom_workflows.core.workflow import Condition
from atom_workflows.expressions.types import (
    ANY,
    BOOL,
    DATE,
    INSTANT,
    INT,
    NUMBER,
    TEXT,
    ListOf,
    MapOf,
    OrNull,
    Type,
    Words,
    read_type,
    write_type,
)
from atom_workflows.language import limits
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow
from support.work import lines_run

_READS = 'task: {url: u, args: ["${{ item }}"]}'


def _loop(for_each: str, more: str = "") -> str:
    return f"""
params: {{days: {{type: [date]}}, deep: {{type: any}}, maybe: {{type: [int or null], default: []}}}}
steps:
- id: a
  forEach: {for_each}
  {more}
  task: {{url: u, args: ["${{{{ item }}}}", "${{{{ [params.days, params.deep, params.maybe] }}}}"]}}
"""


def _problems(text: str) -> list[str]:
    with pytest.raises(InvalidWorkflow) as caught:
        parse_workflow(text, filename="f")
    return [str(problem)[2:] for problem in caught.value.problems]


def _warnings(text: str) -> list[str]:
    return [warning[2:] for warning in parse_workflow(text, filename="f").warnings]


_NAMES = ", ".join(f"n{number}: 1" for number in range(101))
_DEEP = "[" * 9 + "1" + "]" * 9


@pytest.mark.parametrize(
    ("for_each", "expected"),
    [
        ("[1, 2]", INT),
        ("[1, 2.5]", NUMBER),
        ("[true]", BOOL),
        ("[a, b, a]", Words(("a", "b"))),
        (f"[{', '.join(f't{number}' for number in range(101))}]", TEXT),
        ("[a, 1]", ANY),
        ("[1, true]", ANY),
        ("[1, null]", OrNull(INT)),
        ("[null]", ANY),
        ("[]", ANY),
        ("[[1], [], [2.5]]", ListOf(NUMBER)),
        ("[[], []]", ListOf(ANY)),
        ("[{a: 1, b: x}, {a: null, b: y}]", MapOf({"a": OrNull(INT), "b": Words(("x", "y"))})),
        ("[{a: 1}, {b: 2}]", MapOf({"a": OrNull(INT), "b": OrNull(INT)})),
        ("[{}]", ANY),
        ("[{a b: 1}]", ANY),
        (f"[{{{_NAMES}}}]", ANY),
        (f"[{_DEEP}]", ListOf(ListOf(ListOf(ListOf(ListOf(ListOf(ListOf(ANY)))))))),
        ("${{ params.days }}", DATE),
        ("${{ params.deep }}", ANY),
        ("${{ params.maybe }}", OrNull(INT)),
        ("${{ range(3) }}", INT),
        ("${{ [] }}", ANY),
        ("${{ [run.scheduledAt] }}", INSTANT),
        ("${{ [run] }}", None),
        ("${{ [null, 1] }}", OrNull(INT)),
        ('{day: "${{ params.days }}", n: [1], x: []}', MapOf({"day": DATE, "n": INT, "x": ANY})),
    ],
)
def test_the_type_of_an_item_follows_from_the_lists(for_each: str, expected: Type | None) -> None:
    """The type of an item is the narrowest one that can be stored."""
    loop = parse_workflow(_loop(for_each), filename="f").steps[0].for_each
    assert loop is not None
    if expected is not None:
        assert loop.item_type == expected
    stored = json.loads(json.dumps(write_type(loop.item_type)))
    assert write_type(read_type(stored)) == stored


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("item == 1", True),
        ("index > 3", True),
        ("item.region == 'eu' and params.full", True),
        ("steps.item.state == 'FAILED'", False),
        ("params.item == 'index'", False),
        ("any([item > 3 for item in params.sizes])", False),
        ("any([x > item for x in params.sizes])", True),
    ],
)
def test_a_condition_that_names_the_item_is_decided_for_each(condition: str, expected: bool) -> None:  # noqa: FBT001
    """A condition is about single items if it reads `item` or `index`, and not only something of that name."""
    assert is_per_item(Condition(text=condition)) is expected


# -- limits -----------------------------------------------------------------------------------------------------------


def _numbers(count: int) -> str:
    return f"[{', '.join(map(str, range(count)))}]"


@pytest.mark.parametrize("more", [0, 1])
def test_a_loop_has_a_limited_number_of_items(more: int) -> None:
    """The first item beyond the limit is named."""
    count = limits.MAX_ITEMS + more
    text = _loop("".join(f"\n  - {number}" for number in range(count)))
    if not more:
        assert parse_workflow(text, filename="f")
        return
    said = "`forEach` has 10,001 items, more than the 10,000 allowed; split the items among several steps"
    assert _problems(text) == [f"{5 + count}:5: {said}"]


def test_the_lists_of_a_loop_count_as_reads_of_its_step() -> None:
    """A step's task and its lists may together read the results of so many steps."""
    count = limits.MAX_STEPS_READ
    steps = "".join(f"- {{id: s{number}, task: {{url: u}}}}\n" for number in range(count + 1))
    needs = ", ".join(f"s{number}" for number in range(count + 1))
    lists = ", ".join(f"steps.s{number}.state" for number in range(count // 8))
    rest = " ".join(f"${{{{ steps.s{number}.state }}}}" for number in range(count // 8, count + 1))
    last = f"- id: z\n  dependsOn: [{needs}]\n  forEach: ${{{{ [{lists}] }}}}\n"
    text = f"steps:\n{steps}{last}" + '  task: {url: u, args: ["${{ item }}", "%s"]}\n'
    assert parse_workflow(text % rest.removesuffix(f" ${{{{ steps.s{count}.state }}}}"), filename="f")
    (problem,) = _problems(text % rest)
    assert "the expressions of a step may read the results of at most 200 steps" in problem


@pytest.mark.parametrize(
    ("for_each", "said"),
    [
        (f"{{region: {_numbers(20)}, model: {_numbers(30)}, day: {_numbers(40)}}}", "region x model x day = 24,000"),
        (f"{{region: {_numbers(101)}, one: [1], model: {_numbers(100)}}}", "region x model = 10,100"),
        (f'{{a: {_numbers(101)}, b: "${{{{ params.days }}}}", c: "${{{{ range(100) }}}}"}}', "a x c = 10,100"),
        (f"{{a: {_numbers(10_001)}, b: [1]}}", "10,001"),
    ],
)
def test_the_combinations_of_lists_are_counted(for_each: str, said: str) -> None:
    """Too many combinations of the lists that are known are shown as a product."""
    said = said.replace(" x ", " \u00d7 ")
    expected = f"`forEach` has {said} items, more than the 10,000 allowed; split the items among several steps"
    assert _problems(_loop(for_each)) == [f"5:3: {expected}"]


def test_the_items_of_a_run_are_limited() -> None:
    """Loops that cannot be skipped have a limited number of items in total; the loop that exceeds it is named."""
    sizes = (10_000, 9_999, 1, 1)
    steps = [f"- id: s{number}\n  forEach: ${{{{ range({size}) }}}}\n  {_READS}" for number, size in enumerate(sizes)]
    said = "the loops in this file have 20,001 items, more than the 20,000 allowed in a run"
    assert _problems("steps:\n" + "\n".join(steps)) == [f"12:3: {said}; split the workflow into several files"]
    steps[3] += "\n  when: params.full"
    assert parse_workflow("params: {full: true}\nsteps:\n" + "\n".join(steps), filename="f")
    steps[3] = steps[3].replace("params.full", "item > 0")
    assert len(_problems("params: {full: {type: any}}\nsteps:\n" + "\n".join(steps))) == 1


@pytest.mark.parametrize(
    ("for_each", "expected"),
    [
        (f"[a, {'x' * 8_191}]", ["5:16: an item of `forEach` is 8,193 bytes as JSON, more than the 8,192 allowed"]),
        (f"[a, {'x' * 8_190}]", []),
        (f"[{'ä' * 4_096}]", ["5:13: an item of `forEach` is 8,194 bytes as JSON, more than the 8,192 allowed"]),
        (
            f"{{a: [s, {'x' * 4_000}], b: [{'y' * 5_000}, t]}}",
            ["5:4027: the largest item of `forEach` is 9,015 bytes as JSON, more than the 8,192 allowed"],
        ),
        (f"{{a: [s, {'x' * 4_000}], b: [{'y' * 4_000}, t], c: []}}", []),
        (
            '${{ [join(["x" for x in range(8191)], "")] }}',
            ["5:12: an item of `forEach` is 8,193 bytes as JSON, more than the 8,192 allowed"],
        ),
    ],
)
def test_an_item_has_a_limited_size(for_each: str, expected: list[str]) -> None:
    """The largest item counts; for a map of lists, the largest combination."""
    text = _loop(for_each)
    if not expected:
        assert parse_workflow(text, filename="f")
        return
    assert _problems(text) == [f"{one}; put large content into files, and list their names" for one in expected]


@pytest.mark.parametrize("more", [0, 1])
def test_the_lists_of_a_loop_have_a_limited_size(more: int) -> None:
    """The lists in the file fit into one document; computed lists do not count."""
    text = _loop(f"[{', '.join('x' * (6_995 + more) + str(number) for number in range(100, 200))}]")
    computed = '${{ [join(["x" for x in range(8000)], "") for y in range(99)] }}'
    if not more:
        assert parse_workflow(text, filename="f")
        assert parse_workflow(_loop(computed), filename="f")
        return
    said = "the lists of `forEach` are 700,100 bytes as JSON, more than the 700,000 allowed"
    assert _problems(text) == [f"5:3: {said}; put large content into files, and list their names"]


def test_an_item_behind_an_alias_is_reported_where_it_is_used() -> None:
    """A problem with an item of a list that an alias names is reported at the alias."""
    text = f"""
steps:
- id: a
  task: {{url: u, args: &large [{"x" * 9_000}]}}
- id: b
  forEach: *large
  {_READS}
- id: c
  forEach: {{n: [1], x: *large}}
  {_READS}
"""
    assert [problem.split(": ")[0] for problem in _problems(text)] == ["6:12", "9:24"]


_LARGE = f"[{', '.join(number * 'y' for number in range(4_000, 4_100))}]"
_HOSTILE = {
    "combinations": f"{{a: {_LARGE}, b: {_LARGE}}}",
    "aliases": f"{{a: &a {_LARGE}, {', '.join(f'x{number}: *a' for number in range(19))}}}",
    "wide": f"[{', '.join(f'{{n{number}: 1}}' for number in range(9_000))}]",
    "constant": "{a: '${{ range(10000) }}', b: '${{ range(10000) }}'}",
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_lists_take_little_memory(name: str) -> None:
    """The combinations of large lists are counted, and never built."""
    text = f"steps:\n- id: a\n  forEach: {_HOSTILE[name]}\n  {_READS}"
    tracemalloc.start()
    with suppress(InvalidWorkflow):
        parse_workflow(text, filename="f")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50_000_000


def test_constant_lists_share_a_budget() -> None:
    """A file full of long constant lists costs no more than one of them may."""
    loop = f'  when: run.id != "x"\n  forEach: ${{{{ range(10000) }}}}\n  {_READS}'
    text = "steps:\n" + "\n".join(f"- id: s{number}\n{loop}" for number in range(300))
    assert lines_run(lambda: parse_workflow(text, filename="f")) < 5_000_000


# -- warnings ---------------------------------------------------------------------------------------------------------

_MEANT = 'if you mean the text, put it in quotes: "1.50"; if you mean the number, write `1.5`'


@pytest.mark.parametrize(
    ("for_each", "more", "expected"),
    [
        ("[]", "", ["5:3: there are no items, so this step never runs a job; add items to the list"]),
        ("{a: [1], b: []}", "", ["5:3: there are no items, so this step never runs a job; add items to the list"]),
        ("[1, 2, 1]", "", ["5:19: `1` is listed twice, so its jobs run twice; remove one of them"]),
        ("{a: [{x: 1}, {x: 1}]}", "", ['5:25: `{"x": 1}` is listed twice, so its jobs run twice; remove one of them']),
        (
            "[1, 2]",
            "tolerate: 2",
            ["6:13: the step succeeds even if all of its items fail, since there are only 2; write at most 1"],
        ),
        (
            "[1]",
            "tolerate: 2",
            ["6:13: the step succeeds even if all of its items fail, since there is only 1; remove it"],
        ),
        ("[1, 2]", "tolerate: 1", []),
        ("${{ params.days }}", "tolerate: 9", []),
        ("[1.50]", "", ["5:13: `1.50` is sent as the number `1.5`; " + _MEANT]),
        (
            f"[ghp_{'a' * 30}]",
            "",
            [
                (
                    "5:13: this looks like a GitHub token, and secrets do not belong in the file; "
                    "give the name of a secret; the job reads the secret itself"
                )
            ],
        ),
    ],
)
def test_doubtful_loops_are_warned_of(for_each: str, more: str, expected: list[str]) -> None:
    """A valid loop that may not do what its author intends has a warning at its place."""
    assert _warnings(_loop(for_each, more)) == expected


@pytest.mark.parametrize(
    ("task", "is_warned"),
    [
        ("{url: u}", True),
        ('{url: "${{ run.id }}"}', True),
        ('{url: u, args: ["${{ index }}"]}', False),
        ('{url: u, labels: {n: "${{ text(item) }}"}}', False),
    ],
)
def test_a_loop_whose_jobs_are_all_the_same_is_warned_of(task: str, is_warned: bool) -> None:  # noqa: FBT001
    """A step that never reads its item has probably been forgotten to do so."""
    said = "3:3: nothing in this step reads `item`, so all of its items run the same job; "
    said += "write `${{ item }}` where the job needs it"
    text = f"steps:\n- id: a\n  forEach: [1, 2]\n  task: {task}"
    assert _warnings(text) == ([said] if is_warned else [])


def test_an_item_in_a_shell_command_is_warned_of() -> None:
    """An item may contain a quote, as any other value may."""
    text = 'steps:\n- id: a\n  forEach: [1]\n  task: {imageUri: x, args: [sh, -c, "load ${{ item }}"]}'
    (warning,) = _warnings(text)
    assert warning.startswith("4:48: an expression inside a shell command: a quote in its value would become code")


def test_an_output_of_a_loop_that_nothing_reads_is_warned_of() -> None:
    """Reading the counts of a loop does not read its outputs."""
    text = f"""
steps:
- id: a
  forEach: [1]
  {_READS}
  outputs: {{used: int, unused: int}}
- id: b
  dependsOn: a
  when: steps.a.counts.failed == 0
  forEach: ${{{{ steps.a.outputs.used }}}}
  {_READS}
"""
    assert _warnings(text) == ["6:24: the output `unused` is never read; remove it, or use it"]


def test_loops_of_a_plain_file_are_checked() -> None:
    """The lists are checked even if the file has no expressions at all."""
    text: Any = {"steps": [{"id": "a", "forEach": ["x" * 9_000], "task": {"url": "u"}}]}
    (problem,) = _problems(json.dumps(text))
    assert "bytes as JSON" in problem
