"""Measure what the items of a step with `forEach` cost, if each job is answered immediately."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from atom_emulator.platform.options import PartName
from bench import processes
from bench.counts import Counts, Servers
from bench.measure import Bench
from bench.workloads import Workload

ITEMS: Final = 10_000
"""The maximum number of items of a step (language/limits.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looped:
    """The cost of one step with that many items. `peak_mb` is that of each function's largest process."""

    title: str
    items: int
    wall_s: float
    counts: Counts
    peak_mb: Mapping[PartName, float]

    @property
    def per_second(self) -> float:
        """The number of items that ended in a second, over the whole run."""
        return self.items / self.wall_s


def loop(items: int, *, with_outputs: bool = False) -> Workload:
    """Return a run of one step with that many items.

    With outputs, each job returns a number, and the step gathers them as the run reads them.
    """
    step = {
        "id": "train",
        "forEach": f"${{{{ range({items}) }}}}",
        "task": {"imageUri": "image", "args": {"shard": "${{ item }}"}},
        **({"outputs": {"auc": "number"}} if with_outputs else {}),
    }
    run = {"outputs": {"count": "${{ len(steps.train.outputs.auc) }}"}} if with_outputs else {}
    return Workload(
        name="items",
        title=f"{items:,} items{', with outputs' if with_outputs else ''}",
        definition=json.dumps({"name": "bench", "steps": [step], **run}),
        jobs=items,
        large=True,
    )


def measure(bench: Bench, servers: Servers, *, with_outputs: bool) -> Looped:
    """Run the workload on a platform that has done nothing else, as the memory is that of its processes so far."""
    workload = loop(ITEMS, with_outputs=with_outputs)
    servers.set_job(outputs={"auc": 0.5} if with_outputs else None)
    sample = bench.sample(workload)
    peaks = processes.peak_mb(processes.by_part())
    return Looped(
        title=workload.title,
        items=workload.steps,
        wall_s=sample.wall_s,
        counts=sample.counts,
        peak_mb={
            part: peaks[part] for part in (PartName.START, PartName.DISPATCHER, PartName.CHECKER) if part in peaks
        },
    )
