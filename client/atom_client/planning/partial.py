"""Evaluate expressions as far as their values are known before a run.

The scope has maps that hold only a part of their members. Reading a member that is not known raises `NotKnown`, so an
expression has a value exactly if it needs nothing that is unknown: `params.full or steps.list.outputs.rows > 9` is true
for `full`, whatever the step will return.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn

from atom_workflows.core.evaluation import Verdict, evaluate_condition
from atom_workflows.core.workflow import Condition, Template
from atom_workflows.errors import ExpressionError
from atom_workflows.expressions.evaluator import evaluate
from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.templates import Placeholder, parse_template
from atom_workflows.expressions.tokens import skip_text
from atom_workflows.expressions.values import Value, as_text

MARKS: Final = ("\u2039", "\u203a")
"""What stands around an expression whose value is not known."""


class NotKnown(Exception):
    """An expression needs a value that is not known."""


class Partial(dict[str, Any]):
    """A map of which only some members are known.

    The others are those in `unknown`, or all others if that is None. To an evaluation it is a map like any other.
    """

    def __init__(self, known: Mapping[str, Any], unknown: frozenset[str] | None = None) -> None:
        super().__init__(known)
        self._unknown = unknown

    def get(self, key: str, default: Any = None) -> Any:
        """Return a member that is known, or the default if it is known that there is none."""
        if super().__contains__(key):
            return super().__getitem__(key)
        if self._unknown is None or key in self._unknown:
            raise NotKnown(key)
        return default

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        if self._unknown is None or key in self._unknown:
            raise NotKnown(key)
        return False

    def _as_a_whole(self, *_: object) -> NoReturn:
        raise NotKnown

    # The map as a whole is not known.
    __iter__ = __len__ = __eq__ = __ne__ = keys = values = items = _as_a_whole
    __hash__ = None


def judge(condition: Condition, scope: Mapping[str, Any], *, zone: str) -> Verdict | None:
    """Evaluate a condition. Return None if it depends on what is not known."""
    try:
        return evaluate_condition(condition, scope, zone=zone)
    except NotKnown:
        pass
    # The condition may be decided even if not all values that it names are known.
    try:
        value = evaluate(parse(condition.text), scope, zone=zone)
    except NotKnown:
        return None
    except ExpressionError as error:
        return Verdict(error=f"`when` (line {condition.line}) cannot be evaluated: {error}")
    shown = spell(condition)
    return Verdict(holds=value is True, because=f"`{shown}` was {'true' if value is True else 'false'}")


def spell(condition: Condition) -> str:
    """Return a condition on one line."""
    return " ".join(condition.text.split())


def with_marks(template: Template, scope: Mapping[str, Any], *, zone: str) -> tuple[Template, list[str]]:
    """Replace the expressions of a template that are not known by their own text, in marks.

    Returns the template and these expressions. A template of which all is known stays as it is.
    """
    parts: list[str] = []
    unknown: list[str] = []
    parsed = parse_template(template.text)
    for part in parsed.parts:
        if isinstance(part, str):
            parts.append(part)
            continue
        try:
            value: Value = evaluate(part.expression, scope, zone=zone)
        except NotKnown:
            text = _text_of(template.text, part)
            unknown.append(text)
            parts.append(text.join(MARKS))
        except ExpressionError:
            # Whoever renders the template finds the same error, with its place.
            return template, []
        else:
            parts.append("" if value is None or isinstance(value, list | dict) else as_text(value))
    if not unknown:
        return template, []
    return replace(template, text="".join(parts).replace("${{", "$${{")), unknown


def _text_of(text: str, placeholder: Placeholder) -> str:
    """Return an expression as it is written, on one line."""
    at = placeholder.offset
    while not text.startswith("}}", at):
        at = skip_text(text, at) if text[at] in "'\"" else at + 1
    return " ".join(text[placeholder.offset : at].split())
