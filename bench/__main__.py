"""`python -m bench`: measure, print, and with `--write` update docs/explanation/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_emulator.platform.topology import PubSub
from atom_workflows.bootstrap import connect
from atom_workflows.closed_pipe import exit_with
from atom_workflows.coordinator.services import Services
from atom_workflows.settings import from_environment
from bench import cold_start, loops, processes, report, sweep, where
from bench.counts import Servers
from bench.floor import Floor
from bench.measure import Bench, Inconsistent, Sample
from bench.workloads import JOBS, LARGE, WORKLOADS, Workload

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "explanation" / "benchmarks.md"
TICK_EVERY_S: Final = 60.0
"""The interval at which Cloud Scheduler ticks."""

ALL: Final = (*WORKLOADS, JOBS, *LARGE)
SWEEP: Final = "sweep"
WHERE: Final = "where"
ITEMS: Final = "items"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    Returns 1 if a run did not succeed, or if the servers' counts contradict the workload.
    """
    options = _options(arguments)
    load, _, _ = os.getloadavg()
    try:
        measured = _measured(options, load)
    except Inconsistent as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    _print_sections(measured)
    if options.write:
        DOCUMENT.write_text(report.document(measured), encoding="utf-8")
    return 0


def _measured(options: argparse.Namespace, load: float) -> report.Measured:
    chosen = _chosen(options)
    measured = report.Measured(samples={}, load=load, start_s=0.0, peak_mb={})
    if chosen:
        with _platform(keeps_history=options.history) as platform:
            measured = _measure(platform, chosen, options.repeat, load)
    if options.large or options.only == SWEEP:
        # Each sweep has its own platform, so that the memory of its processes is what the sweep takes.
        measured = replace(measured, swept=[_swept(jobs) for jobs in sweep.SIZES], cold=cold_start.measure())
    if options.large or options.only == ITEMS:
        looped = [_looped(with_outputs=with_outputs) for with_outputs in (False, True)]
        measured = replace(measured, looped=looped)
    if not options.only or options.only == WHERE:
        with _platform() as platform:
            measured = replace(measured, where=where.measure(_unsubscribed(platform)))
    return measured


def _swept(jobs: int) -> sweep.Swept:
    with tempfile.TemporaryDirectory(prefix="atom-bench-") as folder, sweep.other_task_runners(Path(folder)) as others:
        allowed = {"WORKFLOW_TASK_RUNNER_ALLOW": ",".join(one.url for one in others)}
        with _platform(allowed) as platform:
            return sweep.measure(connect(from_environment(os.environ)), platform, others, jobs)


def _looped(*, with_outputs: bool) -> loops.Looped:
    with _platform() as platform, closing(Servers(platform.addresses)) as servers:
        bench = Bench(connect(from_environment(os.environ)), servers)
        bench.request_body("warm-up")
        return loops.measure(bench, servers, with_outputs=with_outputs)


def _unsubscribed(platform: LocalPlatform) -> Services:
    """Connect to a platform whose functions receive no messages.

    This process handles the runs instead.
    """
    settings = from_environment(os.environ)
    with closing(PubSub(platform.addresses[PartName.PUBSUB], settings.project)) as pubsub:
        pubsub.unsubscribe()
    return connect(settings)


def _chosen(options: argparse.Namespace) -> list[Workload]:
    if options.only:
        return [workload for workload in ALL if workload.name == options.only]
    return [*WORKLOADS, *([JOBS] if options.jobs else ()), *(LARGE if options.large else ())]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = [*(workload.name for workload in ALL), SWEEP, WHERE, ITEMS]
    parser.add_argument("--repeat", type=int, default=5, help="passes of each workload (default: 5)")
    parser.add_argument("--only", choices=names, help="measure one workload")
    parser.add_argument("--jobs", action="store_true", help="also measure jobs that take 2 s")
    parser.add_argument(
        "--large", action="store_true", help="also measure 10,000 steps, 1,000 runs, 10,000 jobs and 10,000 items"
    )
    parser.add_argument("--history", action="store_true", help="keep a history, as `local up` does by default")
    parser.add_argument("--write", action="store_true", help="write docs/explanation/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat must be 1 or more")
    if options.write and (options.only or options.history):
        parser.error("--write needs every workload, in memory")
    return options


@contextmanager
def _platform(environment: Mapping[str, str] | None = None, *, keeps_history: bool = False) -> Iterator[LocalPlatform]:
    """Start a platform, and point this process's Google clients at it."""
    with (
        tempfile.TemporaryDirectory(prefix="atom-bench-") as folder,
        LocalPlatform(
            PlatformOptions(
                log_dir=Path(folder),
                tick_every_s=TICK_EVERY_S,
                environment=environment or {},
                history=Path(folder) if keeps_history else None,
            )
        ) as platform,
    ):
        os.environ.update(platform.environment)
        yield platform


def _measure(platform: LocalPlatform, chosen: Sequence[Workload], repeat: int, load: float) -> report.Measured:
    services = connect(from_environment(os.environ))
    with closing(Servers(platform.addresses)) as servers:
        bench = Bench(services, servers)
        body = bench.request_body("warm-up")
        with closing(Floor(platform.addresses[PartName.TASK_RUNNER], body)) as floor:
            samples = _passes(bench, servers, floor, chosen, repeat)
    return report.Measured(
        samples=samples,
        load=load,
        start_s=max(platform.start_seconds.values()),
        peak_mb=processes.peak_mb(processes.by_part()),
    )


def _passes(
    bench: Bench, servers: Servers, floor: Floor, chosen: Sequence[Workload], repeat: int
) -> dict[Workload, list[Sample]]:
    """Run every workload in turn, repeatedly.

    The first round is a warm-up and is discarded.
    """
    samples: dict[Workload, list[Sample]] = {workload: [] for workload in chosen}
    for turn in range(repeat + 1):
        for workload in chosen:
            if not _takes_part(workload, turn, repeat):
                continue
            servers.set_job(seconds=workload.job_s)
            sample = bench.sample(workload)
            servers.set_job()
            floor_s = floor.seconds(workload.steps, workload.floor_threads)
            _say(f"{'warm-up' if not turn else f'pass {turn}'}: {workload.title}: {sample.wall_s:.2f} s")
            if turn:
                samples[workload].append(replace(sample, floor_s=floor_s))
    return samples


def _takes_part(workload: Workload, turn: int, repeat: int) -> bool:
    if workload.large:
        return turn == repeat
    return not (workload.job_s and turn == 0)


def _print_sections(measured: report.Measured) -> None:
    for text in (section(measured) for section in report.SECTIONS):
        if text:
            _say("\n" + text)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    exit_with(main)
