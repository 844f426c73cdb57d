"""Read JSON as events like those of a YAML parser.

Syntax errors are reported in our own words. JSON is almost a subset of YAML, but not quite: YAML folds some characters
in strings, limits the length of keys and has no surrogate pairs, and advice meant for YAML (indent, use single quotes)
would make a JSON file worse. JSON files therefore have a reader of their own. Its only stack is the list of open
brackets, and the consumer of its events limits the depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]  # the library's string reader
from typing import Any, Final, NoReturn

import yaml
from yaml.error import Mark

from atom_workflows.language.problems import Place, Report, code, shorten

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_SPACES: Final = frozenset(" \t\n\r")
_PLAIN: Final = re.compile(r"(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?)(?![\w.+-])")
_WORD: Final = re.compile(r"[\w.+-]{1,100}")
_NO_NUMBERS: Final = frozenset({"nan", "infinity", "+infinity", "-infinity", "inf", "+inf", "-inf"})
_OTHER_SPELLINGS: Final = {"true": "true", "false": "false", "null": "null", "none": "null", "undefined": "null"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_CLOSERS: Final = {"{": "}", "[": "]"}
_NOUNS: Final = {"{": "map", "[": "list"}
_ENTRIES: Final = {"{": "fields", "[": "entries"}
_BAD_ESCAPE: Final = ("this backslash does not begin a valid escape", r"write `\\` for a backslash")
_NO_COMMENTS: Final = ("JSON does not allow comments", "remove this, or give the file the extension .yaml")


class JsonValue:
    """A single value with the ScalarEvent attributes used here.

    Creating one takes only half as long as creating PyYAML's ScalarEvent.
    """

    __slots__ = ("column", "line", "style", "value")
    anchor = None
    tag = None

    def __init__(self, value: str, style: str | None, line: int, column: int) -> None:
        self.value = value
        self.style = style
        self.line = line
        self.column = column

    @property
    def start_mark(self) -> JsonValue:
        """The value's position, with line and column counted from 0."""
        return self


class JsonReader:
    """Reads text as JSON.

    `is_json` becomes False on an error, unless the error is one that some JSON writers make (a bare `NaN`).
    """

    def __init__(self, text: str, report: Report) -> None:
        self.is_json = True
        self._text = text
        self._report = report
        self._index = 0
        self._line = 0
        self._line_start = 0
        self._open: list[_Opened] = []

    def events(self) -> Iterator[Any]:
        """Yield the events up to the file's end or first error.

        The error is reported.
        """
        try:
            self._skip_space()
            if self._index < len(self._text):
                yield from self._read_values()
                self._skip_space()
                if self._index < len(self._text):
                    self._fail("this comes after the end of the workflow", "remove it")
            yield yaml.StreamEndEvent()
        except _SyntaxProblem as problem:
            self.is_json = problem.is_json
            self._report.add(problem.place, problem.message, problem.suggestion)

    def _read_values(self) -> Iterator[Any]:
        event = self._read_value()
        yield event
        while self._open:
            opened = self._open[-1]
            if self._skip_space() == _CLOSERS[opened.bracket]:
                mark = self._mark()
                self._index += 1
                kind = yaml.MappingEndEvent if self._open.pop().bracket == "{" else yaml.SequenceEndEvent
                yield kind(mark, mark)
                continue
            if opened.has_entries:
                self._take_comma(opened)
            opened.has_entries = True
            if opened.bracket == "{":
                yield self._read_key()
            yield self._read_value()

    def _read_value(self) -> Any:
        sign = self._skip_space()
        if sign == '"':
            return self._read_quoted()
        if sign in _CLOSERS:
            mark = self._mark()
            self._open.append(_Opened(sign, mark.line + 1))
            self._index += 1
            kind = yaml.MappingStartEvent if sign == "{" else yaml.SequenceStartEvent
            return kind(None, None, True, mark, mark)  # noqa: FBT003  # positional, as in PyYAML
        match = _PLAIN.match(self._text, self._index)
        if not match:
            self._refuse_value(sign)
        value = JsonValue(match[0], None, self._line, self._index - self._line_start)
        self._index = match.end()
        return value

    def _read_key(self) -> Any:
        sign = self._next()
        if sign != '"':
            self._refuse_comment_or_end()
            word = _WORD.match(self._text, self._index)
            if sign == "'" or word:
                shown = f': "{shorten(word[0])}"' if word else ""
                self._fail("in JSON, a field's name must be in double quotes", f"put it in double quotes{shown}")
            self._fail(f"a field's name cannot begin with {code(sign)}", 'write `"field": value`')
        key = self._read_quoted()
        if self._skip_space() != ":":
            self._fail("a `:` is missing after the field's name", 'write `"field": value`')
        self._index += 1
        return key

    def _read_quoted(self) -> Any:
        start = self._index
        try:
            text, self._index = scanstring(self._text, start + 1, True)  # noqa: FBT003  # `strict` is positional-only
        except JSONDecodeError as error:
            self._index = min(error.pos, len(self._text))
            self._refuse_text(start)
        if not text.isascii() and _SURROGATE.search(text):
            escape = _SURROGATE_ESCAPE.search(self._text, start)
            self._index = escape.start() if escape else start
            self._fail("this is only half of a surrogate pair", "write both halves, or remove this one")
        return JsonValue(text, '"', self._line, start - self._line_start)

    def _take_comma(self, opened: _Opened) -> None:
        if self._next() != ",":
            self._refuse_comment_or_end()
            noun, entries, closer = _NOUNS[opened.bracket], _ENTRIES[opened.bracket], _CLOSERS[opened.bracket]
            self._fail(
                f"the {noun} opened by {opened.bracket} on line {opened.line} has no `,` or `{closer}` here",
                f"separate its {entries} with `,` and close it with `{closer}`",
            )
        line, column = self._line + 1, self._index - self._line_start + 1
        self._index += 1
        if self._skip_space() in ("]", "}", ","):
            place = Place(line=line, column=column)
            raise _SyntaxProblem(place, "JSON does not allow a trailing `,`", "remove it")

    def _refuse_value(self, sign: str) -> NoReturn:
        self._refuse_comment_or_end()
        word = _WORD.match(self._text, self._index)
        if not self._open and sign != "'":
            self._fail("this is not JSON", "begin with `{`, or give the file the extension .yaml if it is YAML")
        if sign == "'":
            self._fail("in JSON, text must be in double quotes", "use `\"` instead of `'` around it")
        if not word:
            self._fail(f"a value cannot begin with {code(sign)}", "write double-quoted text, a number, [ or {")
        text = word[0]
        if text.lower() in _NO_NUMBERS:
            advice = f'write `null`, or put the text in double quotes: "{text}"'
            raise _SyntaxProblem(_place(self._mark()), f"{code(text)} is not a JSON number", advice, is_json=True)
        if right := _OTHER_SPELLINGS.get(text.lower()):
            self._fail(f"{code(text)} is not a JSON value", f"write {code(right)}")
        if text[0] in "0123456789+-.":
            advice = f'write it as 10, -0.5 or 1e3, or put it in double quotes: "{shorten(text)}"'
            self._fail(f"{code(text)} is not a JSON number", advice)
        self._fail("in JSON, text must be in double quotes", f'write "{shorten(text)}"')

    def _refuse_text(self, start: int) -> NoReturn:
        """Report why the string that begins at `start` cannot be read.

        The error is at `_index`.
        """
        sign = self._next()
        if (sign == '"' and self._index == start) or not sign:
            self._index = start
            self._fail("the quotes that open here are never closed", "close them")
        if sign < " ":
            escape = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(sign, f"\\u{ord(sign):04x}")
            said = "a line break" if sign in "\r\n" else f"the character U+{ord(sign):04X}"
            self._fail(f"text in JSON cannot contain {said}", f"write `{escape}`, or close the quotes before it")
        self._index = self._text.rfind("\\", start, self._index + 1)
        self._fail(*_BAD_ESCAPE)

    def _refuse_comment_or_end(self) -> None:
        sign = self._next()
        if not sign:
            opened = self._open[-1]
            noun, where = _NOUNS[opened.bracket], f"opened by {opened.bracket} on line {opened.line}"
            self._fail(
                f"the file ends here, but the {noun} {where} is not closed",
                f"close it with `{_CLOSERS[opened.bracket]}`",
            )
        if sign == "#" or self._text.startswith(("//", "/*"), self._index):
            self._fail(*_NO_COMMENTS)

    def _fail(self, message: str, suggestion: str) -> NoReturn:
        raise _SyntaxProblem(_place(self._mark()), message, suggestion)

    def _next(self) -> str:
        return self._text[self._index : self._index + 1]

    def _mark(self) -> Mark:
        return Mark("", self._index, self._line, self._index - self._line_start, None, 0)

    def _skip_space(self) -> str:
        """Skip whitespace and return the next character, if any.

        Lines are counted only here, since a JSON string cannot contain a line break.
        """
        start = self._index
        sign = self._text[start : start + 1]
        if sign not in _SPACES:
            return sign
        self._index = end = _SPACE.match(self._text, start).end()  # type: ignore[union-attr]  # always matches
        breaks = self._text.count("\n", start, end) + self._text.count("\r", start, end)
        if breaks:
            self._line += breaks - self._text.count("\r\n", start, end)
            self._line_start = 1 + max(self._text.rfind("\n", start, end), self._text.rfind("\r", start, end))
        return self._text[end : end + 1]


class _Opened:
    """A bracket that has not been closed yet, and its line."""

    __slots__ = ("bracket", "has_entries", "line")

    def __init__(self, bracket: str, line: int) -> None:
        self.bracket = bracket
        self.line = line
        self.has_entries = False


class _SyntaxProblem(Exception):
    """Raised if the text is not JSON.

    It holds the position, the message and the advice.
    """

    def __init__(self, place: Place, message: str, suggestion: str, *, is_json: bool = False) -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.suggestion = suggestion
        self.is_json = is_json


def _place(mark: Mark) -> Place:
    return Place(line=mark.line + 1, column=mark.column + 1)
