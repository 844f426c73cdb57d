"""Code shared by all scripts: the requested passes, and the one call that every step makes.

A script reads its passes from standard input, one JSON object per line, and answers each with `{"wall_s": …}` on a
separate pipe, because an engine may print anything to standard output. The first line on the pipe reports that the
script is ready.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final, TextIO

import requests
from requests.adapters import HTTPAdapter

JOBS_AT_ONCE: Final = 8
"""For every engine that has such a setting: the number of threads of the dispatcher."""

_TIMEOUT_S: Final = 10.0
_GRACE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A pass: `runs` runs of one graph, which maps each step to the steps that it depends on. `number` is unique."""

    number: int
    runs: int
    steps: Mapping[str, Sequence[str]]

    @property
    def in_order(self) -> list[str]:
        """Every step after those that it depends on."""
        return list(TopologicalSorter(self.steps).static_order())

    @property
    def levels(self) -> list[list[str]]:
        """Steps that may run at the same time, level by level."""
        sorter = TopologicalSorter(self.steps)
        sorter.prepare()
        levels = []
        while sorter.is_active():
            levels.append(list(sorter.get_ready()))
            sorter.done(*levels[-1])
        return levels

    @property
    def ends(self) -> list[str]:
        """The steps on which no other step depends."""
        needed = {need for needs in self.steps.values() for need in needs}
        return [step for step in self.steps if step not in needed]

    def run_ids(self) -> list[str]:
        """One id for each run, different from the ids of every other pass."""
        return [f"{self.number}-{run}" for run in range(self.runs)]


def scratch() -> Path:
    """Make a folder for the engine's files.

    The folder is removed afterwards.
    """
    return Path(os.environ["PEER_SCRATCH"])


def submit(run_id: str, step: str) -> str:
    """Submit the step's job and return its id.

    The job is done when the call returns.
    """
    headers = {"Idempotency-Key": f"{run_id}/{step}/1"}
    response = _session().post(_url(), json=_body(), headers=headers, timeout=_TIMEOUT_S)
    response.raise_for_status()
    job: dict[str, Any] = response.json()["job"]
    if job["state"] != "SUCCEEDED":
        raise ValueError(f"the Task Runner answered {response.text}")
    return str(job["jobId"])


def serve(perform: Callable[[Pass], None], prepare: Callable[[Pass], None] = lambda _: None) -> None:
    """Perform the passes that standard input asks for.

    The time of `prepare` is not measured.
    """
    with os.fdopen(int(os.environ["PEER_ANSWERS"]), "w", encoding="utf-8") as answers:
        _answer(answers, {"ready": True})
        for line in sys.stdin:
            asked = Pass(**json.loads(line))
            prepare(asked)
            began = time.perf_counter()
            perform(asked)
            _answer(answers, {"wall_s": time.perf_counter() - began})


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that the engine needs, until the block ends."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, **options) as process:  # noqa: S603 - our own command
        try:
            yield process
        finally:
            process.terminate()
            _await_end(process)


def until(condition: Callable[[], bool], what: str, within_s: float = 60.0, every_s: float = 0.02) -> None:
    """Wait for the condition, or say that `what` did not happen."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} not within {within_s:.0f} s")
        time.sleep(every_s)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _answer(answers: TextIO, answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


@cache
def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # Looking for proxies at every call is not to be measured.
    session.mount("http://", HTTPAdapter(pool_maxsize=64))
    return session


@cache
def _url() -> str:
    return os.environ["PEER_TASK_RUNNER_URL"] + "/job"


@cache
def _body() -> Any:
    return json.loads(os.environ["PEER_JOB"])
