"""Whatever other readers of YAML and JSON make of a file, we make the same, or say that they disagree."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from atom_workflows.core.workflow import Workflow
from atom_workflows.language.parser import parse_workflow
from atom_workflows.language.problems import InvalidWorkflow

_QUICK = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
_YAML_1_2 = YAML(typ="safe", pure=True)
_NOTHING = ("no value",)

_WORDS = """
y n Y N yes no on off Yes ON ~ null Null NULL nUll true True tRue .inf .Inf -.inf +.INF .nan .NaN NaN inf
Infinity - ? 2001-12-14t21:59:43.10-05:00 2001-12-14 2001-1-1 12:30 12:30:45 190:20:30.15 1.2.3 0o14 0x1F 0b1
-0x1 +0o7 0o8 08 09 0 -0 00 1e3 1E3 1e+3 1.e3 .5 5. +.5 -.5 +1 . .. -. +. 0. .e5 1_0 1__0 _1 1_ 1.5_0 ._5
1_0.5 1e1_0 9509425349e4 680841e1 1e-5 1.5e3 3.10 9223372036854775807 9223372036854775808 1e400 a:b x#y
"""
_SCALARS = st.one_of(
    st.text(alphabet="0123456789+-._eExobB:TZtf~yYnN/a ", min_size=1, max_size=9),
    st.from_regex(r"[-+]?[0-9_]{0,3}\.?[0-9_]{0,3}([eE][-+]?[0-9_]{1,2})?", fullmatch=True),
    st.from_regex(r"[-+]?(0[xob]?)?[0-9a-fA-F_:.]{1,6}", fullmatch=True),
)


def _only_value(document: Any) -> tuple[str, ...]:
    """Return the list's one value with its type."""
    if not isinstance(document, list) or len(document) != 1 or isinstance(document[0], list | dict):
        return _NOTHING
    return type(document[0]).__name__, repr(document[0])


def _by_others(text: str) -> set[tuple[str, ...]]:
    found = set()
    try:
        found.add(_only_value(yaml.safe_load(text)))
    except (yaml.YAMLError, ValueError):
        found.add(_NOTHING)
    try:
        found.add(_only_value(_YAML_1_2.load(text)))
    except (YAMLError, ValueError):
        found.add(_NOTHING)
    return found


def _check(scalar: str) -> None:
    try:
        workflow = parse_workflow(
            f"steps:\n- id: a\n  task:\n    url: u\n    args:\n    - {scalar}\n", filename="f.yaml"
        )
    except InvalidWorkflow:
        return
    if not workflow.warnings:
        assert workflow.steps[0].task
        assert {_only_value(workflow.steps[0].task.args)} == _by_others(f"- {scalar}\n")


@pytest.mark.parametrize("scalar", _WORDS.split())
def test_known_differences_are_refused_or_warned_of(scalar: str) -> None:
    """A value that PyYAML and ruamel.yaml read differently is refused or has a warning."""
    _check(scalar)


@_QUICK
@given(_SCALARS)
def test_any_value_is_read_the_same(scalar: str) -> None:
    """Anything like a number, date or time is read the same, refused, or has a warning."""
    if scalar.strip():
        _check(scalar.strip())


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _json_with(args: Any, *, ascii_only: bool, indent: int | None) -> str:
    return json.dumps(
        {"steps": [{"id": "a", "task": {"url": "u", "args": [args]}}]}, ensure_ascii=ascii_only, indent=indent
    )


def _args(workflow: Workflow) -> Any:
    assert workflow.steps[0].task
    return workflow.steps[0].task.args


@_QUICK
@given(_JSON, st.booleans(), st.sampled_from([None, 0, 1]), st.sampled_from(["f.json", "inline.yaml"]))
def test_json_is_what_json_readers_read(args: Any, ascii_only: bool, indent: int | None, filename: str) -> None:  # noqa: FBT001  # drawn
    """Texts and numbers of a JSON file are read as `json` reads them."""
    text = _json_with(args, ascii_only=ascii_only, indent=indent)
    assert json.dumps(_args(parse_workflow(text, filename=filename))) == json.dumps([args])


@pytest.mark.parametrize("filename", ["f.json", "F.JSON", "inline.yaml"])
@pytest.mark.parametrize(
    "sign", ["\x85", "\u2028", "\x7f", "\x9f", "\ufeff", "\ufffe", "\U0001f600", "\t\t", "#", "<<", "*a"]
)
def test_no_sign_of_a_json_text_is_lost(sign: str, filename: str) -> None:
    """Characters that are special in YAML are ordinary in JSON texts."""
    for ascii_only in (True, False):
        text = _json_with({f"a{sign}b": f"x {sign} y", sign: sign}, ascii_only=ascii_only, indent=None)
        assert _args(parse_workflow(text, filename=filename)) == [{f"a{sign}b": f"x {sign} y", sign: sign}]


def test_a_long_key_of_json_is_a_key() -> None:
    """YAML's limit of 1,024 characters is not JSON's."""
    args = {"k" * 5_000: 1}
    assert _args(parse_workflow(_json_with(args, ascii_only=True, indent=None), filename="f.json")) == [args]


_PIECES = st.sampled_from(
    [*'{}[],:" \n\t', "'", "//", "#", "NaN", "-1", "01", "1.", ".5", "1e5", "tru", "null", "\\u", "\x00", "é"]
)
_GOOD = _json_with([1, "two", {"three": 3.0}, None, True], ascii_only=True, indent=1)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _not_json(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


@_QUICK
@given(st.integers(0, len(_GOOD)), st.integers(0, 4), st.lists(_PIECES, max_size=2).map("".join))
def test_what_is_not_json_is_refused(start: int, removed: int, added: str) -> None:
    """A .json file is refused or read exactly as `json` does."""
    text = _GOOD[:start] + added + _GOOD[start + removed :]
    try:
        document = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_not_json)
    except ValueError:
        with pytest.raises(InvalidWorkflow):
            parse_workflow(text, filename="f.json")
        return
    try:
        workflow = parse_workflow(text, filename="f.json")
    except InvalidWorkflow:
        return
    assert _args(workflow) == document["steps"][0]["task"]["args"]


@pytest.mark.parametrize(
    "text",
    [
        "{steps: [{id: a}]}",
        "{'steps': [{'id': 'a'}]}",
        '{"steps": [{"id": "a"},]}',
        '{"steps": [{"id": a}]} # a comment',
        '{"steps": [{"id": "a"}]} # a comment',
        '{"defaults": {"timeout": 1h}, "steps": [{"id": "a"}]}',
    ],
)
def test_what_only_begins_like_json_is_yaml(text: str) -> None:
    """YAML's flow style is read as YAML, unless the file is named .json."""
    assert parse_workflow(text, filename="f.yaml").steps[0].id == "a"
    with pytest.raises(InvalidWorkflow):
        parse_workflow(text, filename="f.json")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_definition_with_no_number_is_refused(word: str) -> None:
    """`NaN` and `Infinity` are refused."""
    text = f'{{"steps": [{{"id": "a", "task": {{"url": "u", "args": [{word}]}}}}]}}'
    with pytest.raises(InvalidWorkflow, match=f"`{word}` is not a JSON number; write `null`"):
        parse_workflow(text, filename="inline.yaml")


def test_definitions_in_json_are_not_nested_without_end() -> None:
    """JSON has the same limit on depth as YAML."""
    for text in ('{"a": ' * 100_000, '{"a": ' * 5_000 + "1" + "}" * 5_000, '{"a": ' + "[" * 100_000):
        with pytest.raises(InvalidWorkflow, match="nested more than 20 levels deep"):
            parse_workflow(text, filename="inline.yaml")
        with pytest.raises(InvalidWorkflow, match="nested more than 20 levels deep"):
            parse_workflow(text, filename="f.json")
