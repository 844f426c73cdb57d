"""Decode a file, read its YAML events, and report its syntax errors in our own words.

The C reader (libyaml) is used if PyYAML was built with it, otherwise the pure Python reader. The two word their errors
differently but name the same contexts, so our messages depend only on the context.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import yaml

from atom_workflows.language.limits import MAX_FILE_BYTES, MAX_TAG_DIRECTIVES
from atom_workflows.language.problems import Place, Report, code
from atom_workflows.language.traps import find_trap

_LINE_BREAKS: Final = "\r\n\x85\u2028\u2029"
"""The characters that YAML treats as line breaks, so that our positions match the reader's. CR LF is a single break."""

_CONTROL: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Characters that no YAML file may contain."""

_TAG_DIRECTIVE: Final = re.compile(r"(?:^|[\r\n\x85\u2028\u2029])%TAG")
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_MOST_CONTROLS: Final = 10


def decode(content: bytes | str, report: Report) -> str | None:
    """Return the file's text, or None if nothing else can be checked.

    Bytes that are not UTF-8 are reported and replaced, so that the rest can still be checked.
    """
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(encoded) > MAX_FILE_BYTES:
        said = f"the file is larger than the {MAX_FILE_BYTES:,} bytes allowed"
        report.add(Place(), said, "split the workflow into several files")
        return None
    if encoded.startswith(_UTF16_MARKS):
        report.add(Place(), "the file is UTF-16, not UTF-8", "save it as UTF-8")
        return None
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        before = encoded[: error.start].decode("utf-8").removeprefix("\ufeff")
        said = f"the file is not UTF-8: it contains the byte 0x{encoded[error.start]:02X} here"
        report.add(locate(before, len(before)), said, "save it as UTF-8")
        text = encoded.decode("utf-8", "replace")
    return text.removeprefix("\ufeff")


def prepare_for_yaml(text: str, report: Report) -> str | None:
    """Replace and report the characters that no YAML reader accepts.

    Returns None if there are too many of them.
    """
    # Stop after the first few: reporting a whole file of them would cost a hundred times the file's size.
    found = list(islice(_CONTROL.finditer(text), _MOST_CONTROLS + 1))
    for match in found[:_MOST_CONTROLS]:
        said = f"the character U+{ord(match[0]):04X} is not allowed in a file"
        report.add(locate(text, match.start()), said, "remove it")
    directives = list(islice(_TAG_DIRECTIVE.finditer(text), MAX_TAG_DIRECTIVES + 1))
    if len(directives) > MAX_TAG_DIRECTIVES:
        said = f"there are more than {MAX_TAG_DIRECTIVES} lines that begin with %TAG"
        report.add(locate(text, directives[-1].start()), said, "remove them; tags are not allowed")
        return None
    return _CONTROL.sub("_", text) if len(found) <= _MOST_CONTROLS else None


def locate(text: str, index: int) -> Place:
    """Return the line and column of the character at `index`."""
    # Lines are counted, not listed: a file may have millions of lines before its first problem.
    breaks = sum(text.count(sign, 0, index) for sign in _LINE_BREAKS) - text.count("\r\n", 0, index)
    start = max(text.rfind(sign, 0, index) for sign in _LINE_BREAKS) + 1
    return Place(line=breaks + 1, column=index - start + 1)


PURE_LOADER: Final[Any] = yaml.SafeLoader
FASTEST_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", PURE_LOADER)

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
_BAD_ESCAPE: Final = (
    "this backslash in double quotes does not begin a valid escape",
    r"write `\\` for a backslash, or use single quotes",
)
_ESCAPE_PROBLEMS: Final = ("escape", "hexdecimal", "hexadecimal", "Unicode")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE: Final = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")
_NOT_YAML: Final = ("this is not valid YAML", "put text with special characters in quotes")


def events(text: str, report: Report, loader: Any) -> Iterator[Any]:
    """Yield the events up to the file's end or first error.

    The error is reported.
    """
    last = None
    try:
        for event in yaml.parse(text, Loader=loader):
            last = event
            if isinstance(event, yaml.ScalarEvent) and not event.value.isascii() and _SURROGATE.search(event.value):
                # An escape produced half a surrogate pair, which the C reader rejects on its own.
                mark: Any = event.start_mark
                start = mark.index
                escape = _SURROGATE_ESCAPE.search(text, start)
                report.add(locate(text, escape.start() if escape else start), *_BAD_ESCAPE)
                return
            yield event
    except yaml.MarkedYAMLError as error:
        _report_error(error, text, report)
    except (yaml.YAMLError, ValueError, OverflowError):
        # The pure reader lets some of Python's own errors through, for example for \UFFFFFFFF or for a very long %YAML
        # number.
        report.add(_place(last.end_mark) if last else Place(), *_NOT_YAML)


def _report_error(error: yaml.MarkedYAMLError, text: str, report: Report) -> None:
    context, problem = error.context or "", error.problem or ""
    mark = error.problem_mark or error.context_mark
    begin = error.context_mark or mark
    report.broken_line = mark.line + 1 if mark else 0
    if trap := find_trap(text, mark.index, context) if mark else None:
        report.add(locate(text, trap.at), trap.message, trap.suggestion)
        return
    if "quoted scalar" in context and ("end of stream" in problem or "document" in problem):
        report.add(_place(begin), "the quotes that open here are never closed", "close them")
    elif any(part in problem for part in _ESCAPE_PROBLEMS):
        # Some readers mark the backslash, others the character after it.
        place = locate(text, max(text.rfind("\\", 0, mark.index + 1), 0)) if mark else Place()
        report.add(place, *_BAD_ESCAPE)
    elif context in _IN_FLOW and _character(text, mark) == ":" and begin and mark and begin.line == mark.line:
        report.add(_place(mark), *_COLON)
    elif mark and context in _AFTER_QUOTES and text[max(mark.index - 1, 0) : mark.index] in ("'", '"'):
        report.add(_place(mark), *_QUOTE_INSIDE)
    elif context == "while scanning a simple key":
        report.add(_place(begin), "a `:` is missing on this line", "write `field: value`")
    elif context.startswith("while scanning a block"):
        report.add(_place(begin), *_BY_CONTEXT["while scanning a block scalar"])
    else:
        report.add(_place(mark), *_explain(context, problem, _character(text, mark), begin))


def _explain(context: str, problem: str, character: str, begin: Any) -> tuple[str, str]:
    if character == "\t":
        return _TAB
    for part, message, suggestion in _BY_PROBLEM:
        if part in problem:
            return message, suggestion
    message, suggestion = _BY_CONTEXT.get(context, _NOT_YAML)
    line = str(begin.line + 1) if begin else "1"
    return message.replace("{line}", line).replace("{character}", code(character)), suggestion


def _character(text: str, mark: Any) -> str:
    return text[mark.index : mark.index + 1] if mark else ""


def _place(mark: Any) -> Place:
    return Place(line=mark.line + 1, column=mark.column + 1) if mark else Place()
