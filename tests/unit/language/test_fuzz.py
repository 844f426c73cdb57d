"""Whatever the bytes, the parser answers with a workflow or with `InvalidWorkflow`."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atom_workflows.core.durations import parse_duration, respell_duration
from atom_workflows.core.run_ids import workflow_label
from atom_workflows.core.workflow import Workflow
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow, Problem
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, PURE_LOADER

_VALID = """steps:
  - id: a
    dependsOn: [b]
    task: &t {imageUri: x, args: [1, "two", {three: 3.0}], labels: {k: v}}
    retry: {maxAttempts: 3, backoff: {initial: 10s}}
  - id: b
    task: {<<: *t, url: u}
"""
_NEW = """params: {p: {type: [int], default: [1]}, q: "8"}
timezone: Europe/Paris
steps:
  - id: a
    task: &t {imageUri: "x${{ params.q }}", args: {k: "${{ params.p }}"}}
    outputs: {n: int}
    retry: {maxAttempts: 2, when: failure.kind == 'timeout'}
  - {id: b, dependsOn: a, when: "steps.a.outputs.n > 1", trigger: all-succeeded, allowFailure: true, task: *t}
finally: [{id: f, task: {url: "${{ run.state }}"}}]
outputs: {n: "${{ steps.a.outputs.n }}"}
"""
_LOOP = """params: {p: {type: [int], default: [1]}}
steps:
  - id: a
    forEach: {n: "${{ params.p }}", m: [a, {b: 1.5}, null]}
    when: item.n > index
    tolerate: 1
    task: {imageUri: x, args: {k: "${{ item }}"}}
    outputs: {n: int}
  - {id: b, dependsOn: a, forEach: "${{ steps.a.outputs.n }}", task: {url: u, args: ["${{ steps.a.counts.failed }}"]}}
finally: [{id: f, forEach: [1, 2], task: {url: u, args: ["${{ item }}"]}}]
"""
_WORDS = r"""
steps: id: dependsOn: task: args: labels: retry: timeout: imageUri: backoff: [ ] { } , : - ? & * &a *a ! !!str | > <<:
# % @ ` ' " \ \x \ud83d \U00110000 %YAML --- ... a b 1 0x1 010 1e999 .inf ~ null true no 2024-05-01 30s 1:30
forEach: item index
params: when: trigger: always finally: outputs: type: default: int ${{ }} run.id steps.a.message $${{ [text] == 'a'
9999999999999999999999 3.10 1e-5 +.5 NaN // 1.5h 500ms 90sec PT1H {" ": needs retries "
"""
_SPACES = ("\n", "\n  ", "\n  - ", " ", "\t", "\r\n", ": ", "- ")
_SIGNS = ("\ufeff", "\0", "\x85", "\u2028", "\ud800", "é", "\x7f", '"')
_PIECES = st.sampled_from([*_WORDS.split(), *_SPACES, *_SIGNS])
_LOADERS = st.sampled_from([FASTEST_LOADER, PURE_LOADER])
_JSON = json.dumps(
    {
        "steps": [
            {"id": "a", "dependsOn": "b", "timeout": "1h 30m"},
            {"id": "b", "task": {"url": "é\n", "args": [1, -2.5e3, None, True, {"k": []}], "labels": {"k": "v"}}},
        ]
    },
    indent=1,
)
_NAMES = st.sampled_from(["f.yaml", "f.json", "", "a\nb"])
_QUICK = settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _answers(content: bytes | str, filename: str, loader: Any) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        workflow = parse_workflow(content, filename=filename, loader=loader)
        assert isinstance(workflow, Workflow)
        assert all(warning.isprintable() for warning in workflow.warnings)
    except InvalidWorkflow as invalid:
        problems = invalid.problems
    places = [(problem.line, problem.column) for problem in problems]
    assert places == sorted(places)
    assert all(line >= 1 and column >= 1 for line, column in places)
    assert all(str(problem).isprintable() for problem in problems)


@_QUICK
@given(st.binary(max_size=200), _NAMES, _LOADERS)
def test_any_bytes_are_answered(content: bytes, filename: str, loader: Any) -> None:
    """Random bytes are a workflow or have problems."""
    _answers(content, filename, loader)


@_QUICK
@given(st.lists(_PIECES, max_size=40).map("".join), _NAMES, _LOADERS)
def test_any_pieces_of_yaml_are_answered(text: str, filename: str, loader: Any) -> None:
    """Any sequence of the format's words is a workflow or has problems."""
    _answers(text, filename, loader)


@_QUICK
@given(st.integers(0, len(_VALID)), st.integers(0, 12), st.lists(_PIECES, max_size=3).map("".join), _LOADERS)
def test_any_edit_of_a_good_file_is_answered(start: int, removed: int, added: str, loader: Any) -> None:
    """Any edit of a valid file is a workflow or has problems."""
    _answers(_VALID[:start] + added + _VALID[start + removed :], "f.yaml", loader)


@_QUICK
@given(st.integers(0, len(_NEW)), st.integers(0, 12), st.lists(_PIECES, max_size=3).map("".join), _LOADERS)
def test_any_edit_of_a_file_with_expressions_is_answered(start: int, removed: int, added: str, loader: Any) -> None:
    """Any edit of a valid file with expressions is a workflow or has problems."""
    _answers(_NEW[:start] + added + _NEW[start + removed :], "f.yaml", loader)


@_QUICK
@given(st.integers(0, len(_LOOP)), st.integers(0, 12), st.lists(_PIECES, max_size=3).map("".join), _LOADERS)
def test_any_edit_of_a_file_with_loops_is_answered(start: int, removed: int, added: str, loader: Any) -> None:
    """Any edit of a valid file with loops is a workflow or has problems."""
    _answers(_LOOP[:start] + added + _LOOP[start + removed :], "f.yaml", loader)


@_QUICK
@given(
    st.integers(0, len(_JSON)),
    st.integers(0, 12),
    st.lists(_PIECES, max_size=3).map("".join),
    st.sampled_from(["f.json", "inline.yaml"]),
    _LOADERS,
)
def test_any_edit_of_a_good_json_file_is_answered(
    start: int, removed: int, added: str, filename: str, loader: Any
) -> None:
    """Any edit of valid JSON is a workflow or has problems, under any name."""
    _answers(_JSON[:start] + added + _JSON[start + removed :], filename, loader)


@_QUICK
@given(st.text(alphabet="0123456789.,: PTWDHMSwdhms secmin-", max_size=20))
def test_any_duration_is_read_or_answered_with_one_that_is(text: str) -> None:
    """The spelling that a message suggests for a duration is valid."""
    try:
        parse_duration(text)
    except ValueError:
        right = respell_duration(text)
        assert right is None or parse_duration(right) is not None
    _answers(f"timeout: '{text}'\nsteps: [{{id: a}}]\n", "f.yaml", FASTEST_LOADER)


@_QUICK
@given(st.text(max_size=80))
def test_any_id_is_taken_or_refused_with_one_that_is_taken(text: str) -> None:
    """The id that a message suggests is valid."""
    try:
        parse_workflow(json.dumps({"steps": [{"id": text}]}), filename="f.json")
    except InvalidWorkflow as invalid:
        offered = re.search(r"write `([^`]+)`(?: and|;)", invalid.problems[0].suggestion)
        if offered:
            assert parse_workflow(json.dumps({"steps": [{"id": offered[1]}]}), filename="f.json").steps


@_QUICK
@given(st.text(max_size=80))
def test_any_file_name_gives_a_label(name: str) -> None:
    """Any file name gives a valid label."""
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", workflow_label(name))
