"""One storm: dozens of runs in flight, faults of every kind for a while, then calm and a verdict."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from atom_emulator.platform.options import FUNCTIONS, Emulators, PartName
from chaos.echo import Echo
from chaos.flight import Flight
from chaos.judge import Judge, Verdict, by_run, crowded_groups
from chaos.killer import Killer
from chaos.site import Site, site
from chaos.tally import Fault, never_struck
from chaos.workloads import Workload, drawn

ALL_ENDED_WITHIN_S: Final = 120
"""After the faults have stopped. The functions' limits are a twentieth of those that are deployed."""

LATE_FAULTS_S: Final = 60
"""How much longer a storm may last for a kind of fault that has not struck yet, as on a slow machine."""

LOOK_EVERY_S: Final = 0.3

EXPECTED: Final = frozenset(
    {
        "event.failed",
        "event.given_up",
        "group.contended",
        "notice.failed",
        "run.fail",  # Some jobs fail whatever the weather, and a run that failed is for a person to see.
        "run.finally.contended",
        "run.finish.contended",
        "run.seed.repair",
        "step.expand.deferred",
        "step.gather.deferred",
        "step.ready.again",
        "sweep.page.unpublished",
        "task_runner.unavailable",
    }
)
"""Warnings of functions that are kept from their work. No other may come up in any storm."""

_AFTERWARDS: Final = Workload(shape="after the storm", edges={"first": [], "then-1s": ["first"], "last": ["then-1s"]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The length of a storm, the runs in flight meanwhile, the servers, and the seed of chance."""

    seconds: float = 15
    runs: int = 50
    seed: int = 1
    emulators: Emulators = "embedded"
    kill_every_s: float = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a storm.

    `counts` are faults by kind and place, `said` the functions' warnings by action; `fewest_in_flight` is what was left
    of the plan's runs at worst while faults went on, and `calm_s` how long after them the last run ended.
    """

    plan: Plan
    counts: Mapping[tuple[Fault, str], int]
    revived: Mapping[str, int]
    ended: Mapping[str, int]
    steps: int
    fewest_in_flight: int
    calm_s: float
    took_s: float
    said: Mapping[str, int]
    verdict: Verdict

    @property
    def started(self) -> int:
        """The number of runs."""
        return sum(self.ended.values())

    @property
    def never_struck(self) -> list[Fault]:
        """Kinds of faults of which there was not one."""
        return never_struck(self.counts)

    @property
    def problems(self) -> list[str]:
        """Why the storm was not weathered, or was none."""
        return [
            *self.verdict.findings,
            *self.verdict.logged,
            *(f"there were no {fault}" for fault in self.never_struck),
        ]


def play(plan: Plan, folder: Path) -> Result:
    """Play the plan, with logs in the folder."""
    began = time.monotonic()
    dice = random.Random(plan.seed)  # noqa: S311 - nothing secret
    with site(plan.emulators, plan.seed, folder) as there:
        flight = Flight(
            database=there.database,
            publisher=there.publisher,
            project=there.platform.options.project,
            dice=dice,
            workloads=drawn(dice),
        )
        # A bus may deliver twice in any weather; when all else is calm, nothing excuses a job that was given twice.
        with Echo(there.publisher, there.subscriber, flight.project, seed=plan.seed, tally=there.tally):
            fewest = _run_storm(plan, there, flight)
            calm_at, calm_wall = time.monotonic(), time.time()
            _wait(flight.is_over, flight, calm_at + ALL_ENDED_WITHIN_S)
        # One more shows that the platform is well, and gives whatever is late the time to show.
        flight.start(_AFTERWARDS)
        _wait(flight.is_over, flight, time.monotonic() + ALL_ENDED_WITHIN_S / 2)
        verdict = _judge_runs(there, flight, calm_wall)
        revived = there.platform.revivals
    ended_at = [run.ended_at for run in flight.runs.values() if run.workload is not _AFTERWARDS and run.ended_at]
    return Result(
        plan=plan,
        counts=there.tally.counts(),
        revived=revived,
        ended=Counter(run.state for run in flight.runs.values()),
        steps=sum(len(run.workload.graph) for run in flight.runs.values()),
        fewest_in_flight=fewest,
        calm_s=max([0.0, *(at - calm_at for at in ended_at)]),
        took_s=time.monotonic() - began,
        said=Counter(str(line["action"]) for line in _warnings(folder)),
        verdict=verdict,
    )


def _run_storm(plan: Plan, there: Site, flight: Flight) -> int:
    """Strike while runs are in flight, and return their fewest.

    Each run is replaced when it ends.
    """
    dice = random.Random(f"{plan.seed}/killer")  # noqa: S311 - nothing secret
    _start(flight, plan.runs // 2)
    _wait(flight.are_all_there, flight, time.monotonic() + ALL_ENDED_WITHIN_S)
    there.set_stormy(stormy=True)
    _start(flight, plan.runs - plan.runs // 2)
    with Killer(there.platform, every_s=plan.kill_every_s, dice=dice, tally=there.tally, may_forget=flight.may_forget):
        fewest = _replace_for(plan, there, flight)
    there.set_stormy(stormy=False)
    return fewest


def _replace_for(plan: Plan, there: Site, flight: Flight) -> int:
    """Keep runs in flight while the storm lasts, and return their fewest.

    It lasts until each kind of fault has struck, but not for ever.
    """
    fewest, enough = plan.runs, time.monotonic() + plan.seconds
    # What the Task Runner spoils is counted afterwards.
    while (now := time.monotonic()) < enough or (
        set(never_struck(there.tally.counts())) - {Fault.ANSWERED_BADLY} and now < enough + LATE_FAULTS_S
    ):
        there.platform.wait(LOOK_EVERY_S)
        ended = flight.look()
        fewest = min(fewest, len(flight.open()))
        _start(flight, ended)
    return fewest


def _start(flight: Flight, runs: int) -> None:
    for _ in range(runs):
        flight.start()


def _wait(condition: Callable[[], bool], flight: Flight, deadline: float) -> None:
    while not condition() and time.monotonic() < deadline:
        flight.look()
        time.sleep(LOOK_EVERY_S)


def _judge_runs(there: Site, flight: Flight, calm_at: float) -> Verdict:
    lines = there.platform.task_runner_log.read_text().splitlines()
    spoilt = sum(json.loads(line).get("fault") is not None for line in lines)
    there.tally.add_many(Fault.ANSWERED_BADLY, PartName.TASK_RUNNER, spoilt)
    judge = Judge(tally=there.tally, watch=there.watch, log=by_run(lines), calm_at=calm_at)
    verdict = Verdict()
    ended = [flight.documents(run_id) for run_id in flight.runs]
    for one in ended:
        judge.judge(one, verdict)
    verdict.findings += crowded_groups(ended, judge.log)
    for line in _warnings(there.platform.log_dir):
        if line["action"] not in EXPECTED or "Traceback" in line["message"]:
            verdict.logged.append(f"a function logged {line['action']}: {line['message']:.500}")
    return verdict


def _warnings(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the functions' warnings and errors."""
    for function in FUNCTIONS:
        for text in (folder / f"{function}.log").read_text(errors="replace").splitlines():
            # A process that was killed may have left half a line.
            if text.startswith("{") and text.endswith("}"):
                line = json.loads(text)
                if line.get("severity") in {"WARNING", "ERROR"} and "action" in line:
                    yield line
