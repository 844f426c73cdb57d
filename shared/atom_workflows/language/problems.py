"""The problems in a workflow file.

Each takes up one line, with its position and a remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from atom_workflows.errors import AtomWorkflowsError
from atom_workflows.language.limits import MAX_PROBLEM_BYTES, MAX_PROBLEMS, MAX_WARNINGS
from atom_workflows.language.suggestions import Names, Suggestions

if TYPE_CHECKING:
    from atom_workflows.expressions.templates import Template
    from atom_workflows.language.nodes import Scalar
    from atom_workflows.language.places import Source

_Key: TypeAlias = tuple[int, int, str]


class Located(Protocol):
    """Anything that has a position in the file."""

    @property
    def line(self) -> int:
        """The line, counted from 1."""
        ...

    @property
    def column(self) -> int:
        """The column in characters, counted from 1."""
        ...


class Place(NamedTuple):
    """A position in the file that does not belong to a node."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem with its position and advice.

    `str()` returns it as a line of text for users.
    """

    file: str
    line: int
    column: int
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{text}; {self.suggestion}" if self.suggestion else text

    def as_fields(self) -> dict[str, str | int]:
        """Return the problem as a JSON object."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "suggestion": self.suggestion,
        }


class InvalidWorkflow(AtomWorkflowsError, ValueError):
    """The file is not a valid workflow.

    `problems` is in file order and never empty. Its last item may say how many more problems there are.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Report:
    """Collects the problems in one file.

    The same problem at the same position counts once. Warnings are kept separately, since a file with warnings is
    valid. Only the first problems and warnings are kept; the rest are merely counted. The result therefore fits into a
    run's document, whatever the file contains.
    """

    def __init__(self, file: str) -> None:
        self.file = "".join(c if c.isprintable() else "?" for c in file)
        self.suggestions = Suggestions()
        # The file's text, for places inside values.
        self.source: Source | None = None
        # The line of the error that ended the reading, counted from 1.
        self.broken_line = 0
        # The number of expressions read so far, and of characters in the texts that contain them.
        self.expressions = 0
        self.expression_text = 0
        # The parsed templates of values that are used through aliases, by their texts.
        self.templates: dict[str, Template] = {}
        # The outermost alias through which values are being read.
        self.via: Place | None = None
        self._problems = _Collected(MAX_PROBLEMS)
        self._warnings = _Collected(MAX_WARNINGS)

    def add(self, at: Located, message: str, suggestion: str = "") -> None:
        """Report a problem."""
        self._problems.add((at.line, at.column, _printable(message)), _printable(suggestion))

    def warn(self, at: Located, message: str, suggestion: str = "") -> None:
        """Warn about a value that is valid but perhaps unintended."""
        self._warnings.add((at.line, at.column, _printable(message)), _printable(suggestion))

    def place(self, scalar: Scalar, offset: int) -> Located:
        """Return the position of a character in the value's text."""
        return self.source.place(scalar, offset) if self.source else scalar

    def take(self, other: Report) -> None:
        """Add the problems from another report."""
        self._problems.take(other._problems)

    def nearest(self, word: str, names: Names) -> str | None:
        """Return the name that was probably meant, if any."""
        return self.suggestions.nearest(word, names)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings in file order, one per line."""
        return tuple(map(str, self._listed(self._warnings, "... and {} more warnings further down", "")))

    def raise_if_any(self) -> None:
        """Raise `InvalidWorkflow` if there are any problems."""
        problems = self._listed(self._problems, "... and {} more further down", "correct the problems above first")
        if problems:
            raise InvalidWorkflow(problems)

    def _listed(self, collected: _Collected, others: str, remedy: str) -> tuple[Problem, ...]:
        """Return the first few problems, and one that says how many remain."""
        found = [
            Problem(file=self.file, line=line, column=column, message=message, suggestion=suggestion)
            for (line, column, message), suggestion in collected.in_file_order()
        ]
        kept: list[Problem] = []
        size = 0
        for problem in found[: collected.most]:
            # Each problem includes the file's name, which may be up to 1,000 bytes long.
            size += len(json.dumps(problem.as_fields(), ensure_ascii=False).encode("utf-8", "replace"))
            if size > MAX_PROBLEM_BYTES:
                break
            kept.append(problem)
        left_out = len(found) - len(kept) + collected.dropped
        if not left_out:
            return tuple(kept)
        first = found[len(kept)]
        message = others.format(left_out)
        return (
            *kept,
            Problem(file=self.file, line=first.line, column=first.column, message=message, suggestion=remedy),
        )


class _Collected:
    """Problems by position and message.

    If there are too many, those furthest down the file are only counted.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.dropped = 0
        self._found: dict[_Key, str] = {}

    def add(self, key: _Key, suggestion: str) -> None:
        self._found.setdefault(key, suggestion)
        if len(self._found) > 20 * self.most:
            kept = self.in_file_order()[: self.most + 1]
            self.dropped += len(self._found) - len(kept)
            self._found = dict(kept)

    def take(self, other: _Collected) -> None:
        for key, suggestion in other.in_file_order():
            self.add(key, suggestion)
        self.dropped += other.dropped

    def in_file_order(self) -> Sequence[tuple[_Key, str]]:
        return sorted(self._found.items(), key=lambda found: found[0][:2])


# -- values and names in messages: short, on one line, never mistaken for the sentence around them -------------------

_LONGEST_SHOWN: Final = 60


def shorten(text: str) -> str:
    """Return the text on one line, truncated to 60 characters."""
    if len(text) <= _LONGEST_SHOWN and text.isprintable():
        return text
    start = text[: _LONGEST_SHOWN + 1]
    visible = _printable(start)
    return visible if len(visible) <= _LONGEST_SHOWN else visible[: _LONGEST_SHOWN - 1] + "…"


def _printable(text: str) -> str:
    """Return the text on one line, with unprintable characters escaped.

    Messages about expressions may quote the file's text unchanged.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def code(text: str) -> str:
    """Return the text as code, in backticks."""
    return f"`{shorten(text)}`"


def in_quotes(text: str) -> str:
    """Return the text in quotes, so that YAML reads it as text."""
    return f"'{shorten(text)}'" if '"' in text else f'"{shorten(text)}"'


def listing(names: Iterable[str]) -> str:
    """Return the names as code, such as "`a`, `b` and `c`"."""
    *first, last = (code(name) for name in names)
    return f"{', '.join(first)} and {last}" if first else last
