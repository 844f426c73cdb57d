"""Measure how long jobs wait and what polling costs, with thousands of jobs at three Task Runners, one of them slow."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import requests

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName
from atom_workflows.coordinator.services import Services
from atom_workflows.ports import Message
from bench import processes
from bench.counts import Counts, Servers
from bench.measure import FILE, Inconsistent

SIZES: Final = (15_000, 50_000)
ANSWER_S: Final = 0.02
SLOW_ANSWER_S: Final = 0.2
WATCHED_S: Final = 240.0

HEAVY: Final = 500
"""The number of jobs whose tasks take 62 KB each."""

_HEAVY_PER_RUN: Final = 50
_STEPS_PER_RUN: Final = 5_000
_JOB_S: Final = 36_000
_BACK_OFF_S: Final = 30.0
_LATE_EVERY_S: Final = 17.0
_SUBMITTED_WITHIN_S: Final = 900
_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The cost of polling this many jobs.

    `longest_s` is the longest time that a job waited between two polls, from the beginning, or until the end. `late_s`
    is the longest time that the single step of another run waited for its next attempt when its back-off was over.
    `counts` cover the whole time.
    """

    jobs: int
    longest_s: float
    late_s: float
    watched_s: float
    counts: Counts
    checker_cpu_s: float
    checker_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A mock Task Runner: its URL, and the log that it writes each call to."""

    url: str
    log: Path


@contextmanager
def other_task_runners(folder: Path) -> Iterator[list[Address]]:
    """Start two more Task Runners and yield their addresses.

    The last one is meant to be the slow one.
    """
    with ExitStack() as stack:
        found = []
        for name in ("second", "slow"):
            ready, log = folder / f"{name}.json", folder / f"{name}.log"
            command = [sys.executable, "-m", "atom_emulator.task_runner", f"--ready-file={ready}", f"--log={log}"]
            process = stack.enter_context(subprocess.Popen(command))  # noqa: S603 (our own module)
            stack.callback(process.terminate)
            while not ready.exists():
                time.sleep(0.05)
            found.append(Address(url=f"http://127.0.0.1:{json.loads(ready.read_text())['port']}", log=log))
        yield found


def measure(services: Services, platform: LocalPlatform, others: Sequence[Address], jobs: int) -> Swept:
    """Put the jobs in flight and watch the checker for minutes.

    Raises `Inconsistent`.
    """
    own = Address(url=platform.addresses[PartName.TASK_RUNNER], log=platform.task_runner_log)
    each = [own, *others]
    with closing(Servers(platform.addresses)) as servers:
        for one, answer_s in zip(each, (ANSWER_S, ANSWER_S, SLOW_ANSWER_S), strict=True):
            _set_script(one.url, delay_s=0)
            _start(services, one.url, jobs // len(each))
            _await_submissions(one.url, jobs // len(each))
            _set_script(one.url, delay_s=answer_s)
        parts = processes.by_part()
        counts, cpu_s, began = servers.counts(), processes.cpu_seconds(parts), time.time()
        late = _start_late_steps(services, own.url, until=began + WATCHED_S)
        counts, ended = servers.counts() - counts, time.time()
        checker_cpu_s = processes.cpu_seconds(parts)[PartName.CHECKER] - cpu_s[PartName.CHECKER]
        checker_mb = processes.peak_mb(parts)[PartName.CHECKER]
    looks = [_looks(one.log, began, ended) for one in each]
    if (asked := sum(map(len, looks))) < jobs // len(each) * len(each):
        raise Inconsistent(f"only {asked:,} of {jobs:,} jobs were polled within {WATCHED_S:.0f} s")
    return Swept(
        jobs=jobs,
        longest_s=max(_waits((times for jobs_looks in looks for times in jobs_looks.values()), began, ended)),
        late_s=_longest_delay(own.log, late),
        watched_s=ended - began,
        counts=counts,
        checker_cpu_s=checker_cpu_s,
        checker_mb=checker_mb,
    )


def _set_script(url: str, *, delay_s: float) -> None:
    late = {"step": "late", "synchronous": True, "fail_times": 1}
    script = {"default": {"duration": _JOB_S, "delay": delay_s}, "rules": [late]}
    requests.put(f"{url}/_script", data=json.dumps(script), timeout=_TIMEOUT_S).raise_for_status()


def _start(services: Services, url: str, jobs: int) -> None:
    heavy = HEAVY // 3
    sizes = [(min(_STEPS_PER_RUN, jobs - heavy - at), 10) for at in range(0, jobs - heavy, _STEPS_PER_RUN)]
    sizes += [(min(_HEAVY_PER_RUN, heavy - at), 62_000) for at in range(0, heavy, _HEAVY_PER_RUN)]
    for number, (steps, args_bytes) in enumerate(sizes):
        task = {"imageUri": "image", "args": {"text": "x" * args_bytes}}
        definition = {"steps": [{"id": f"s{i}", "timeout": "24h", "task": task} for i in range(steps)]}
        _publish_start(services, url, definition, run_key=f"{url}-{number}")


def _start_late_steps(services: Services, url: str, *, until: float) -> int:
    """Start single-step runs that fail and back off; return their number.

    They start one after the other until `until`.
    """
    backoff = {"initial": f"{_BACK_OFF_S:.0f}s", "jitter": 0}
    step = {"id": "late", "retry": {"maxAttempts": 2, "backoff": backoff}, "task": {"imageUri": "image"}}
    started = 0
    while time.time() < until:
        if time.time() < until - 2 * _BACK_OFF_S:
            _publish_start(services, url, {"steps": [step]}, run_key=f"late-{started}")
            started += 1
        time.sleep(min(_LATE_EVERY_S, max(0.0, until - time.time())))
    return started


def _publish_start(services: Services, url: str, definition: dict[str, Any], *, run_key: str) -> None:
    body = {"definition": json.dumps(definition), "workflow_path": FILE, "tr_url": url, "run_key": run_key}
    services.bus.publish([Message(topic="start", body=body)])


def _await_submissions(url: str, expected: int) -> None:
    deadline = time.monotonic() + _SUBMITTED_WITHIN_S
    while (submitted := requests.get(f"{url}/_counters", timeout=_TIMEOUT_S).json().get("submit", 0)) < expected:
        if time.monotonic() > deadline:
            raise Inconsistent(f"{submitted:,} of {expected:,} jobs were submitted within {_SUBMITTED_WITHIN_S} s")
        time.sleep(1)


def _calls(log: Path, kind: str) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield each call of a kind with its time."""
    with log.open(encoding="utf-8") as lines:
        for call in map(json.loads, lines):
            if call["call"] == kind:
                yield call, datetime.fromisoformat(call["time"]).timestamp()


def _looks(log: Path, began: float, ended: float) -> dict[str, list[float]]:
    """Return the times of each job's polls within a period."""
    looks: dict[str, list[float]] = {}
    for call, at in _calls(log, "status"):
        if began <= at <= ended:
            looks.setdefault(call["job_id"], []).append(at)
    return looks


def _waits(looks: Iterator[list[float]], began: float, ended: float) -> Iterator[float]:
    for times in looks:
        yield from (after - before for before, after in zip([began, *times], [*times, ended], strict=True))


def _longest_delay(log: Path, expected: int) -> float:
    attempts: dict[str, list[float]] = {}
    for call, at in _calls(log, "submit"):
        if call.get("job_name") == "late":
            attempts.setdefault(str(call["idempotency_key"]).partition("/")[0], []).append(at)
    retried = [times[1] - times[0] - _BACK_OFF_S for times in attempts.values() if len(times) > 1]
    if len(retried) < expected:
        raise Inconsistent(f"{len(retried)} of {expected} steps had their second attempt")
    return max(retried)
