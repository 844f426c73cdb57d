"""Results of checking workflow files: text, JSON and GitHub annotations."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atom_client.text import clean, counted, name_of, one_line
from atom_client.views.excerpts import Excerpts
from atom_workflows.core.workflow import Workflow
from atom_workflows.language.problems import InvalidWorkflow, Problem

_PLACE: Final = re.compile(r"([0-9]+):([0-9]+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFile:
    """A file that was checked.

    If it could not be read, `unreadable` says why. If it was found in a folder and is not a workflow, `skipped` says
    why.
    """

    name: str
    content: bytes = b""
    workflow: Workflow | None = None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    unreadable: str = ""
    skipped: str = ""

    @property
    def steps(self) -> int:
        """The number of steps in a valid file, or 0."""
        return 0 if self.workflow is None else len(self.workflow.all_steps)

    @property
    def is_valid(self) -> bool:
        """True if a run can be started from the file."""
        return not self.problems and not self.unreadable


def check_content(content: bytes, name: str, env_names: Collection[str] | None = None) -> CheckedFile:
    """Check a file's content.

    `env_names` are the names that the deployment sets for `env`, if known.
    """
    from atom_client.views.task_warnings import warn_of_tasks  # noqa: PLC0415 (not needed to show results)
    from atom_workflows.language.parser import parse_workflow  # noqa: PLC0415 (see above)

    try:
        workflow = parse_workflow(content, filename=name, env_names=env_names)
    except InvalidWorkflow as error:
        return CheckedFile(name=name, content=content, problems=error.problems)
    warnings = (*workflow.warnings, *warn_of_tasks(workflow, file=name))
    return CheckedFile(name=name, content=content, workflow=workflow, warnings=warnings)


def text_lines(checked: CheckedFile) -> Iterator[str]:
    """Yield the problems and warnings, each followed by an excerpt.

    Also yields a line for a valid file, or for one that was skipped.
    """
    if checked.skipped:
        yield f"{name_of(checked.name)}: skipped, as {checked.skipped}"
        return
    excerpts = Excerpts(checked.content, checked.name)
    for problem in checked.problems:
        yield one_line(problem)
        yield from excerpts.at(problem.line, problem.column)
    for warning in checked.warnings:
        yield f"Warning: {one_line(warning)}"
        place = _place_of(warning, checked.name)
        yield from excerpts.at(place.line, place.column) if place else ()
    if checked.is_valid:
        yield f"{name_of(checked.name)}: ok, {counted(checked.steps, 'step')}"


def summary(files: Sequence[CheckedFile]) -> str:
    """Return a sentence that sums up all files."""
    skipped = sum(bool(checked.skipped) for checked in files)
    files = [checked for checked in files if not checked.skipped]
    invalid = sum(not checked.is_valid for checked in files)
    problems = sum(len(checked.problems) + bool(checked.unreadable) for checked in files)
    warnings = sum(len(checked.warnings) for checked in files)
    parts = [f"{len(files) - invalid:,} ok", *([f"{invalid:,} invalid"] if invalid else [])]
    parts += [f"{skipped:,} skipped"] if skipped else []
    found = [counted(count, noun) for count, noun in ((problems, "problem"), (warnings, "warning")) if count]
    return f"{counted(len(files), 'file')}: {', '.join(parts)}" + (f" ({', '.join(found)})" if found else "")


def as_object(files: Sequence[CheckedFile]) -> dict[str, Any]:
    """Return the results for all files as an object for JSON output."""
    return {
        "valid": all(checked.is_valid for checked in files),
        "files": [
            {
                "file": checked.name,
                "valid": checked.is_valid,
                "steps": checked.steps,
                "problems": [
                    *([{"file": checked.name, "message": checked.unreadable}] if checked.unreadable else []),
                    *(problem.as_fields() for problem in checked.problems),
                ],
                "warnings": [_warning_fields(warning, checked.name) for warning in checked.warnings],
            }
            for checked in files
            if not checked.skipped
        ],
        "skipped": [{"file": checked.name, "reason": checked.skipped} for checked in files if checked.skipped],
    }


def _warning_fields(warning: str, name: str) -> dict[str, Any]:
    place = _place_of(warning, name)
    return {"file": name, "message": warning} if place is None else place.as_fields()


def shown_findings(checked: CheckedFile) -> list[dict[str, Any]]:
    """Return the problems, then the warnings, with excerpts of the file."""
    excerpts = Excerpts(checked.content, checked.name)
    found: list[dict[str, Any]] = [{"kind": "problem", **problem.as_fields()} for problem in checked.problems]
    found += [{"kind": "warning", **_warning_fields(warning, checked.name)} for warning in checked.warnings]
    return [{**one, "excerpt": excerpts.at(one["line"], one["column"]) if "line" in one else []} for one in found]


def _place_of(warning: str, name: str) -> Problem | None:
    """Read the position at the beginning of a warning."""
    # The name is written here as it is in problems.
    shown = "".join(sign if sign.isprintable() else "?" for sign in name)
    found = _PLACE.fullmatch(warning.removeprefix(f"{shown}:"))
    if found is None:
        return None
    return Problem(file=name, line=int(found[1]), column=int(found[2]), message=found[3])


def github_lines(checked: CheckedFile) -> Iterator[str]:
    """Yield the commands that make GitHub annotate the file's lines."""
    if checked.unreadable:
        yield _command("error", {"file": checked.name}, checked.unreadable)
    for problem in checked.problems:
        text = f"{problem.message}; {problem.suggestion}" if problem.suggestion else problem.message
        yield _command("error", _properties(problem), text)
    for warning in checked.warnings:
        place = _place_of(warning, checked.name)
        properties = {"file": checked.name} if place is None else _properties(place)
        yield _command("warning", properties, warning if place is None else place.message)


def _properties(problem: Problem) -> dict[str, str]:
    return {"file": problem.file, "line": str(problem.line), "col": str(problem.column)}


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    """Format a command; see https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    written = ",".join(
        f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in properties.items()
    )
    return f"::{kind} {written}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return clean(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))
