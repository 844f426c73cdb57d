"""Play a run of a workflow file to its end, in virtual time, and return the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

from atom_emulator.task_runner.script import Script
from atom_emulator.task_runner.script_file import InvalidScript, build_script, load_script
from atom_emulator.task_runner.script_matches import require_matches
from atom_emulator.testing.functions import BEGINNING, Functions
from atom_emulator.testing.played import Played, list_names, read_run
from atom_workflows.core.states import StepState
from atom_workflows.language.parser import parse_workflow
from atom_workflows.settings import Settings

BUCKET: Final = "gs://test/workflows/"

ScriptLike: TypeAlias = "Mapping[str, Any] | str | PathLike[str]"
"""A mock Task Runner's script: the content of its file, or the file's path."""

_ENDED: Final = frozenset(state.value for state in StepState if state.is_terminal)


class StillOpen(TimeoutError):
    """The run did not end within the given time."""


def play(  # noqa: PLR0913 (all but the first two by name)
    workflow: str | PathLike[str],
    script: ScriptLike | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    within: timedelta = timedelta(days=1),
    at: datetime = BEGINNING,
) -> Played:
    """Play a run of a workflow file to its end.

    The deployed coordinator runs in this process, on a store, a bus, a scheduler and a mock Task Runner in memory.
    Calls take only the time that the script sets, and the test does not wait, because time is virtual. `script`
    determines what the jobs do; without a script each job succeeds immediately. `params` are the values of the file's
    parameters as a start message gives them, in JSON: a date is a string. If they do not fit, the run is INVALID, with
    every problem among its `errors`. `settings` are those of a deployment. `at` is
    the time at which the run is started, with a time zone.

    Raises:
        OSError: a file cannot be read.
        InvalidWorkflow: the file is not a valid workflow; the error lists every problem.
        InvalidScript: the script is wrong, or one of its rules matches no job of the workflow.
        StillOpen: the run takes longer than `within`, in virtual time.

    """
    file = Path(workflow)
    content = file.read_bytes()
    parsed, path = parse_workflow(content, filename=file.name), BUCKET + file.name
    read = _read_script(script)
    require_matches(read, parsed, path)
    with Functions(read, settings=settings or Settings(), began=at) as functions:
        run_id = functions.start(path, content, params=params or {})
        run = functions.run_to_end(run_id, within=within)
        if not run.state.is_terminal:
            states = functions.world.states(run_id).items()
            still = list_names([f"{name} is {state}" for name, state in states if state not in _ENDED])
            raise StillOpen(f"{parsed.name} did not end within {within}: {still}")
        return read_run(functions, run_id, parsed)


def _read_script(script: ScriptLike | None) -> Script:
    if script is None:
        return Script()
    if isinstance(script, Mapping):
        return build_script(script)
    if not isinstance(script, str | PathLike):
        raise InvalidScript([f"a script is a mapping or the path of a file, not a {type(script).__name__}"])
    return load_script(Path(script))
