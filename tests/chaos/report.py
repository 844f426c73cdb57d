"""The report of a storm, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from chaos.storm import ALL_ENDED_WITHIN_S, Result
from chaos.tally import Fault

_SERVERS = {"embedded": "the embedded servers", "google": "Google's emulators"}


def report(result: Result) -> Iterator[str]:
    """Yield the lines of the report."""
    plan, verdict = result.plan, result.verdict
    yield (
        f"chaos on {_SERVERS[plan.emulators]}: faults for {plan.seconds:g} s while {plan.runs} runs are in flight, "
        f"seed {plan.seed}; {result.took_s:.0f} s in all"
    )
    yield "what was done to it:"
    for fault in Fault:
        places = {where: count for (kind, where), count in sorted(result.counts.items()) if kind is fault}
        yield f"  {sum(places.values()):6} {fault}: {_listed(places)}"
    yield f"  {sum(result.revived.values()):6} parts replaced after that: {_listed(result.revived)}"
    yield "what the functions did about it:"
    for action, count in Counter(result.said).most_common():
        yield f"  {count:6} {action}"
    yield "what came of it:"
    yield f"  {result.started:6} runs started, of {result.steps} steps"
    yield f"  {result.fewest_in_flight:6} of them in flight when they were fewest"
    yield f"  {_well(result):6} runs ended as they should: {_listed(result.ended)}"
    yield f"  {verdict.given_up:6} steps with onLost: fail failed for a loss, as they should"
    yield f"  {verdict.submitted:6} attempts submitted, {verdict.in_the_storm} of them while faults went on"
    yield f"  {verdict.again.total():6} submissions again, with the same key:"
    for reason, count in verdict.again.most_common():
        yield f"           {count:4} because {reason}"
    yield f"  {verdict.twice:6} attempts that were given two jobs, as the Task Runner had forgotten the first"
    yield f"  {result.calm_s:6.1f} s after the faults the last run ended; {ALL_ENDED_WITHIN_S} s are the limit"
    yield f"  {len(result.problems):6} problems"
    yield from (f"  {problem}" for problem in result.problems)


def _well(result: Result) -> int:
    return result.started - len({problem.partition(" ")[0] for problem in result.verdict.findings})


def _listed(counts: object) -> str:
    assert isinstance(counts, dict | Counter)
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
