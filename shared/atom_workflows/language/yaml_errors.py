"""Explain the errors of YAML readers in terms of the file."""

from __future__ import annotations

from typing import Any, Final

import yaml

from atom_workflows.language.problems import Place, Report, code

_LINE_BREAKS: Final = "\r\n\x85\u2028\u2029"
"""The characters that YAML treats as line breaks, so that our positions match the reader's. CR LF is a single break."""

_TAB: Final = ("a tab is used for indentation, which YAML does not allow", "use spaces")
_COLON: Final = (
    "a `:` is not allowed here",
    "quote text that contains `:`, or align this with the fields it belongs to",
)
_QUOTE_INSIDE: Final = (
    "there is more text after the closing quote",
    "inside single quotes, write a single quote twice (''), or put the whole text in double quotes",
)
_AFTER_QUOTES: Final = (
    "while parsing a block mapping",
    "while parsing a flow mapping",
    "while parsing a flow sequence",
)
_IN_FLOW: Final = ("while parsing a flow mapping", "while parsing a flow sequence", "while scanning a plain scalar")
_BY_CONTEXT: Final = {
    "while parsing a block mapping": (
        "this does not continue the map that begins on line {line}",
        "indent it exactly like the other fields of that map, and write it as `field: value`",
    ),
    "while parsing a block collection": (
        "this does not continue the list that begins on line {line}",
        "begin every entry with `- `, and indent all entries equally",
    ),
    "while parsing a flow sequence": (
        "the list opened by [ on line {line} has no `,` or `]` here",
        "separate its entries with `,` and close it with `]`",
    ),
    "while parsing a flow mapping": (
        "the map opened by { on line {line} has no `,` or `}` here",
        "separate its fields with `,` and close it with `}`; quote text that contains { or }",
    ),
    "while scanning for the next token": (
        "a value cannot begin with {character}",
        "put the text in quotes",
    ),
    "while scanning an alias": ("`*` begins an alias, but no name follows", "put text with `*` in quotes"),
    "while scanning an anchor": ("`&` begins an anchor, but no name follows", "put text with `&` in quotes"),
    "while scanning a block scalar": (
        "the text block that begins here with `|` or `>` is not well formed",
        "write nothing else on that line, and indent the text below it with spaces",
    ),
    "while scanning a directive": ("a line that begins with % is not a field", "put the text in quotes"),
}
_BY_PROBLEM: Final = (
    ("mapping values are not allowed", *_COLON),
    ("tab character", *_TAB),
    ("sequence entries are not allowed", "a list entry `- ` is not allowed here", "begin the list on its own line"),
    ("mapping keys are not allowed", "a key with `?` is not allowed here", "write `field: value`"),
    ("tag handle", "tags are not allowed", "put text that begins with ! in quotes"),
    ("document start", "this is outside the workflow's map", "do not indent anything at the top level"),
)
BAD_ESCAPE: Final = (
    "this backslash in double quotes does not begin a valid escape",
    r"write `\\` for a backslash, or use single quotes",
)
_ESCAPE_PROBLEMS: Final = ("escape", "hexdecimal", "hexadecimal", "Unicode")
NOT_YAML: Final = ("this is not valid YAML", "put text with special characters in quotes")


def report_error(error: yaml.MarkedYAMLError, text: str, report: Report) -> None:
    """Report the error at which a YAML reader stopped."""
    context, problem = error.context or "", error.problem or ""
    mark = error.problem_mark or error.context_mark
    begin = error.context_mark or mark
    report.broken_line = mark.line + 1 if mark else 0
    from atom_workflows.language.traps import find_trap  # noqa: PLC0415 (only needed for faults)

    if trap := find_trap(text, mark.index, context) if mark else None:
        report.add(locate(text, trap.at), trap.message, trap.suggestion)
        return
    if "quoted scalar" in context and ("end of stream" in problem or "document" in problem):
        report.add(place_of(begin), "the quotes that open here are never closed", "close them")
    elif any(part in problem for part in _ESCAPE_PROBLEMS):
        # Some readers mark the backslash, others the character after it.
        place = locate(text, max(text.rfind("\\", 0, mark.index + 1), 0)) if mark else Place()
        report.add(place, *BAD_ESCAPE)
    elif context in _IN_FLOW and _character(text, mark) == ":" and begin and mark and begin.line == mark.line:
        report.add(place_of(mark), *_COLON)
    elif mark and context in _AFTER_QUOTES and text[max(mark.index - 1, 0) : mark.index] in ("'", '"'):
        report.add(place_of(mark), *_QUOTE_INSIDE)
    elif context == "while scanning a simple key":
        report.add(place_of(begin), "a `:` is missing on this line", "write `field: value`")
    elif context.startswith("while scanning a block"):
        report.add(place_of(begin), *_BY_CONTEXT["while scanning a block scalar"])
    else:
        report.add(place_of(mark), *_explain(context, problem, _character(text, mark), begin))


def _explain(context: str, problem: str, character: str, begin: Any) -> tuple[str, str]:
    if character == "\t":
        return _TAB
    for part, message, suggestion in _BY_PROBLEM:
        if part in problem:
            return message, suggestion
    message, suggestion = _BY_CONTEXT.get(context, NOT_YAML)
    line = str(begin.line + 1) if begin else "1"
    return message.replace("{line}", line).replace("{character}", code(character)), suggestion


def _character(text: str, mark: Any) -> str:
    return text[mark.index : mark.index + 1] if mark else ""


def place_of(mark: Any) -> Place:
    """Return the position of a YAML reader's mark.

    Returns the file's beginning if there is no mark.
    """
    return Place(line=mark.line + 1, column=mark.column + 1) if mark else Place()


def locate(text: str, index: int) -> Place:
    """Return the line and column of the character at `index`."""
    # Lines are counted, not listed: a file may have millions of lines before its first problem.
    breaks = sum(text.count(sign, 0, index) for sign in _LINE_BREAKS) - text.count("\r\n", 0, index)
    start = max(text.rfind(sign, 0, index) for sign in _LINE_BREAKS) + 1
    return Place(line=breaks + 1, column=index - start + 1)
