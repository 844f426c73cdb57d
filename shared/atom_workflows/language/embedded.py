"""Values with expressions: conditions, and strings that contain `${{ … }}`.

Only the syntax is checked here. What an expression may read, and which type it must have, depends on the whole file
(see checks.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from atom_workflows.errors import ExpressionSyntaxError
from atom_workflows.language.limits import MAX_EXPRESSION_TEXT, MAX_EXPRESSIONS
from atom_workflows.language.nodes import INVALID, Invalid, Node, Scalar, is_empty, resolve, wrong_type
from atom_workflows.language.problems import Located, Report, code

if TYPE_CHECKING:
    from atom_workflows.expressions.templates import Template

# Most files have no expressions, so the parser for them is imported only when there is one.

TaskPath: TypeAlias = tuple[str | int, ...]
"""The names and indexes that lead to a value in a task."""

OPENING: Final = "${{"
_WRAPPER: Final = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_LONGEST_REWRITTEN: Final = 200
"""The maximum length of a condition rewritten in advice.

Rewriting a longer one with many unclosed `${{` would take minutes.
"""

WHERE_ALLOWED: Final = (
    "expressions are allowed in `task`, conditions, `forEach`, `maxParallel`, defaults of `params`, `params` of "
    "`schedules`, `concurrency.group` and the run's `outputs`; if you mean the text itself, write `$${{`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A value with expressions.

    `via` is the alias through which the value is used, if any. The template of a condition has a single expression,
    whose text is `text` and begins at the offset `begin` in the value; otherwise, `text` is the whole value.
    """

    node: Scalar
    template: Template
    text: str
    begin: int = 0
    via: Located | None = None

    def place(self, report: Report, offset: int | None = None) -> Located:
        """Return the position of a character in the value.

        The default is the first character. If the value is used through an alias, this is the position of the alias.
        """
        return self.via or report.place(self.node, self.begin if offset is None else offset)

    def describe_origin(self) -> str:
        """Return a note that says where an aliased value is, or "".

        A problem in such a value is reported at the alias.
        """
        return f" (in the value from line {self.node.line})" if self.via else ""


def read_embedded(node: Scalar, report: Report) -> Embedded | str | Invalid:
    """Read a string that contains `${{`.

    If the string contains no expression, only the escape `$${{`, it is returned unescaped.
    """
    if _exceeds_limits(node, report):
        return INVALID
    try:
        template = _parse_template(node.text, report.templates if report.via else None)
    except ExpressionSyntaxError as error:
        return _refuse(node, error.at, error, report)
    if not template.placeholders:
        return "".join(part for part in template.parts if isinstance(part, str))
    return Embedded(node=node, template=template, text=node.text, via=report.via)


def read_condition(node: Node, path: str, report: Report) -> Embedded | Invalid:
    """Read a condition, with or without `${{ }}` around all of it."""
    if not isinstance(node, Scalar) or is_empty(node) or not isinstance(resolve(node), str | bool):
        remedy = "write an expression, such as `params.mode == 'full'`; put it in quotes if it begins with a bracket"
        is_cut = node.line == report.broken_line
        return INVALID if is_cut else wrong_type(node, code(path), "a condition", remedy, report)
    if report.source and report.source.has_tag(node):
        # `!` began a tag, which has already been reported.
        return INVALID
    if _exceeds_limits(node, report):
        return INVALID
    text, begin = node.text.strip(), len(node.text) - len(node.text.lstrip())
    if text.startswith(OPENING):
        inner = _unwrap(text)
        if inner is None:
            return _refuse_partial_wrapper(node, path, report)
        begin, text = begin + text.index(inner, len(OPENING)), inner
    from atom_workflows.expressions.parser import parse  # noqa: PLC0415  # see above
    from atom_workflows.expressions.templates import Placeholder, Template  # noqa: PLC0415  # see above

    # Operators of other languages, such as `&&`, are reported, and the rest is still checked.
    tolerated: list[ExpressionSyntaxError] = []
    try:
        expression = parse(text, tolerated)
    except ExpressionSyntaxError as error:
        for one in tolerated or [error]:
            _refuse_condition(node, path, begin + one.at, one, report)
        return INVALID
    for one in tolerated:
        _refuse_condition(node, path, begin + one.at, one, report)
    template = Template(parts=(Placeholder(expression, begin),))
    return Embedded(node=node, template=template, text=text, begin=begin, via=report.via)


def _refuse_condition(node: Scalar, path: str, at: int, error: ExpressionSyntaxError, report: Report) -> Invalid:
    if OPENING in node.text and not node.text.lstrip().startswith(OPENING):
        return _refuse_partial_wrapper(node, path, report)
    if at == len(node.text) - len(node.text.lstrip()) and report.source and report.source.has_anchor(node):
        said = f"`&` begins an anchor, so it is not part of {code(path)}"
        report.add(report.via or node, said, "put the whole condition in quotes")
        return INVALID
    return _refuse(node, at, error, report)


def refuse_expression(node: Scalar, where: str, report: Report) -> Scalar | None:
    """Return the node with its text unescaped.

    If it contains an expression, report that and return None.
    """
    # Such a value may be as large as the file, and need not be parsed.
    at = 0
    while (opening := node.text.find(OPENING, at)) >= 0:
        if opening == at or node.text[opening - 1] != "$":
            place = report.via or report.place(node, opening)
            report.add(place, f"expressions are not allowed in {where}", WHERE_ALLOWED)
            return None
        at = opening + len(OPENING)
    return replace(node, text=node.text.replace(f"${OPENING}", OPENING))


def expressions_of(task: Mapping[str, Any]) -> Iterator[tuple[TaskPath, Embedded]]:
    """Yield a task's values that contain expressions, with their paths.

    The paths consist of the names used in the file.
    """
    pending: list[tuple[TaskPath, Any]] = [((name,), value) for name, value in task.items()]
    while pending:
        path, value = pending.pop()
        if isinstance(value, Embedded):
            yield path, value
        elif isinstance(value, dict):
            pending += [((*path, name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            pending += [((*path, number), inner) for number, inner in enumerate(value)]


def report_fault(value: Embedded, offset: int, message: str, suggestion: str, report: Report) -> None:
    """Report a fault at an offset in the value."""
    report.add(value.place(report, offset), message + value.describe_origin(), suggestion)


def _exceeds_limits(node: Scalar, report: Report) -> bool:
    """Count the expressions in a value.

    If the file now has too many, report that and return True.
    """
    was_within = report.expressions <= MAX_EXPRESSIONS and report.expression_text <= MAX_EXPRESSION_TEXT
    report.expressions += node.text.count(OPENING) or 1
    report.expression_text += len(node.text)
    if report.expressions <= MAX_EXPRESSIONS and report.expression_text <= MAX_EXPRESSION_TEXT:
        return False
    if was_within:
        said = (
            f"the file has more than {MAX_EXPRESSIONS:,} expressions, or the values that contain them have more than "
            f"{MAX_EXPRESSION_TEXT:,} characters in total"
        )
        report.add(report.via or node, said, "use fewer aliases, or split the workflow into several files")
    return True


def _parse_template(text: str, parsed: dict[str, Template] | None = None) -> Template:
    """Return the template of a text.

    `parsed` keeps those of aliased values, which a file may use thousands of times.
    """
    from atom_workflows.expressions.templates import parse_template  # noqa: PLC0415  # see above

    if parsed is None:
        return parse_template(text)
    if text not in parsed:
        parsed[text] = parse_template(text)
    return parsed[text]


def _unwrap(text: str) -> str | None:
    """Return the expression that makes up a string, without its `${{ }}`.

    Returns None if the string contains anything else.
    """
    inner = text.removeprefix(OPENING).removesuffix("}}").strip()
    try:
        return inner if _parse_template(text).lone else None
    except ExpressionSyntaxError:
        # If the fault is in the expression itself, it will be found again without the wrapper.
        return inner if text.count(OPENING) == 1 and text.endswith("}}") else None


def _refuse(node: Scalar, at: int, error: ExpressionSyntaxError, report: Report) -> Invalid:
    if node.line == report.broken_line:
        # The value continues after the error, so only its beginning is known.
        return INVALID
    from atom_workflows.language.traps import explain_fault  # noqa: PLC0415 (only needed for faults)

    message, suggestion = explain_fault(report.source, node, at, error.message, error.suggestion)
    report.add(report.via or report.place(node, at), message, suggestion)
    return INVALID


def _refuse_partial_wrapper(node: Scalar, path: str, report: Report) -> Invalid:
    """Report `${{ a }} == b`, which some systems treat as always true."""
    text = node.text.strip()
    remedy = "write the whole condition without `${{ }}`"
    if len(text) <= _LONGEST_REWRITTEN:
        remedy = f"write {code(_WRAPPER.sub(lambda found: found[1].strip(), text))}"
    report.add(report.via or node, f"`${{{{ … }}}}` must enclose all of {code(path)}", remedy)
    return INVALID
