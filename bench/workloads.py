"""The workloads: graphs in which every step is one job that is answered immediately, unless `job_s` is set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`runs` runs of one definition at the same time.

    `floor_threads` is how many threads may make the bare HTTP calls at the same time: as many as the graph allows, but
    no more than the dispatcher has. A run has `jobs`, or one a step. A job takes `job_s` seconds; `ideal_s`
    is then the minimum time of the workload. A `large` workload is measured once, without its own warm-up.
    """

    name: str
    title: str
    definition: str
    runs: int = 1
    floor_threads: int = 8
    jobs: int = 0
    job_s: float = 0.0
    ideal_s: float = 0.0
    large: bool = False

    @property
    def steps(self) -> int:
        """The number of steps of all runs together, or of their items; each is one job."""
        return self.runs * (self.jobs or len(json.loads(self.definition)["steps"]))


def chain(length: int) -> str:
    """Return steps that each depend on the one before."""
    return _definition({f"s{i}": [f"s{i - 1}"] if i else [] for i in range(length)})


def fan(width: int) -> str:
    """Return a root, steps that depend on it, and their join."""
    leaves = [f"leaf{i}" for i in range(width)]
    return _definition({"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves})


def layers(depth: int, width: int) -> str:
    """Return layers, each fully connected to the one before."""
    names = [[f"l{layer}x{i}" for i in range(width)] for layer in range(depth)]
    return _definition({name: names[k - 1] if k else [] for k, layer in enumerate(names) for name in layer})


def _definition(edges: Mapping[str, Sequence[str]]) -> str:
    steps = [{"id": name, "dependsOn": list(needs), "task": {"imageUri": "image"}} for name, needs in edges.items()]
    return json.dumps({"name": "bench", "steps": steps})


WORKLOADS: Final = (
    Workload(name="chain", title="chain of 100", definition=chain(100), floor_threads=1),
    Workload(name="fan", title="1 → 200 → 1", definition=fan(200)),
    Workload(name="layers", title="10 layers of 20, fully connected", definition=layers(10, 20)),
    Workload(name="runs", title="50 runs of 4 at once", definition=chain(4), runs=50),
)

JOBS: Final = Workload(name="jobs", title="1 → 200 → 1, jobs of 2 s", definition=fan(200), job_s=2.0, ideal_s=6.0)

_SIZES: Final = (1_000, 10_000)
"""The larger size is the maximum number of steps in a workflow (language/limits.py)."""


def _both(
    name: str, title: Callable[[int], str], graph: Callable[[int], str], threads: int
) -> tuple[Workload, Workload]:
    small, large = (
        Workload(name=f"{name}{size}", title=title(size), definition=graph(size), floor_threads=threads, large=True)
        for size in _SIZES
    )
    return small, large


GROWTH: Final = (
    _both("chain", "chain of {:,}".format, chain, 1),
    _both("fan", lambda size: f"1 → {size - 2:,} → 1", lambda size: fan(size - 2), 8),
    _both("layers", lambda size: f"{size // 20} layers of 20", lambda size: layers(size // 20, 20), 8),
)
"""Pairs of the same shape in two sizes, the second ten times the first."""

MANY_RUNS: Final = Workload(
    name="runs1000", title="1,000 runs of 4 at once", definition=chain(4), runs=1_000, large=True
)

LARGE: Final = (*(workload for pair in GROWTH for workload in pair), MANY_RUNS)
