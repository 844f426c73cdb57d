"""Find the rules of a script that match no job of a workflow, which often misspell the name of a step."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

from atom_emulator.task_runner.script import Rule, Script
from atom_emulator.task_runner.script_file import InvalidScript
from atom_workflows.core.workflow import ForEach, Template, Workflow, job_request
from atom_workflows.language.limits import MAX_ITEMS
from atom_workflows.language.suggestions import Names, Suggestions

_MOST_NAMED: Final = 20
_WILDCARDS: Final = frozenset("*?[")
_ITEM: Final = re.compile(r"(?P<step>[^\[\]*?]+)\[(?P<index>[0-9]{1,9})\]")
"""An item of a loop, such as `train[3]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedJob:
    """A job as far as it is known before it is submitted.

    `by_expression` are the fields that are not known yet. Each item of a loop has such a job; there are at most `items`
    of them, or None if the step is no loop.
    """

    step: str
    body: Mapping[str, Any]
    by_expression: frozenset[str] = frozenset()
    items: int | None = None


def list_jobs(workflow: Workflow, path: str) -> list[ExpectedJob]:
    """Return the jobs of a workflow whose file has this path."""
    return [
        ExpectedJob(
            step=step.id,
            body=job_request(step, step.task, path),
            by_expression=frozenset(str(template.path[0]) for template in step.task.templates),
            items=None if step.for_each is None else _most_items(step.for_each),
        )
        for step in workflow.all_steps
        if step.task is not None
    ]


def _most_items(loop: ForEach) -> int:
    """Return the number of a loop's items, or its limit if that is not known."""
    sizes = [MAX_ITEMS if isinstance(items, Template) else len(items) for items in loop.lists.values()]
    return min(MAX_ITEMS, prod(sizes))


def require_matches(script: Script, workflow: Workflow, path: str) -> None:
    """Raise `InvalidScript` for rules that match no job of the workflow."""
    barriers = [step.id for step in workflow.all_steps if step.task is None]
    if problems := find_unmatched(script, list_jobs(workflow, path), of=workflow.name, barriers=barriers):
        raise InvalidScript(problems)


def find_unmatched(
    script: Script, jobs: Sequence[ExpectedJob], *, of: str, barriers: Collection[str] = ()
) -> list[str]:
    """Return a problem for each rule that matches no job.

    `of` is the name of the workflow, and `barriers` are the steps that have no job.
    """
    suggestions, names = Suggestions(), Names([name for job in jobs for name in (job.step, str(job.body["job_name"]))])
    problems = []
    for rule in script.rules:
        if any(_may_match(rule, job) for job in jobs):
            continue
        pattern, remedy = rule.step, f"the steps with a job are {_listed([job.step for job in jobs])}"
        if pattern is None or any(_may_match(Rule(step=pattern), job) for job in jobs):
            problems.append(f"{rule.where}: no job of {of} matches it; {remedy}")
            continue
        if pattern in barriers:
            problems.append(f"{rule.where}.step: the step {pattern} has no job; {remedy}")
            continue
        item = _ITEM.fullmatch(pattern)
        if of_items := [job for job in jobs if item and job.step == item["step"]]:
            problems.append(f"{rule.where}.step: {_explain(pattern, of_items[0])}")
            continue
        near = None if _WILDCARDS & set(pattern) else suggestions.nearest(pattern, names)
        remedy = f"did you mean {near}?" if near else remedy
        problems.append(f"{rule.where}.step: no job of {of} matches {pattern:.100}; {remedy}")
    return problems


def _explain(pattern: str, job: ExpectedJob) -> str:
    """Return why a step has no such item."""
    if job.items is None:
        return f"the step {job.step} has no items, since it has no forEach; write {job.step}"
    if not job.items:
        return f"the step {job.step} has no items"
    last = "" if job.items == 1 else f" to {job.step}[{job.items - 1}]"
    return f"there is no item {pattern:.100}; the items are {job.step}[0]{last}"


def _may_match(rule: Rule, job: ExpectedJob) -> bool:
    """Return True if the rule may apply to the job, or to one of its items."""
    if "job_name" in job.by_expression:
        return True
    item = _ITEM.fullmatch(rule.step or "")
    if item and item["step"] == job.step and job.items is not None:
        if int(item["index"]) >= job.items:
            return False
        rule = replace(rule, step=job.step)
    # What an expression gives may turn out to be anything.
    known = replace(
        rule,
        image=None if "imageUri" in job.by_expression else rule.image,
        engine=None if "engine" in job.by_expression else rule.engine,
        labels={} if "labels" in job.by_expression else rule.labels,
    )
    return known.matches(job.body, job.step)


def _listed(names: Sequence[str]) -> str:
    """Return the names separated by commas, shortening a long list."""
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown
