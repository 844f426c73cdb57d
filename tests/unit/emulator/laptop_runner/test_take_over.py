"""A Task Runner takes over the jobs of those that have died, and can itself die at any line of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from atom_emulator.laptop_runner.ends import DIED, End
from atom_emulator.laptop_runner.files import JobFiles
from atom_emulator.laptop_runner.jobs import Jobs, RunningJob
from atom_emulator.laptop_runner.records import NOT_ENDED, Records
from atom_workflows.runner.request import JobRequest

KEY: Final = "run-1/step/1"


class Killed(Exception):
    """This Task Runner is killed here."""


class Engine:
    """An engine whose Task Runner may be killed while it cleans up."""

    def __init__(self, *, is_killed: bool = False) -> None:
        self.cleaned_up: list[str] = []
        self._is_killed = is_killed

    def find_refusal(self, request: JobRequest) -> str:
        """Refuse everything."""
        return request.key

    def start(self, request: JobRequest, files: JobFiles, on_end: Callable[[End], None]) -> RunningJob:
        """Start nothing."""
        raise NotImplementedError

    def clean_up(self, runner: str) -> None:
        """Record whose jobs are to be removed."""
        if self._is_killed:
            raise Killed
        self.cleaned_up.append(runner)


class NoTimers:
    """No job has a time limit here."""

    def call_later(self, delay: float, callback: Callable[[str], None], key: str, /) -> Any:
        """Call no one."""
        raise NotImplementedError


def successor(root: Path, engine: Engine, told: list[str]) -> Jobs:
    """Return the jobs of the next Task Runner."""
    return Jobs(
        engine=engine, records=Records(root), timers=NoTimers(), slots=1, logs_url=lambda name: name, on_end=told.append
    )


def test_a_successor_that_dies_while_it_cleans_up_leaves_that_to_the_next(tmp_path: Path) -> None:
    """Containers of a dead Task Runner are removed although the first successor died before it had removed them."""
    dead = Records(tmp_path)
    dead.add(KEY)
    dead.close(is_done=False)
    with pytest.raises(Killed):
        successor(tmp_path, Engine(is_killed=True), []).take_over()
    engine, told = Engine(), list[str]()
    successor(tmp_path, engine, told).take_over()
    assert dead.runner in engine.cleaned_up
    assert told == [KEY]


def test_the_jobs_of_a_task_runner_that_lives_are_left_alone(tmp_path: Path) -> None:
    """A job that a dead Task Runner could not accept, and that another one runs now, goes on."""
    dead, living = Records(tmp_path), Records(tmp_path)
    (tmp_path / ".runners" / dead.runner).write_text(f"{KEY}\n")
    dead.close(is_done=False)
    living.add(KEY)
    engine, told = Engine(), list[str]()
    successor(tmp_path, engine, told).take_over()
    record = living.find(KEY)
    assert record is not None
    assert (record.result, record.result == DIED, told) == (NOT_ENDED, False, [])
    assert engine.cleaned_up == [dead.runner]
