"""What is wrong with a workflow file: one problem a line, each with its place and its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol

from atom_workflows.errors import AtomWorkflowsError
from atom_workflows.parsing.limits import MAX_PROBLEMS

_COMPARISONS: Final = 20_000_000
"""What all "did you mean" questions of one file may cost, in letters compared with letters (names of 15 letters: 90,000
comparisons); beyond it nobody is asked. The worst names take a second for it."""

_LONGEST_COMPARED: Final = 100


class Located(Protocol):
    """Anything that stands somewhere in the file; line and column count from 1."""

    @property
    def line(self) -> int:
        """The line, from 1."""
        ...

    @property
    def column(self) -> int:
        """The column in characters, from 1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place that no node stands for."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and what would be right. `str()` is its line for people."""

    file: str
    line: int
    column: int
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{text}; {self.suggestion}" if self.suggestion else text

    def as_fields(self) -> dict[str, str | int]:
        """The problem as a JSON object."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "suggestion": self.suggestion,
        }


class InvalidWorkflow(AtomWorkflowsError, ValueError):
    """The file is not a workflow. `problems` are in file order, never empty; the last may count those left off."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Report:
    """Collects the problems of one file; the same problem at the same place counts once."""

    def __init__(self, file: str) -> None:
        self.file = "".join(c if c.isprintable() else "?" for c in file)
        self._found: dict[tuple[int, int, str], str] = {}
        self._left_off = 0
        self._comparisons = _COMPARISONS

    def add(self, at: Located, message: str, suggestion: str = "") -> None:
        """Note a problem."""
        self._found.setdefault((at.line, at.column, message), suggestion)
        if len(self._found) > 20 * MAX_PROBLEMS:
            self._shorten(MAX_PROBLEMS + 1)

    def nearest(self, word: str, names: Collection[str]) -> str | None:
        """The name that was probably meant, if one is near."""
        cost = len(word) * sum(map(len, names))
        if len(word) > _LONGEST_COMPARED or cost > self._comparisons:
            return None
        self._comparisons -= cost
        near = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
        by_case = [name for name in names if name.lower() == word.lower()]
        return (by_case + near + [None])[0]

    def raise_if_any(self) -> None:
        """Raise `InvalidWorkflow` with all that was noted, in file order."""
        if self._found:
            raise InvalidWorkflow(self._problems())

    def _shorten(self, length: int) -> None:
        kept = sorted(self._found.items(), key=lambda found: found[0][:2])[:length]
        self._left_off += len(self._found) - len(kept)
        self._found = dict(kept)

    def _problems(self) -> tuple[Problem, ...]:
        self._shorten(len(self._found))
        problems = [
            Problem(file=self.file, line=line, column=column, message=message, suggestion=suggestion)
            for (line, column, message), suggestion in self._found.items()
        ]
        more = len(problems) - MAX_PROBLEMS + self._left_off
        return tuple(problems) if more <= 0 else (*problems[:MAX_PROBLEMS], _and_more(problems[MAX_PROBLEMS], more))


def _and_more(first: Problem, count: int) -> Problem:
    message = f"... and {count} more from here on"
    suggestion = "correct the problems above first"
    return Problem(file=first.file, line=first.line, column=first.column, message=message, suggestion=suggestion)
