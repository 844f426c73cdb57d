"""`python -m simulation.mutants`: check that the simulation finds every planted bug."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain

from atom_workflows.closed_pipe import exit_with
from simulation.arguments import INTERRUPTED, at_least_one
from simulation.campaign import begin_worker
from simulation.drawing import draw
from simulation.findings import Finding
from simulation.mutations import BY_NAME, MUTATIONS, Mutation
from simulation.play import play


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """The search for one planted bug: the seed that found it, if one did, and how many were played."""

    mutation: str
    played: int
    seed: int | None = None
    finding: Finding | None = None


def hunt(mutation: Mutation, seeds: int, *, known_first: bool = True, sound: Container[int] = ()) -> Hunt:
    """Play seeds with the bug until one breaks a rule.

    A seed that breaks a rule without the bug, too, does not count; of those in `sound` it is known that they do not.
    """
    known = [mutation.seed] if known_first else []
    for played, seed in enumerate(chain(known, range(seeds)), start=1):
        with mutation.planted():
            findings = play(draw(seed)).findings
        if findings and (seed in sound or is_sound(seed)):
            return Hunt(mutation=mutation.name, played=played, seed=seed, finding=findings[0])
    return Hunt(mutation=mutation.name, played=seeds)


@cache
def is_sound(seed: int) -> bool:
    """Return True if a seed breaks no rule without a bug. Many bugs are found by the same seeds."""
    return not play(draw(seed)).findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all planted bugs from the first seed on.

    Returns 1 if one got away.
    """
    parser = argparse.ArgumentParser(prog="simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=at_least_one, default=2000, help="how many to play at the most (default: 2000)")
    parser.add_argument(
        "--processes", type=at_least_one, default=os.cpu_count() or 1, help="at a time (default: one a core)"
    )
    parser.add_argument("--only", choices=BY_NAME, metavar="BUG", help="one of them")
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else [mutation.name for mutation in MUTATIONS]
    escaped = 0
    for done in _hunts(names, options.seeds, options.processes):
        escaped += done.finding is None
        sys.stdout.write(f"{_result_line(done)}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(names) - escaped} of {len(names)} planted bugs found\n")
    return bool(escaped)


def _hunts(names: Sequence[str], seeds: int, processes: int) -> Iterator[Hunt]:
    with multiprocessing.get_context("spawn").Pool(processes, initializer=begin_worker) as pool:
        yield from pool.imap_unordered(partial(_hunt_by_name, seeds=seeds), names)


def _hunt_by_name(name: str, seeds: int) -> Hunt:
    return hunt(BY_NAME[name], seeds, known_first=False)


def _result_line(done: Hunt) -> str:
    if done.finding is None:
        return f"NOT FOUND in {done.played} seeds: {done.mutation}"
    return f"{done.mutation:<42} seed {done.seed:<5} {done.finding.rule.name:<12} {done.finding.text[:110]}"


if __name__ == "__main__":
    try:
        exit_with(main)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
