"""Evaluate expressions as far as their values are known before a run.

Some maps in the scope hold only some of their members. Reading an unknown member raises `NotKnown`, so an expression
has a value if and only if it needs nothing unknown: `params.full or steps.list.outputs.rows > 9` is true if `full` is,
no matter what the step returns.
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
from atom_workflows.expressions.templates import parse_template
from atom_workflows.expressions.tokens import skip_text
from atom_workflows.expressions.values import Value, as_text

MARKS: Final = ("\u2039", "\u203a")
"""The marks around an expression whose value is not known."""


class NotKnown(Exception):
    """An expression needs a value that is not known."""


class Partial(dict[str, Any]):
    """A map of which only some members are known.

    The unknown members are those in `unknown`, or all others if that is None. Expressions treat it like any other map.
    """

    def __init__(self, known: Mapping[str, Any], unknown: frozenset[str] | None = None) -> None:
        super().__init__(known)
        self._unknown = unknown

    def get(self, key: str, default: Any = None) -> Any:
        """Return the member, or the default if it is known to be missing."""
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

    # The map as a whole is not known, so all of these raise.
    __iter__ = __len__ = __eq__ = __ne__ = keys = values = items = _as_a_whole
    __hash__ = None


def judge(condition: Condition, scope: Mapping[str, Any], *, zone: str) -> Verdict | None:
    """Evaluate a condition. Return None if it depends on unknown values."""
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
    """Return a condition's text on one line."""
    return " ".join(condition.text.split())


def with_marks(template: Template, scope: Mapping[str, Any], *, zone: str) -> tuple[Template, list[str]]:
    """Replace a template's unknown expressions with their source between marks.

    Returns the template and the source of each of these expressions. A template without unknown expressions is left
    unchanged.
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
            # The expression as written, but on one line.
            at = part.offset
            while not template.text.startswith("}}", at):
                at = skip_text(template.text, at) if template.text[at] in "'\"" else at + 1
            text = " ".join(template.text[part.offset : at].split())
            unknown.append(text)
            parts.append(text.join(MARKS))
        except ExpressionError:
            # Rendering the template will raise the same error, along with its position.
            return template, []
        else:
            parts.append("" if value is None or isinstance(value, list | dict) else as_text(value))
    if not unknown:
        return template, []
    return replace(template, text="".join(parts).replace("${{", "$${{")), unknown
