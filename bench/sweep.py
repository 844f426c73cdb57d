"""Ten thousand jobs in flight: how long until each of them was asked for, and what that takes of the checker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import requests

from atom_emulator.platform.options import PartName
from bench import processes
from bench.counts import Counts, Servers
from bench.measure import Bench, Inconsistent
from bench.workloads import fan

JOBS: Final = 10_000
RUNS: Final = 2
ANSWER_S: Final = 0.02
WATCHED_S: Final = 60.0
"""A whole minute, so that the pause between a burst and the next tick is among it."""

_JOB_S: Final = 3_600
_SUBMITTED_WITHIN_S: Final = 600
_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a minute of looking after `jobs` took.

    `all_asked_s` is from the minute's beginning until each job had been asked for; `longest_s` is the longest that a
    job waited between two looks, or from the last one to the minute's end. `counts` are of the whole minute.
    """

    jobs: int
    all_asked_s: float
    longest_s: float
    watched_s: float
    counts: Counts
    checker_cpu_s: float
    checker_mb: float


def measure(bench: Bench, servers: Servers, task_runner: str) -> Swept:
    """Put the jobs in flight and watch the checker for a minute. Raises `Inconsistent`."""
    script = {"default": {"duration": _JOB_S, "delay": ANSWER_S}, "rules": [{"step": "root", "synchronous": True}]}
    requests.put(f"{task_runner}/_script", data=json.dumps(script), timeout=_TIMEOUT_S).raise_for_status()
    bench.start(fan(JOBS // RUNS), [f"sweep-{number}" for number in range(RUNS)])
    _await_submissions(servers, JOBS + RUNS)
    parts = processes.by_part()
    counts, cpu_s, began = servers.counts(), processes.cpu_seconds(parts), time.time()
    time.sleep(WATCHED_S)
    counts, ended = servers.counts() - counts, time.time()
    checker_cpu_s = processes.cpu_seconds(parts)[PartName.CHECKER] - cpu_s[PartName.CHECKER]
    looks = _looks(task_runner, began, ended)
    if len(looks) < JOBS:
        raise Inconsistent(f"only {len(looks):,} of {JOBS:,} jobs were asked for within {WATCHED_S:.0f} s")
    return Swept(
        jobs=JOBS,
        all_asked_s=max(times[0] for times in looks.values()) - began,
        longest_s=max(_waits(looks.values(), ended)),
        watched_s=ended - began,
        counts=counts,
        checker_cpu_s=checker_cpu_s,
        checker_mb=processes.peak_mb(parts)[PartName.CHECKER],
    )


def _await_submissions(servers: Servers, expected: int) -> None:
    deadline = time.monotonic() + _SUBMITTED_WITHIN_S
    while (submitted := servers.counts().submissions) < expected:
        if time.monotonic() > deadline:
            raise Inconsistent(f"{submitted:,} of {expected:,} jobs were submitted within {_SUBMITTED_WITHIN_S} s")
        time.sleep(1)


def _looks(task_runner: str, began: float, ended: float) -> dict[str, list[float]]:
    """When each job was asked for within that time."""
    answer = requests.get(f"{task_runner}/_log", timeout=_TIMEOUT_S)
    answer.raise_for_status()
    calls: Iterator[dict[str, Any]] = map(json.loads, answer.text.splitlines())
    looks: dict[str, list[float]] = {}
    for call in calls:
        at = datetime.fromisoformat(call["time"]).timestamp()
        if call["call"] == "status" and began <= at <= ended:
            looks.setdefault(call["job_id"], []).append(at)
    return looks


def _waits(looks: Iterable[list[float]], ended: float) -> Iterator[float]:
    for times in looks:
        yield from (after - before for before, after in zip(times, [*times[1:], ended], strict=True))
