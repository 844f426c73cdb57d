"""An offset inside a value leads to the right line and column, however the value is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atom_workflows.language.json_syntax import JsonReader
from atom_workflows.language.nodes import Fields, Items, Node, Scalar
from atom_workflows.language.places import Source
from atom_workflows.language.problems import InvalidWorkflow, Place, Report
from atom_workflows.language.tree import compose
from atom_workflows.language.yaml_errors import locate
from atom_workflows.language.yaml_syntax import FASTEST_LOADER, PURE_LOADER, events

_MARK = "§"
_LOADERS = st.sampled_from([FASTEST_LOADER, PURE_LOADER])


def _scalars(node: Node | None) -> list[Scalar]:
    match node:
        case Scalar():
            return [node]
        case Items():
            return [scalar for item in node.items for scalar in _scalars(item)]
        case Fields():
            return [
                scalar
                for entry in node.entries.values()
                for part in (entry.key, entry.value)
                for scalar in _scalars(part)
            ]
        case _:
            return []


def _places(text: str, loader: Any) -> list[Place]:
    """Return the place of the mark in each value that has one."""
    report = Report("f.yaml")
    root, _ = compose(events(text, report, loader), report)
    try:
        report.raise_if_any()
    except InvalidWorkflow:
        return []
    source = Source(text)
    return [source.place(scalar, scalar.text.index(_MARK)) for scalar in _scalars(root) if _MARK in scalar.text]


@pytest.mark.parametrize("loader", [FASTEST_LOADER, PURE_LOADER], ids=["fastest", "pure"])
@pytest.mark.parametrize(
    "text",
    [
        "a: b §",
        "a: b\n  c\n\n  d §",
        "- [a b §, c]",
        "a: {b: c §}",
        "a: 'it''s §'",
        "a: 'b\n  c\n\n\n  §'",
        'a: "\\x41\\u00e9\\U0001f600\\n\\" §"',
        'a: "b \\\n    c §"',
        'a: "b\\\n\n    c §"',
        "a: |\n  b\n\n    c §\n",
        "a: |2-\n    b\n  c §\n",
        "a: >\n  b\n  c\n\n  d\n    e\n  f §\n",
        "a: >+ # folded\n\n\n    b\n    §\n\n",
        "a: &x b §",
        "a: &x\n  |\n   b §",
        "a: b\r\nc: |\r\n  d\r\n  e §\r\n",
        "a: |\n  b\u2028  c §\n",
        "'b §': c",
    ],
)
def test_a_place_is_exact_in_each_style(text: str, loader: Any) -> None:
    """Escapes, folded lines, indentation and anchors are all taken into account."""
    assert _places(text, loader) == [locate(text, text.index(_MARK))]


_PIECES = st.sampled_from(
    [
        "a",
        "bc",
        "${{ x }}",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\n   ",
        "\t",
        "'",
        '"',
        "\\",
        "#",
        ": ",
        "é",
        "😀",
        "\u2028",
        "\x85",
        "\r\n",
        "-",
        "''",
        "\\n",
        "\\u00e9",
        "\\x41",
        "\\\n   ",
        '\\"',
        "`",
        "%",
        "|",
        ">",
        "]",
    ]
)
_STYLES = st.sampled_from(
    ["w{}", "[w{}]", "'{}'", '"{}"']
    + [f"{head}\n    w{{}}\n" for head in ("|", ">", "|-", ">+", "| # c", "|\n", ">\n")]
    + [f"{head}\n    {{}}\nc: d\n" for head in ("|2", ">2", "|2-", ">2+")]
)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(_STYLES, st.lists(_PIECES, max_size=8), st.lists(_PIECES, max_size=8), st.sampled_from(["", "&x "]), _LOADERS)
def test_a_place_is_exact_whatever_is_written(
    style: str, before: list[str], after: list[str], anchor: str, loader: Any
) -> None:
    """The mark is found in any value that the reader accepts."""
    content = "".join([*before, _MARK, *after]).replace("\n", "\n    ")
    text = f"a:\n  b: {anchor}{style.format(content)}"
    assert all(place == locate(text, text.index(_MARK)) for place in _places(text, loader))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_a_place_is_exact_in_json(before: str, after: str, ascii_only: bool) -> None:  # noqa: FBT001  # hypothesis gives it
    """Escapes and surrogate pairs are taken into account."""
    text = '{\n "a": ' + json.dumps(f"{before}{_MARK}{after}", ensure_ascii=ascii_only) + "\n}"
    report = Report("f.json")
    root, _ = compose(JsonReader(text, report).events(), report)
    for scalar in _scalars(root):
        offset = scalar.text.find(_MARK)
        if offset >= 0 and _MARK not in before:
            index = text.find(json.dumps(_MARK, ensure_ascii=ascii_only)[1:-1])
            assert Source(text, is_json=True).place(scalar, offset) == Place(line=2, column=index - text.index("\n"))
