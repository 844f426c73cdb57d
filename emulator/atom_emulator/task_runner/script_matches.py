"""Find the rules of a script that match no job of a workflow, which often name a step that is misspelt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from atom_emulator.task_runner.script import Rule, Script
from atom_emulator.task_runner.script_file import InvalidScript
from atom_workflows.core.workflow import Workflow, job_request
from atom_workflows.language.suggestions import Names, Suggestions

_MOST_NAMED: Final = 20
_WILDCARDS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedJob:
    """A job as far as it is known before it is submitted. `by_expression` are the fields that are not known yet."""

    step: str
    body: Mapping[str, Any]
    by_expression: frozenset[str] = frozenset()


def list_jobs(workflow: Workflow, path: str) -> list[ExpectedJob]:
    """Return the jobs of a workflow whose file has this path."""
    return [
        ExpectedJob(
            step=step.id,
            body=job_request(step, step.task, path),
            by_expression=frozenset(str(template.path[0]) for template in step.task.templates),
        )
        for step in workflow.all_steps
        if step.task is not None
    ]


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
        near = None if _WILDCARDS & set(pattern) else suggestions.nearest(pattern, names)
        remedy = f"did you mean {near}?" if near else remedy
        problems.append(f"{rule.where}.step: no job of {of} matches {pattern:.100}; {remedy}")
    return problems


def _may_match(rule: Rule, job: ExpectedJob) -> bool:
    """Return True if the rule may apply to the job."""
    if "job_name" in job.by_expression:
        return True
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
