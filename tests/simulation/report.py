"""Reports of simulations, for people."""

from __future__ import annotations

from collections.abc import Iterator

from simulation.campaign import ENOUGH, Played, Tally
from simulation.faults import Fault
from simulation.play import Play
from simulation.repairs import Repair
from simulation.scenario import Scenario, StepPlan


def summary(tally: Tally, took_s: float) -> Iterator[str]:
    """Yield the results of many simulations."""
    days = tally.simulated_s / 86_400
    yield f"{tally.played} simulations, {tally.steps} steps, {days:.1f} simulated days in {took_s:.0f} s"
    yield f"{tally.with_several} of them with several runs at the same time"
    yield f"pages of due steps that mix runs: {tally.mixed_pages}"
    yield "runs ended: " + ", ".join(f"{count} {state}" for state, count in tally.ended.most_common())
    yield "faults injected:"
    for kind in Fault:
        yield f"  {tally.struck[kind]:7} {kind}"
    yield "repairs:"
    for repair in Repair:
        yield f"  {tally.repairs[repair]:7} {repair}"
    if tally.never_struck:
        yield "never injected: " + ", ".join(kind.name for kind in tally.never_struck)
    if tally.never_repaired:
        yield "never repaired: " + ", ".join(kind.name for kind in tally.never_repaired)
    if tally.never_struck or tally.never_repaired:
        yield _what_lacks(tally.played)
    yield f"failed: {len(tally.failed)}"


def _what_lacks(played: int) -> str:
    """Explain what it means that something was never tried."""
    if played < ENOUGH:
        return (
            f"{played:,} seeds are too few to meet every kind of fault and repair: what was never met was not tried. "
            f"SEEDS={ENOUGH} is enough, and what make simulate plays"
        )
    return (
        f"{ENOUGH:,} seeds should meet every kind of fault and repair: those that were never met are not drawn, or not "
        "counted, any more"
    )


def failure(one: Played) -> Iterator[str]:
    """Yield what one failing simulation found."""
    yield f"seed {one.seed} ({one.steps} steps):"
    for finding in one.findings:
        yield f"  {finding}"
    yield f"  again, with its trace: make simulate SEED={one.seed}"


def shrunk(one: Play) -> Iterator[str]:
    """Yield the size of the shrunk simulation and its command."""
    drawn = one.drawn
    steps, strikes = len(drawn.names), len(one.faults.log)
    yield f"  shrunk to {steps} steps, {strikes} strikes of faults: {drawn.command}"


def story(one: Play) -> Iterator[str]:
    """Yield one simulation from its beginning to its end."""
    for scenario in one.drawn.scenarios:
        yield from _plot(scenario)
    yield ", ".join(f"{kind.name} {odds:g}" for kind, odds in one.drawn.weather.odds.items()) or "no faults"
    yield f"{one.drawn.limits}"
    yield from one.trace.lines()
    yield from map(str, one.findings)
    yield "faults: " + (",".join(map(str, one.faults.log)) or "none")
    yield one.drawn.command


def _plot(scenario: Scenario) -> Iterator[str]:
    for step in scenario.all_steps:
        needs = ", ".join(step.depends_on) or "nothing"
        ends = " then ".join(step.endings) if step.has_task else "has no task"
        policy = f"{step.duration_s} s, {step.max_attempts} tries, lost: {step.on_lost}"
        phase = "under finally, " if step.id in scenario.finally_ids else ""
        yield f"{scenario.mark}{step.id}: {phase}needs {needs}; {ends}; {policy}"
        if not step.is_plain:
            yield f"  {'; '.join(_language(step))}"
    source = "a file" if scenario.is_file else "its message"
    asked = f"{scenario.cancels} cancels, {scenario.retries} retries, {scenario.doctors} doctors"
    yield f"{scenario.name}: from {source} at {scenario.starts_at:.0f} s; timeout {scenario.timeout_s} s, {asked}"
    if not scenario.is_plain:
        at_once = ", cancels at once" if scenario.cancels_at_once else ""
        outputs = ", ".join(f"{name} = {value}" for name, value in scenario.outputs) or "none"
        mode = f"mode {scenario.mode or 'not declared'}"
        yield f"  {mode}; {scenario.finally_timeout_s} s for finally{at_once}; outputs: {outputs}"


def _language(step: StepPlan) -> Iterator[str]:
    yield f"trigger {step.trigger}"
    if step.when is not None:
        yield f"when {step.when}"
    if step.loop is not None:
        yield str(step.loop)
        yield from (f"[{index}] {' then '.join(ends)}" for index, ends in enumerate(step.items_end))
    if step.allows_failure:
        yield "may fail"
    if step.retried is not None:
        yield f"retried when {step.retried}"
    if step.numbers:
        yield f"returns {' then '.join(map(str, step.numbers))}"
    if any(step.reasons):
        yield f"reasons {' then '.join(step.reasons)}"
    yield from (f"{name} = {value}" for name, value in step.args)
