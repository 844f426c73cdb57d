"""Rules of a script that match no job of a workflow."""

from __future__ import annotations

import pytest

from atom_emulator.task_runner.script import Rule
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


LOOPS = b"""\
name: daily
params: {models: {type: [text], default: [a]}}
steps:
  - id: train
    forEach: {region: [eu, us], fold: [1, 2, 3]}
    task: {imageUri: registry.example/train, name: training, args: ["${{ item }}"]}
  - id: score
    dependsOn: train
    forEach: ${{ params.models }}
    task: {imageUri: registry.example/score, args: ["${{ item }}"]}
  - {id: one, forEach: [1], task: {imageUri: registry.example/one, args: ["${{ item }}"]}}
  - {id: none, forEach: [], task: {imageUri: registry.example/none, args: ["${{ item }}"]}}
  - {id: report, task: {imageUri: registry.example/report}}
"""


def problems_of(script: str, workflow: bytes = WORKFLOW) -> list[str]:
    """Return the problems of a script for the workflow."""
    try:
        require_matches(
            parse_script(script, filename="jobs.yaml"), parse_workflow(workflow, filename="daily.yaml"), "daily.yaml"
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


@pytest.mark.parametrize(
    "pattern", ["train", "training", "tr*", "train[0]", "train[5]", "score[9999]", "one[0]", "repor[t]"]
)
def test_a_rule_may_name_a_loop_or_one_of_its_items(pattern: str) -> None:
    """A rule may name any item that a loop may have, and brackets are still a pattern elsewhere."""
    assert problems_of(f"rules:\n  - step: {pattern}\n", LOOPS) == []


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("train[6]", "there is no item train[6]; the items are train[0] to train[5]"),
        ("score[10000]", "there is no item score[10000]; the items are score[0] to score[9999]"),
        ("one[1]", "there is no item one[1]; the items are one[0]"),
        ("none[0]", "the step none has no items"),
        ("report[0]", "the step report has no items, since it has no forEach; write report"),
        ("trian[0]", "no job of daily matches trian[0]; the steps with a job are train, score, one, none, report"),
    ],
)
def test_a_rule_for_an_item_that_cannot_be_is_refused(pattern: str, problem: str) -> None:
    """The items of a list that is written in the file are known."""
    assert problems_of(f"rules:\n  - step: {pattern}\n", LOOPS) == [f"jobs.yaml:2:5: rules[0].step: {problem}"]


@pytest.mark.parametrize(
    ("pattern", "step", "expected"),
    [
        ("train", "train[3]", True),
        ("train", "train[3]~2", True),
        ("train[3]", "train[3]", True),
        ("train[3]", "train[3]~2", True),
        ("train[3]", "train[13]", False),
        ("train[3]", "train", False),
        ("tr*", "train[3]", True),
        ("trai", "train[3]", False),
    ],
)
def test_a_rule_applies_to_an_item_or_to_all(pattern: str, step: str, expected: bool) -> None:  # noqa: FBT001
    """A rule for an item applies to it in every expansion of its step."""
    assert Rule(step=pattern).matches({"job_name": "training"}, step) is expected


def test_every_rule_without_a_job_is_reported() -> None:
    """One error lists all rules that match no job."""
    assert [
        problem.split(": ")[0] for problem in problems_of("rules:\n  - step: laod\n  - step: load\n  - step: x\n")
    ] == [
        "jobs.yaml:2:5",
        "jobs.yaml:4:5",
    ]
