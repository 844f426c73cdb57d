"""What a person reads of simulations."""

from __future__ import annotations

from collections.abc import Iterator

from simulation.campaign import Played, Tally
from simulation.drawing import Drawn
from simulation.faults import Fault
from simulation.play import Play
from simulation.shrink import command


def summary(tally: Tally, took_s: float) -> Iterator[str]:
    """What many simulations came to."""
    days = tally.simulated_s / 86_400
    yield f"{tally.played} simulations, {tally.steps} steps, {days:.1f} simulated days in {took_s:.0f} s"
    yield "runs ended: " + ", ".join(f"{count} {state}" for state, count in tally.ended.most_common())
    yield "faults injected:"
    for kind in Fault:
        yield f"  {tally.struck[kind]:7} {kind}"
    if tally.never_struck:
        yield "never injected: " + ", ".join(kind.name for kind in tally.never_struck)
    yield f"failed: {len(tally.failed)}"


def failure(one: Played) -> Iterator[str]:
    """What one failing simulation found."""
    yield f"seed {one.seed} ({one.steps} steps):"
    for finding in one.findings:
        yield f"  {finding}"
    yield f"  again, with its trace: make simulate SEED={one.seed}"


def shrunk(drawn: Drawn) -> Iterator[str]:
    """How small it gets."""
    yield f"  shrunk to {len(drawn.scenario.steps)} steps, {len(drawn.weather.odds)} kinds of faults: {command(drawn)}"


def story(one: Play) -> Iterator[str]:
    """One simulation from its beginning to its end."""
    scenario = one.drawn.scenario
    for step in scenario.steps:
        needs = ", ".join(step.depends_on) or "nothing"
        ends = " then ".join(step.endings) if step.has_task else "has no task"
        yield f"{step.id}: needs {needs}; {ends}; {step.duration_s} s, {step.max_attempts} tries, lost: {step.on_lost}"
    yield f"timeout {scenario.timeout_s} s, {scenario.cancels} cancels, {scenario.retries} retries"
    yield ", ".join(f"{kind.name} {odds:g}" for kind, odds in one.drawn.weather.odds.items()) or "no faults"
    yield f"{one.drawn.limits}"
    yield from one.trace.lines()
    yield from map(str, one.watch.findings)
    yield command(one.drawn)
