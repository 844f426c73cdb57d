"""`python -m bench.places`: measure how well the places of `maxParallel` are used, and what they cost.

What counts as alive is read from the mock Task Runner's log: a job is alive from its submission for as long as it
takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import requests

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_workflows.bootstrap import connect
from atom_workflows.closed_pipe import exit_with
from atom_workflows.settings import from_environment
from bench.counts import Servers
from bench.measure import Bench, Inconsistent
from bench.workloads import Workload

TICK_EVERY_S: Final = 60.0
_TIMEOUT_S: Final = 60.0
_MIDDLE: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How many jobs of a run were alive: the most at any time, and the average over the middle 80 % of the run."""

    most: int
    average: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A step of so many items, of which at most `places` run at the same time, for `job_s` seconds each.

    Jobs that take no time are answered as soon as they are submitted.
    """

    items: int
    places: int
    job_s: float = 0.0

    @property
    def workload(self) -> Workload:
        """The loop as a run."""
        step = {
            "id": "train",
            "forEach": f"${{{{ range({self.items}) }}}}",
            "maxParallel": self.places,
            "task": {"imageUri": "image", "args": {"item": "${{ item }}"}},
        }
        definition = json.dumps({"name": "bench", "steps": [step]})
        title = f"{self.items} items of {self.job_s:g} s, {self.places} at a time"
        return Workload(name="places", title=title, definition=definition, jobs=self.items, large=True)

    @property
    def script(self) -> str:
        """The script of the mock Task Runner, which reports the ends of jobs."""
        job = {"duration": self.job_s, "notifies": True} if self.job_s else {"synchronous": True}
        return json.dumps({"default": job})


def beginnings(log: Path, run_id: str) -> list[float]:
    """Return when each item of a run was submitted, by the mock Task Runner's log.

    Raises `Inconsistent` if one was submitted twice.
    """
    begun: dict[str, float] = {}
    for call in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        key = call.get("idempotency_key") or ""
        if call["call"] == "submit" and key.startswith(f"{run_id}/"):
            if key in begun:
                raise Inconsistent(f"{key} was submitted twice")
            begun[key] = datetime.fromisoformat(call["time"]).timestamp()
    return list(begun.values())


def used(begun: Sequence[float], job_s: float) -> Used:
    """Return how many jobs were alive, given when each began."""
    # An end comes before a beginning at the same time.
    changes = sorted([*((at, 1) for at in begun), *((at + job_s, -1) for at in begun)])
    first, last = changes[0][0], changes[-1][0]
    margin = (last - first) * (1 - _MIDDLE) / 2
    most, alive, area = 0, 0, 0.0
    for (at, by), (until, _) in pairwise([*changes, changes[-1]]):
        alive += by
        most = max(most, alive)
        area += alive * max(0.0, min(until, last - margin) - max(at, first + margin))
    return Used(most=most, average=area / (last - first - 2 * margin))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print.

    Returns 1 if more items were alive than there are places, or if places stayed free.
    """
    parser = argparse.ArgumentParser(prog="bench.places", description=__doc__)
    parser.add_argument("--items", type=int, default=400, help="items with jobs of some seconds (default: 400)")
    parser.add_argument("--places", type=int, default=50, help="their places (default: 50)")
    parser.add_argument("--job-s", type=float, default=5.0, help="how long each of their jobs takes (default: 5)")
    parser.add_argument("--quick-items", type=int, default=2000, help="items that are answered at once (default: 2000)")
    parser.add_argument("--quick-places", type=int, default=20, help="their places (default: 20)")
    options = parser.parse_args(arguments)
    slow = Loop(items=options.items, places=options.places, job_s=options.job_s)
    quick = Loop(items=options.quick_items, places=options.quick_places)
    with _platform() as platform, closing(Servers(platform.addresses)) as servers:
        bench = Bench(connect(from_environment(os.environ)), servers)
        bench.request_body("warm-up")
        is_good = _measure_use(platform, bench, slow)
        _measure_cost(platform, bench, quick)
    return not is_good


def _measure_use(platform: LocalPlatform, bench: Bench, loop: Loop) -> bool:
    _set_script(platform, loop)
    sample = bench.sample(loop.workload)
    found = used(beginnings(platform.task_runner_log, bench.run_ids[-1]), loop.job_s)
    share = found.average / loop.places
    _print(f"{loop.workload.title}: {found.average:.1f} alive on average over the middle 80 %, at most {found.most}")
    _print(f"  {sample.wall_s:.1f} s, {sample.counts.writes / loop.items:.2f} documents written an item")
    return found.most <= loop.places and share >= 0.9  # noqa: PLR2004 (45 of 50)


def _measure_cost(platform: LocalPlatform, bench: Bench, loop: Loop) -> None:
    _set_script(platform, loop)
    sample = bench.sample(loop.workload)
    _print(f"{loop.workload.title}: {loop.items / sample.wall_s:.0f} items/s")
    _print(f"  {sample.wall_s:.1f} s, {sample.counts.writes / loop.items:.2f} documents written an item")


def _set_script(platform: LocalPlatform, loop: Loop) -> None:
    url = platform.addresses[PartName.TASK_RUNNER]
    requests.put(f"{url}/_script", data=loop.script, timeout=_TIMEOUT_S).raise_for_status()


@contextmanager
def _platform(environment: Mapping[str, str] | None = None) -> Iterator[LocalPlatform]:
    """Start a platform, and point this process's Google clients at it."""
    with (
        tempfile.TemporaryDirectory(prefix="atom-bench-") as folder,
        LocalPlatform(
            PlatformOptions(log_dir=Path(folder), tick_every_s=TICK_EVERY_S, environment=environment or {})
        ) as platform,
    ):
        os.environ.update(platform.environment)
        yield platform


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    exit_with(main)
