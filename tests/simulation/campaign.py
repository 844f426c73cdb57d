"""Many simulations on all cores, and their results."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from simulation.drawing import draw
from simulation.faults import Fault
from simulation.findings import Finding
from simulation.play import play
from simulation.repairs import Repair

_CHUNK: Final = 10

ENOUGH: Final = 1_200
"""Seeds that meet every kind of fault and of repair."""

EVERY_BUILD: Final = (*range(240), 331)
"""Seeds that meet them, too, the rarest kinds at least twice; every build plays them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The result of one simulation, run by run; without a finding it went as it should."""

    seed: int
    ended: tuple[str, ...]
    steps: int
    simulated_s: float
    struck: Counter[Fault]
    repairs: Counter[Repair]
    mixed_pages: int
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Tally:
    """The sum of many results."""

    played: int = 0
    with_several: int = 0
    mixed_pages: int = 0
    steps: int = 0
    simulated_s: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    struck: Counter[Fault] = field(default_factory=Counter)
    repairs: Counter[Repair] = field(default_factory=Counter)
    failed: list[Played] = field(default_factory=list)

    def add(self, one: Played) -> None:
        """Count one more result."""
        self.played += 1
        self.steps += one.steps
        self.simulated_s += one.simulated_s
        self.with_several += len(one.ended) > 1
        self.mixed_pages += one.mixed_pages
        self.ended.update(one.ended)
        self.struck.update(one.struck)
        self.repairs.update(one.repairs)
        if one.findings:
            self.failed.append(one)

    @property
    def never_struck(self) -> list[Fault]:
        """The kinds of faults that were not tried."""
        return [kind for kind in Fault if not self.struck[kind]]

    @property
    def never_repaired(self) -> list[Repair]:
        """The kinds of repairs that were not needed."""
        return [kind for kind in Repair if not self.repairs[kind]]

    @property
    def is_good(self) -> bool:
        """True if no rule was broken, and everything was tried that so many seeds should try."""
        return not self.failed and (self.played < ENOUGH or not (self.never_struck or self.never_repaired))


def quiet() -> None:
    """Disable logging.

    No one reads what thousands of runs would log.
    """
    logging.disable(logging.CRITICAL)


def begin_worker() -> None:
    """Prepare a worker process.

    An interrupt reaches the parent, too, which ends its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet()


def play_seed(seed: int) -> Played:
    """Play what a seed means."""
    one = play(draw(seed))
    runs = [flow.watch.run for flow in one.flows]
    return Played(
        seed=seed,
        ended=tuple("NONE" if run is None else run.state.value for run in runs),
        steps=len(one.drawn.names),
        simulated_s=one.scheduler.now,
        struck=one.faults.struck,
        repairs=one.repairs.counts,
        mixed_pages=one.repairs.mixed_pages,
        findings=tuple(one.findings),
    )


def play_all(seeds: Sequence[int], processes: int) -> Iterator[Played]:
    """Yield the result of each seed, in any order."""
    if processes == 1:
        yield from map(play_seed, seeds)
        return
    # A fresh interpreter each, whatever threads this one has.
    with multiprocessing.get_context("spawn").Pool(processes, initializer=begin_worker) as pool:
        yield from pool.imap_unordered(play_seed, seeds, chunksize=_CHUNK)
