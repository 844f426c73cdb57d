"""Warn of tasks that the included Task Runners would refuse or misread.

The language leaves the values of a task to the Task Runner, so these are never problems of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from atom_workflows.core.workflow import Task, Workflow
from atom_workflows.expressions.names import nearest
from atom_workflows.language.commands import list_words

PROGRAM: Final = "process"
ENGINES: Final = (PROGRAM, "cloud-run")
"""The engines that the included Task Runners support."""


def warn_of_tasks(workflow: Workflow, *, file: str) -> tuple[str, ...]:
    """Return warnings about tasks whose engine or program is probably wrong."""
    return tuple(
        f"{file}: step `{step.id}`: {warning}"
        for step in workflow.all_steps
        if step.task is not None
        for warning in _warnings(step.task)
    )


def warn_of_refusals(workflow: Workflow, runner: str) -> list[str]:
    """Return a warning if the chosen runner would refuse any task.

    `runner` is `process` or `docker`, the value of `--runner`.
    """
    refused = [step.id for step in workflow.all_steps if step.task is not None and _is_refused(step.task, runner)]
    if not refused:
        return []
    others = f" and {len(refused) - 1:,} more" if len(refused) > 1 else ""
    what = f"tasks with `engine: {PROGRAM}`" if runner == PROGRAM else "images, from tasks with `imageUri`"
    return [f"--runner {runner} runs only {what}, so it will refuse the job of `{refused[0]}`{others}"]


def _warnings(task: Task) -> Iterator[str]:
    if task.engine is not None and task.engine not in ENGINES and (near := nearest(task.engine, ENGINES)):
        yield f"the included Task Runners have no engine `{task.engine:.60}`; did you mean `{near}`?"
    if task.engine != PROGRAM or ("args",) in _computed(task):
        return
    if isinstance(task.args, dict):
        first = next((f", so `--{name:.60}=…` would be run as the program" for name in task.args), "")
        yield f"`args` is a map{first}; with `engine: {PROGRAM}`, write a list that begins with the program"
    elif not task.args or (isinstance(task.args, list) and task.args[0] == ""):
        yield f"`args` names no program; with `engine: {PROGRAM}`, write a list that begins with the program"
    elif isinstance(task.args, list) and isinstance(task.args[0], str) and (words := list_words(task.args[0])):
        yield f"no shell parses `args`, so its entire first entry is taken as the program's name; write `args: {words}`"


def _is_refused(task: Task, runner: str) -> bool:
    computed = _computed(task)
    if ("engine",) in computed:
        return False
    if runner == PROGRAM:
        return task.engine != PROGRAM
    return task.engine == PROGRAM or (not task.image_uri and ("imageUri",) not in computed)


def _computed(task: Task) -> frozenset[tuple[str | int, ...]]:
    """Return the paths of the values that expressions compute."""
    return frozenset(template.path for template in task.templates)
