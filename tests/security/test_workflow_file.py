"""A hostile workflow file costs no more than an honest one: seconds and megabytes are bounded, nothing is run."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow

MOST_S = 10.0
"""Seconds of the processor: each of these took minutes, or grew with the square of the file, before it was bounded."""


def problems_of(text: str | bytes) -> list[str]:
    """Return the problems of a file, found in bounded time."""
    started = time.thread_time()
    try:
        parse_workflow(text, filename="f.yaml")
    except InvalidWorkflow as error:
        return [problem.message for problem in error.problems]
    finally:
        assert time.thread_time() - started < MOST_S
    return []


def with_args(args: str) -> str:
    """Return a workflow of one step with these arguments."""
    return f"steps:\n- {{id: a, task: {{url: u, args: {args}}}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        "1" + "_" * 60_000 + "x",
        "1" + ":1" * 30_000 + "x",
        "0" * 60_000 + "x",
        "2024-01-01 " + "0" * 60_000,
        "1." + "3" * 60_000 + "e9x",
        "-" * 60_000 + "1",
    ],
)
def test_no_text_makes_a_pattern_backtrack(text: str) -> None:
    """A value without quotes is classified in one pass."""
    assert problems_of(with_args(f"[{text}]")) in ([], problems_of(with_args(f"[{text[:100]}]")))


def test_names_that_are_nearly_right_are_not_compared_for_ever() -> None:
    """All suggestions of a file share one budget."""
    steps = "".join(
        f"- {{id: {'a' * 40}b{n:04}{'a' * 50}, dependsOn: [{'a' * 47}c{'a' * 45}{n:05}]}}\n" for n in range(1_000)
    )
    assert len(problems_of(f"steps:\n{steps}")) == 101


def test_many_maps_are_merged_in_one_pass() -> None:
    """`<<` goes through each map that it merges once."""
    maps = ", ".join(f"{{k{n}: 1}}" for n in range(70_000))
    assert problems_of(with_args(f"[{{<<: [{maps}]}}]")) != []


@pytest.mark.parametrize("content", [b"\0" * 4_000_000, b"\n" * 4_000_000 + b"\0" * 9, b"\xff" * 4_000_000])
def test_a_file_that_is_no_text_costs_no_memory(content: bytes) -> None:
    """A binary file takes little more memory than its size."""
    tracemalloc.start()
    try:
        assert problems_of(content)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(content)
    finally:
        tracemalloc.stop()


def test_aliases_of_aliases_are_refused() -> None:
    """Aliases of aliases are counted before they are built."""
    rows = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert any("more than 300,000 values" in said for said in problems_of(f"x0: &x0 [lol]\n{rows}steps: *x9\n"))


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!binary", "!!timestamp", "!x", "!<tag:x>"]
)
def test_no_tag_makes_anything_but_a_problem(tag: str) -> None:
    """A tag creates, imports and calls nothing."""
    for value in ("'echo'", "[echo]", "{a: echo}"):
        assert any("the tag " in said and "not allowed" in said for said in problems_of(with_args(f"[{tag} {value}]")))


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "a/b", "/", ".", "..", ".a", "-a", "__x__", "~end", "~1"),
        *("a\\0b", "a\\e[2J", "a\\u202Eb", "é", "a" * 101, "a b", "a\\n", "", "a`b"),
    ],
)
def test_an_id_is_a_plain_word(name: str) -> None:
    """A path, a reserved name or a control character is no step's id."""
    assert problems_of(f'steps:\n- {{id: "{name}", task: {{url: u}}}}\n') != []


def test_problems_show_nothing_that_a_terminal_obeys() -> None:
    """Problems quote a file's text short, with control characters spelt out."""
    said = problems_of('steps:\n- {id: "\\e]0;x\\a\\u202E\\x9b2J' + "a" * 500 + '"}\n')
    assert said
    assert all(text.isprintable() and len(text) < 300 for text in said)
