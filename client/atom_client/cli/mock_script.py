"""Check the user's script for the mock Task Runner before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atom_client.errors import Misuse
from atom_client.text import counted, name_of
from atom_workflows.core.kinds import NodeKind

if TYPE_CHECKING:
    from atom_emulator.task_runner.script import Script
    from atom_workflows.core.records import StepRecord
    from atom_workflows.core.workflow import Workflow


def read_mock_script(path: Path) -> Script:
    """Read the script that `--mock-script` names.

    Raises `Misuse` with every problem.
    """
    from atom_emulator.task_runner.script_file import InvalidScript, load_script  # noqa: PLC0415 (not installed everywhere)

    try:
        return load_script(path)
    except InvalidScript as error:
        raise Misuse(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Misuse(f"--mock-script {name_of(path)} cannot be read: {reason}") from error


def check_mock_script(path: Path, workflow: Workflow, workflow_path: str) -> None:
    """Reject a script with rules that match no job.

    The cause is often a misspelled step name in a rule. Raises `Misuse` with every problem.
    """
    from atom_emulator.task_runner.script_file import InvalidScript  # noqa: PLC0415 (not installed everywhere)
    from atom_emulator.task_runner.script_matches import require_matches  # noqa: PLC0415 (not installed everywhere)

    script = read_mock_script(path)
    try:
        require_matches(script, workflow, workflow_path)
    except InvalidScript as error:
        raise Misuse(str(error)) from error


def warn_of_mock(workflow: Workflow, *, is_up: bool) -> list[str]:
    """Return warnings about the limits of a mock without a script.

    It runs no programs, and returns no outputs. With `is_up`, the platform was started by another command.
    """
    steps = [step for step in workflow.all_steps if step.task is not None]
    programs = [step.id for step in steps if step.task is not None and step.task.engine == "process"]
    returning = [step.id for step in steps if step.outputs and step.id not in programs]
    how = "start the platform with `atom-workflows local up {}`" if is_up else "add {}"
    warnings = []
    if programs:
        warnings.append(
            f"a mock Task Runner simulates the program of {_first_of(programs)}, and returns no outputs; to run tasks "
            f"with `engine: process`, {how.format('--runner process')}"
        )
    if returning:
        warnings.append(
            f"a mock Task Runner simulates the job of {_first_of(returning)} without the declared outputs, "
            f"so the step fails; to specify what it returns, {how.format('--mock-script FILE')}"
        )
    return warnings


def _first_of(steps: Sequence[str]) -> str:
    others = f" and {counted(len(steps) - 1, 'other step')}" if len(steps) > 1 else ""
    return f"`{steps[0]}`{others}"


def find_unmatched_rules(path: Path, workflow: str, nodes: Iterable[StepRecord]) -> list[str]:
    """Return a warning for each rule that matches no job.

    Nothing is known about a file in a bucket until its run has started.
    """
    from atom_emulator.task_runner.script_matches import ExpectedJob, find_unmatched  # noqa: PLC0415 (likewise)

    jobs = [
        ExpectedJob(
            # The node that creates the items of a step has the job of each.
            step=node.each or node.id,
            body=node.request,
            by_expression=frozenset(str(template.path[0]) for template in node.templates),
            items=node.items if node.kind is NodeKind.EXPAND else None,
        )
        for node in nodes
        if node.request is not None
    ]
    return find_unmatched(read_mock_script(path), jobs, of=workflow) if jobs else []
