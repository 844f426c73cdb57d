"""Warn about expressions in shell commands, and about unread names.

Unread names are parameters and outputs that no expression reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from atom_workflows.expressions.syntax import Path
from atom_workflows.language.certainty import StepGraph
from atom_workflows.language.embedded import Embedded, expressions_of
from atom_workflows.language.parameters import Declared
from atom_workflows.language.problems import Report, code

_SHELL: Final = re.compile(r"(?:^|[\s/])(?:ba|da|z|k|a)?sh\s+-[a-z]*c\b")
_SHELLS: Final = re.compile(r"(?:.*/)?(?:ba|da|z|k|a)?sh")
_COMMAND_FLAG: Final = re.compile(r"-[a-z]*c")


def warn_of_shell(args: Any, report: Report) -> None:
    """Warn about an expression inside a shell command.

    Its value could be executed as code.
    """
    for value in _shell_commands(args):
        placeholder = value.template.placeholders[0]
        place = value.place(report, placeholder.offset + placeholder.expression.at)
        report.warn(
            place,
            "an expression inside a shell command: a quote in its value would become code",
            """pass it as an argument: ["sh", "-c", "load \\"$1\\"", "-", "${{ … }}"]""",
        )


def _shell_commands(args: Any) -> Iterator[Embedded]:
    for _, value in expressions_of({"args": args}):
        first = value.template.parts[0]
        if isinstance(first, str) and _SHELL.search(first):
            yield value
    if not isinstance(args, list):
        return
    for number, value in enumerate(args):
        before = args[max(number - 2, 0) : number]
        flagged = before and isinstance(before[-1], str) and _COMMAND_FLAG.fullmatch(before[-1])
        named = len(before) == 1 or (isinstance(before[0], str) and _SHELLS.fullmatch(before[0])) if before else False
        if isinstance(value, Embedded) and flagged and named:
            yield value


def warn_of_unused(read: set[Path], params: Sequence[Declared], graphs: Sequence[StepGraph], report: Report) -> None:
    """Warn about parameters and outputs that are never read.

    `read` contains the paths that the workflow's expressions read.
    """
    beginnings = {path[:length] for path in read for length in range(1, 5) if len(path) >= length}
    if ("params",) not in read:
        for one in params:
            if ("params", one.param.name) not in beginnings:
                report.warn(one.key, f"the parameter {code(one.param.name)} is never read", "remove it, or use it")
    for graph in graphs:
        for step in graph.steps:
            own = ("steps", step.values.get("id"))
            if {("steps",), own, (*own, "outputs")} & read:
                continue
            for name, (key, _) in step.values.get("outputs", {}).items():
                if (*own, "outputs", name) not in beginnings:
                    report.warn(key, f"the output {code(name)} is never read", "remove it, or use it")
