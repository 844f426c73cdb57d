"""Measure one engine: every workload in turn, each pass followed by the bare calls and by Atom Workflows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final, Protocol, Self

from bench.floor import Floor
from bench.measure import Bench
from bench.peers.failures import PeerFailed, TooLong
from bench.peers.roster import Peer
from bench.peers.script import Script
from bench.peers.submissions import TaskRunner, breach
from bench.workloads import Workload, chain

ROOT: Final = Path(__file__).parents[2]
WARM_UP: Final = Workload(name="warm-up", title="chain of 4", definition=chain(4))
"""The warm-up of a slow engine, instead of a whole round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One pass.

    Right after it, the same calls were made bare and, unless `ours_s` is 0, Atom Workflows ran the same workload.
    """

    wall_s: float
    floor_s: float
    ours_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """All passes of one workload, or no passes if one took longer than `over_s`."""

    workload: Workload
    passes: Sequence[Timed] = ()
    over_s: float = 0.0

    @property
    def ms_a_step(self) -> float:
        """The median wall time, divided by the steps."""
        return 1000 * median(one.wall_s for one in self.passes) / self.workload.steps

    @property
    def steps_a_second(self) -> float:
        """The steps that the median pass ran in a second."""
        return 1000 / self.ms_a_step

    @property
    def times_floor(self) -> float:
        """The median ratio of a pass to its bare calls."""
        return median(self.ratios_to_floor)

    @property
    def ratios_to_floor(self) -> list[float]:
        """The ratio of each pass to its bare calls."""
        return [one.wall_s / one.floor_s for one in self.passes]

    @property
    def times_ours(self) -> float:
        """The median ratio of a pass to Atom Workflows, or 0 if that was not run."""
        return median([one.wall_s / one.ours_s for one in self.passes if one.ours_s] or [0.0])


@dataclass(slots=True, kw_only=True)
class Row:
    """The results of one engine; `failed` explains why some are missing."""

    name: str
    title: str
    configured: str
    versions: Mapping[str, str] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)
    failed: str = ""


class Engine(Protocol):
    """An engine that runs workloads."""

    def seconds(self, workload: Workload, limit_s: float) -> float:
        """Run the workload once.

        Raises `PeerFailed`, or `TooLong`.
        """


class Ours:
    """The local platform, which has its own time limit."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def seconds(self, workload: Workload, limit_s: float) -> float:  # noqa: ARG002 - the protocol's signature
        """Run the workload once. Raises `Inconsistent`."""
        return self._bench.sample(workload).wall_s


class Theirs:
    """A peer's script, started when it is first needed, and again after it was ended for taking too long."""

    def __init__(self, peer: Peer, python: Path, task_runner: TaskRunner, body: Mapping[str, Any]) -> None:
        self._command = [str(python), "-m", peer.module]
        self._environment = {
            **peer.environment,
            "PYTHONPATH": str(ROOT),
            "PEER_TASK_RUNNER_URL": task_runner.url,
            "PEER_JOB": json.dumps(body),
        }
        self._task_runner = task_runner
        self._numbers = count()
        self._running = ExitStack()
        self._script: Script | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(*error)  # type: ignore[arg-type]  # as the interpreter gave them

    def seconds(self, workload: Workload, limit_s: float) -> float:
        """Run the workload once, and check what the engine did.

        Raises `PeerFailed`, or `TooLong`.
        """
        if self._script is None:
            self._script = self._running.enter_context(Script(self._command, self._environment))
        number, steps = next(self._numbers), edges(workload)
        self._task_runner.forget()
        try:
            wall_s = self._script.seconds({"number": number, "runs": workload.runs, "steps": steps}, limit_s)
        except TooLong as error:
            self._script = None
            # The error is passed so that the script is not waited for.
            self._running.__exit__(type(error), error, error.__traceback__)
            raise
        run_ids = [f"{number}-{run}" for run in range(workload.runs)]
        if problem := breach(steps, run_ids, self._task_runner.submitted()):
            raise PeerFailed(f"{workload.title}: {problem}")
        return wall_s


def edges(workload: Workload) -> dict[str, list[str]]:
    """Return each step and what it depends on."""
    return {step["id"]: step["dependsOn"] for step in json.loads(workload.definition)["steps"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The workloads to measure, how often, compared with which engine, and how to report progress."""

    workloads: Sequence[Workload]
    repeat: int
    limit_s: float
    floor: Floor
    say: Callable[[str], object]
    beside: Engine | None = None

    def cells(self, title: str, engine: Engine, *, slow: bool = False) -> Iterator[Cell]:
        """Yield each workload as soon as it is measured.

        Raises `PeerFailed`.
        """
        if slow:
            self._timed(f"{title}, warm-up", engine, WARM_UP)
        for workload in self.workloads:
            yield self._cell(title, engine, workload, warm_ups=0 if slow else 1, passes=1 if slow else self.repeat)

    def _cell(self, title: str, engine: Engine, workload: Workload, *, warm_ups: int, passes: int) -> Cell:
        try:
            timed = [self._timed(title, engine, workload) for _ in range(warm_ups + passes)]
        except TooLong as error:
            self.say(f"{title}: {workload.title}: {error}")
            return Cell(workload=workload, over_s=error.limit_s)
        return Cell(workload=workload, passes=timed[warm_ups:])

    def _timed(self, title: str, engine: Engine, workload: Workload) -> Timed:
        wall_s = engine.seconds(workload, self.limit_s)
        floor_s = self.floor.seconds(workload.steps, workload.floor_threads)
        ours_s = self.beside.seconds(workload, self.limit_s) if self.beside else 0.0
        beside = f", ours {ours_s:.2f} s" if ours_s else ""
        self.say(f"{title}: {workload.title}: {wall_s:.2f} s, bare calls {floor_s:.2f} s{beside}")
        return Timed(wall_s=wall_s, floor_s=floor_s, ours_s=ours_s)
