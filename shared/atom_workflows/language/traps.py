"""Advice for expressions that YAML cuts short or mistakes for something else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from atom_workflows.language.nodes import Scalar
    from atom_workflows.language.places import Source

_BREAKS: Final = "\r\n\x85\u2028\u2029"
_CONDITION: Final = re.compile(r"(?:^|[\s{,])when\s*:\s*(?P<value>\S.*)$")
_CRON: Final = re.compile(r"(?:^|[\s{,])cron\s*:\s*(?P<value>\*[^#,}]*)")
_TYPE: Final = re.compile(r"(?:^|[\s{,])(?P<field>[\w-]+)\s*:\s*(?P<type>(?:\[[^\[\]{}]*\]|\{[^{}]*\})\s+or\s+null\b)")
_EXPRESSION: Final = re.compile(r"[^\s\[\]{},:]*\$\{\{.*?\}\}")
_LONGEST_LINE: Final = 1_000
_FLOW: Final = ("while parsing a flow mapping", "while parsing a flow sequence", "while scanning a plain scalar")


class Trap(NamedTuple):
    """What went wrong, where in the file, and what to write."""

    at: int
    message: str
    suggestion: str


def find_trap(text: str, index: int, context: str) -> Trap | None:
    """Return the trap that caused a YAML error, if any.

    `index` is the position of the error.
    """
    start = max(text.rfind(sign, max(0, index - _LONGEST_LINE), index) for sign in _BREAKS) + 1
    end = min((found for sign in _BREAKS if (found := text.find(sign, index, index + _LONGEST_LINE)) >= 0), default=-1)
    line = text[start : end if end >= 0 else index + _LONGEST_LINE]
    at, sign = index - start, text[index : index + 1]
    if sign == "{" and text[index - 1 : index] == "$" and context in _FLOW:
        begin = max(line.rfind(" ", 0, at), line.rfind("[", 0, at), line.rfind(",", 0, at), line.rfind(":", 0, at)) + 1
        shown = _EXPRESSION.match(line, begin)
        advice = f'write `"{shown[0]}"`' if shown else 'write `"${{ … }}"`'
        return Trap(start + begin, "inside `[ ]` and `{ }`, an expression needs quotes", advice)
    if trap := _find_in_condition(line, at, sign, start, context):
        return trap
    cron = _CRON.search(line)
    if cron and cron.start("value") <= at:
        advice = f'write `cron: "{cron["value"].strip()}"`'
        return Trap(start + cron.start("value"), "a cron expression that begins with `*` needs quotes", advice)
    written = _TYPE.search(line)
    if written and written.start("type") <= at:
        advice = f'write `{written["field"]}: "{written["type"]}"`'
        return Trap(start + written.start("type"), "a type with `or null` after a bracket needs quotes", advice)
    opening = line.rfind("${{", 0, at)
    if sign == ":" and opening >= 0 and "}}" not in line[opening:at]:
        return Trap(start + opening, "`: ` cannot appear in a value without quotes", "put the whole value in quotes")
    return None


def _find_in_condition(line: str, at: int, sign: str, start: int, context: str) -> Trap | None:
    condition = _CONDITION.search(line)
    if not condition or condition.start("value") > at:
        return None
    value, first = condition["value"], condition["value"][0]
    begin = start + condition.start("value")
    if first in "'\"" and (closing := value.find(first, 1)) > 0 and at > condition.start("value") + closing:
        return Trap(begin, "a condition that begins with a quote must be quoted as a whole", _in_quotes(value))
    if first in "[{@%&*!`" or value.startswith("- "):
        return Trap(begin, f"a condition that begins with `{first}` must be quoted as a whole", _in_quotes(value))
    if sign == ":":
        return Trap(begin, "`: ` cannot appear in a value without quotes", _in_quotes(value))
    if context in _FLOW and sign and sign in "[{?":
        return Trap(begin, f"inside `{{ }}`, a condition with `{sign}` needs quotes", _in_quotes(value))
    return None


def _in_quotes(value: str) -> str:
    value = value.strip()
    if len(value) > 60 or '"' in value or "}" in value or value[-1] in ",]":  # noqa: PLR2004  # what fits into a line
        return "put the whole condition in quotes"
    return f'write `when: "{value}"`'


def explain_fault(source: Source | None, scalar: Scalar, at: int, message: str, suggestion: str) -> tuple[str, str]:
    """Return the message and suggestion for a syntax error in a value.

    Both are replaced if YAML ended the value early or put a line break into it.
    """
    if source is None or source.is_json:
        return message, suggestion
    if scalar.text[at : at + 1] == "\n" and source.is_escaped(scalar, at):
        return (
            r"in double quotes, `\n` becomes a line break before the expression is read",
            r"write `\\n`, or put the value in single quotes",
        )
    breaks_off = at >= len(scalar.text.rstrip()) or "never" in message
    following = source.following(scalar) if scalar.plain and breaks_off else ""
    if following.startswith("#"):
        return "` #` begins a comment, so the expression ends before it", "put the whole value in quotes"
    if following and following[0] in ",[{?":
        return f"inside `{{ }}` and `[ ]`, a `{following[0]}` ends the value", "put the whole value in quotes"
    return message, suggestion
