"""`python -m simulation`: play many seeds and report, or one seed and tell its story."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence

from simulation import report
from simulation.campaign import Tally, play_all, quiet
from simulation.drawing import draw
from simulation.drawn import NONE, Cut
from simulation.faults import Fault, Strike
from simulation.play import play
from simulation.shrink import shrink


def main(arguments: Sequence[str] | None = None) -> int:
    """Play; 1 if a rule was broken or a kind of fault was never injected."""
    options = _options(arguments)
    quiet()
    return _one(options) if options.seed is not None else _many(options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument("--first", type=int, default=0, help="the first (default: 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at a time (default: one a core)")
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--schedule", type=int, default=0, help="of that seed: another order of things")
    parser.add_argument("--only", type=_names, help="of that seed: these steps alone")
    parser.add_argument("--without", type=_faults, default=frozenset(), help="of that seed: not these kinds of faults")
    parser.add_argument("--strikes", type=_strikes, help="of that seed: these faults alone, each KIND:occasion")
    parser.add_argument("--plain", type=_names, default=frozenset(), help="of that seed: this made simpler")
    return parser.parse_args(arguments)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def _faults(text: str) -> frozenset[Fault]:
    return frozenset(Fault[name] for name in text.split(","))


def _strikes(text: str) -> frozenset[Strike]:
    return frozenset() if text == NONE else frozenset(Strike.read(one) for one in text.split(","))


def _one(options: argparse.Namespace) -> int:
    cut = Cut(
        schedule=options.schedule,
        only=options.only,
        without=options.without,
        strikes=options.strikes,
        plain=options.plain,
    )
    one = play(draw(options.seed, cut))
    _tell(report.story(one))
    return bool(one.findings)


def _many(options: argparse.Namespace) -> int:
    tally, began = Tally(), time.monotonic()
    for one in play_all(range(options.first, options.first + options.seeds), options.processes):
        tally.add(one)
        if one.findings:
            _tell(report.failure(one))
    _tell(report.summary(tally, time.monotonic() - began))
    if tally.failed:
        smallest = min(tally.failed, key=lambda one: one.steps)
        _tell(report.failure(smallest))
        _tell(report.shrunk(shrink(draw(smallest.seed), smallest.findings[0].rule)))
    return bool(tally.failed or tally.never_struck or tally.never_repaired)


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
