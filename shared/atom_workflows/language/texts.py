"""Reading texts, and lists and maps of them."""

from __future__ import annotations

import re
from typing import Any

from atom_workflows.language.kinds import Choice, Text, TextList, TextMap
from atom_workflows.language.nodes import Broken, Fields, Items, Node, Scalar
from atom_workflows.language.problems import Report
from atom_workflows.language.readings import INVALID, Invalid, is_empty, quotes_missing, wrong_type
from atom_workflows.language.scalars import resolve
from atom_workflows.language.suggestions import names_of
from atom_workflows.language.wording import code


def read_text(kind: Text, node: Node, subject: str, report: Report) -> str | Invalid:
    """Read a text; `subject` is how messages call it."""
    if isinstance(node, Broken):
        return INVALID
    if not isinstance(node, Scalar) or is_empty(node):
        return wrong_type(node, subject, "text", kind.when_empty, report)
    text = resolve(node)
    if not isinstance(text, str):
        return quotes_missing(node, subject, report)
    wrong = _wrong(kind, text)
    if wrong is None:
        return text
    report.add(node, f"{subject} {wrong[0]}", wrong[1])
    return INVALID


def read_choice(kind: Choice, node: Node, path: str, report: Report) -> str | Invalid:
    """Read one of a few words."""
    allowed = " or ".join(code(word) for word in kind.words)
    if not isinstance(node, Scalar) or is_empty(node):
        return wrong_type(node, code(path), "a word", f"write {allowed}", report)
    if node.text in kind.words:
        return node.text
    near = report.nearest(node.text, names_of(kind.words))
    suggestion = f"did you mean {code(near)}?" if near else f"write {allowed}"
    report.add(node, f"{code(path)} cannot be {code(node.text)}", suggestion)
    return INVALID


def read_text_list(kind: TextList, node: Node, path: str, report: Report) -> Any:
    """Read a list of texts, or a text alone, into the nodes of the good ones, for their places matter later."""
    if is_empty(node):
        return wrong_type(node, code(path), "a list", "leave it out if there is none", report)
    if not isinstance(node, Items | Scalar):
        return wrong_type(node, code(path), "a list", "write a list, such as `[a, b]`", report)
    subject = f"an entry of {code(path)}" if isinstance(node, Items) else code(path)
    return tuple(
        item
        for item in (node.items if isinstance(node, Items) else [node])
        if read_text(kind.item, item, subject, report) is not INVALID and isinstance(item, Scalar)
    )


def read_text_map(kind: TextMap, node: Node, path: str, report: Report) -> Any:
    """Read a map from text to text."""
    if not isinstance(node, Fields):
        remedy = "leave it out if there is none" if is_empty(node) else "write a map, such as `{team: sales}`"
        return wrong_type(node, code(path), "a map from text to text", remedy, report)
    for entry in node.entries.values():
        wrong = _wrong(kind.key, entry.name)
        if wrong:
            report.add(entry.key, f"a name in {code(path)} {wrong[0]}", wrong[1])
    return {
        entry.name: read_text(kind.value, entry.value, code(f"{path}.{entry.name}"), report)
        for entry in node.entries.values()
    }


def _wrong(kind: Text, text: str) -> tuple[str, str] | None:
    """What is wrong with the text, and what would be right."""
    if len(text) > kind.max_length:
        return f"has {len(text):,} characters, more than the {kind.max_length:,} allowed", "shorten it"
    if len(text) < kind.min_length:
        return "is empty", kind.when_empty
    if not kind.multiline and not text.isprintable() and _unprintable(text):
        return f"holds a line break or control character: {code(text)}", "remove it"
    if not _matches(kind, text):
        return f"cannot be {code(text)}", _allowed(kind, text)
    return None


def _allowed(kind: Text, text: str) -> str:
    """Say what to write instead of a text that cannot be."""
    instead = kind.respell(text)[: kind.max_length] if kind.respell else ""
    if not instead or not _matches(kind, instead):
        return f"use {kind.rule}"
    display = kind.display if " " in text or not text.isascii() else ""
    return f"write {code(instead)}{display}; allowed are {kind.rule}"


def _unprintable(text: str) -> bool:
    """Whether there is a control character; str.isprintable is stricter, it refuses rare spaces too."""
    return any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text)  # noqa: PLR2004  # C0, DEL and C1


def _matches(kind: Text, text: str) -> bool:
    allowed = kind.pattern is None or re.fullmatch(kind.pattern, text)
    return bool(allowed) and not (kind.forbidden and re.fullmatch(kind.forbidden, text))
