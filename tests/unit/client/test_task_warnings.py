"""Tasks that a Task Runner would refuse are named before they run."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_client.views.task_warnings import warn_of_refusals, warn_of_tasks
from atom_workflows.core.workflow import Workflow
from atom_workflows.language.parser import parse_workflow


def workflow_of(*tasks: str) -> Workflow:
    """Return a workflow of these tasks, whose steps are a, b, ..."""
    steps = ", ".join(f"{{id: {step}, task: {task}}}" for step, task in zip("abc", tasks, strict=False))
    return parse_workflow(f"params: {{x: {{type: text}}}}\nsteps: [{steps}]".encode(), filename="wf.yaml")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("{engine: process, args: [./a.py, x]}", ""),
        ("{engine: edge, url: 'https://x'}", ""),
        ("{engine: cloud-run, imageUri: x}", ""),
        ("{imageUri: x, args: {day: 1}}", ""),
        ("{engine: process, args: ['${{ params.x }}', '8']}", ""),
        ("{engine: process, args: '${{ [params.x] }}'}", ""),
        ("{engine: proces, args: [./a.py]}", "the included Task Runners have no engine `proces`"),
        ("{engine: Process, args: [./a.py]}", "did you mean `process`?"),
        ("{engine: cloud_run, imageUri: x}", "did you mean `cloud-run`?"),
        ("{engine: process, args: {day: 1}}", "so `--day=…` would be run as the program"),
        ("{engine: process, args: []}", "`args` names no program"),
        ("{engine: process, imageUri: x}", "`args` names no program"),
        ("{engine: process, args: ['']}", "`args` names no program"),
        ("{engine: process, args: [ls -l]}", "write `args: [ls, -l]`"),
    ],
)
def test_a_task_that_is_probably_a_mistake_is_named(task: str, said: str) -> None:
    """An engine that is nearly one of ours, and a program that cannot be one, are warned of."""
    found = warn_of_tasks(workflow_of(task), file="wf.yaml")
    assert [said in one for one in found] == [True] * bool(said)
    assert all(one.startswith("wf.yaml: step `a`: ") for one in found)


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ("process", ["tasks with `engine: process`, so it will refuse the job of `a` and 1 more"]),
        ("docker", ["images, from tasks with `imageUri`, so it will refuse the job of `b` and 1 more"]),
    ],
)
def test_jobs_that_the_chosen_runner_refuses_are_named(runner: str, said: list[str]) -> None:
    """Before a run, a warning says which jobs its Task Runner will refuse."""
    tasks = ("{imageUri: x}", "{engine: process, args: [./a.py]}", "{url: 'https://x'}")
    found = warn_of_refusals(workflow_of(*tasks), runner)
    assert [part in one for part, one in zip(said, found, strict=True)] == [True]
    assert warn_of_refusals(workflow_of("{engine: '${{ params.x }}', imageUri: x}"), runner) == []


@pytest.mark.parametrize("words", [["validate"], ["plan"]])
def test_the_commands_warn_and_succeed(words: list[str], tmp_path: Path) -> None:
    """A warning about a task changes no exit code."""
    file = tmp_path / "wf.yaml"
    file.write_text("steps: [{id: a, task: {engine: proces, args: [./a.py]}}]")
    result = CliRunner().invoke(cli, [*words, str(file)])
    assert (
        result.exit_code,
        f"Warning: {file}: step `a`: the included Task Runners have no engine" in result.output,
    ) == (0, True)
