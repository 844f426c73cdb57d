"""Rules of a script that match no job of a workflow."""

from __future__ import annotations

import pytest

from atom_emulator.task_runner.script_file import InvalidScript, parse_script
from atom_emulator.task_runner.script_matches import require_matches
from atom_workflows.language.parser import parse_workflow

WORKFLOW = b"""\
name: daily
steps:
  - id: extract
    task: {imageUri: registry.example/extract, labels: {team: data}}
  - id: load
    dependsOn: [extract]
    task: {imageUri: "${{ env.registry }}/load", name: load-sales}
  - id: ready
    dependsOn: [load]
finally:
  - id: clean
    task: {imageUri: registry.example/clean, engine: edge}
"""


def problems_of(script: str) -> list[str]:
    """Return the problems of a script for the workflow."""
    try:
        require_matches(
            parse_script(script, filename="jobs.yaml"), parse_workflow(WORKFLOW, filename="daily.yaml"), "daily.yaml"
        )
    except InvalidScript as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("step: extarct", "2:5: rules[0].step: no job of daily matches extarct; did you mean extract?"),
        ("step: Extract", "2:5: rules[0].step: no job of daily matches Extract; did you mean extract?"),
        ("step: load_sales", "2:5: rules[0].step: no job of daily matches load_sales; did you mean load-sales?"),
        ("step: claen", "2:5: rules[0].step: no job of daily matches claen; did you mean clean?"),
        (
            "step: train",
            "2:5: rules[0].step: no job of daily matches train; the steps with a job are extract, load, clean",
        ),
        (
            "step: extarct*",
            "2:5: rules[0].step: no job of daily matches extarct*; the steps with a job are extract, load, clean",
        ),
        (
            "step: ready",
            "2:5: rules[0].step: the step ready has no job; the steps with a job are extract, load, clean",
        ),
        (
            "{engine: edge, step: extract}",
            "2:20: rules[0]: no job of daily matches it; the steps with a job are extract, load, clean",
        ),
        (
            "labels: {team: web}",
            "2:5: rules[0]: no job of daily matches it; the steps with a job are extract, load, clean",
        ),
    ],
)  # fmt: skip
def test_a_rule_without_a_job_is_named_with_its_place(rule: str, problem: str) -> None:
    """A rule that matches no job is reported at its place, with the step that was probably meant."""
    assert problems_of(f"rules:\n  - {rule}\n") == [f"jobs.yaml:{problem}"]


@pytest.mark.parametrize(
    "rule",
    [
        "step: extract", "step: load", "step: load-sales", "step: '*'", "step: c*n", "engine: edge",
        "image: registry.example/*", "image: eu.example/load", "labels: {team: data}", "labels: {workflow: daily}",
    ],
)  # fmt: skip
def test_a_rule_with_a_job_is_no_problem(rule: str) -> None:
    """A rule may name a step, the name of its job, an image, an engine or labels, or what an expression may give."""
    assert problems_of(f"rules:\n  - {rule}\n") == []


def test_every_rule_without_a_job_is_reported() -> None:
    """One error lists all rules that match no job."""
    assert [
        problem.split(": ")[0] for problem in problems_of("rules:\n  - step: laod\n  - step: load\n  - step: x\n")
    ] == [
        "jobs.yaml:2:5",
        "jobs.yaml:4:5",
    ]
