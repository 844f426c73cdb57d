"""A step's policies: what it says itself, else what the file's defaults say, else the built-in values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.workflow import DEFAULT_STEP_TIMEOUT, Backoff, OnLost, RetryPolicy
from atom_workflows.language.problems import Report
from atom_workflows.language.readings import Reading

_BUILT_IN: Final = Backoff()


def retry_policy(step: Reading, defaults: Reading | None) -> RetryPolicy:
    """How often the step is tried, and when."""
    own, common = _inside(step, "retry"), _inside(defaults, "retry")
    tries = own.get("maxAttempts", common.get("maxAttempts", RetryPolicy().max_attempts))
    return RetryPolicy(max_attempts=tries, backoff=backoff(step, defaults))


def backoff(step: Reading | None, defaults: Reading | None) -> Backoff:
    """The step's back-off, each of its fields from the nearest place that has it."""
    merged = _inside(defaults, "retry", "backoff") | _inside(step, "retry", "backoff")
    return Backoff(
        initial=merged.get("initial", _BUILT_IN.initial),
        factor=float(merged.get("factor", _BUILT_IN.factor)),
        maximum=merged.get("max", _BUILT_IN.maximum),
        jitter=float(merged.get("jitter", _BUILT_IN.jitter)),
    )


def other_policies(step: Reading, defaults: Reading | None) -> dict[str, Any]:
    """The policies of a single value, as keyword arguments of a `Step`."""
    merged = _inside(defaults) | _inside(step)
    return {
        "timeout": merged.get("timeout", DEFAULT_STEP_TIMEOUT),
        "on_lost": OnLost(merged.get("onLost", OnLost.RETRY)),
    }


def check_backoffs(steps: Sequence[Reading], defaults: Reading | None, report: Report) -> None:
    """Note each place where the longest delay is shorter than the first, counting what was inherited."""
    if defaults:
        _check_backoff(defaults, None, report)
    for step in steps:
        _check_backoff(step, defaults, report)


def _check_backoff(reading: Reading, inherited: Reading | None, report: Report) -> None:
    own, merged = _inside(reading, "retry", "backoff"), backoff(reading, inherited)
    given = own.keys() & {"initial", "max"}
    if merged.maximum >= merged.initial or not given:
        return
    # The other may be among what was complained about, and is not known then.
    if len(given) == 1 and (_is_flawed(reading) or _is_flawed(inherited)):
        return
    blamed = "max" if "max" in own else "initial"
    first, longest = format_duration(merged.initial), format_duration(merged.maximum)
    said = f"the first delay `initial` of {first} is longer than the longest, `max` of {longest}"
    report.add(reading.at("retry", "backoff", blamed), said, f"write a `max` of at least {first} here")


def _is_flawed(policies: Reading | None) -> bool:
    """Return True if anything in the retry policy was complained about."""
    for name in ("retry", "backoff"):
        node = policies.node.get(name) if policies else None
        policies = policies.values.get(name) if policies else None
        if node is not None and (policies is None or policies.values.keys() != policies.node.entries.keys()):
            return True
    return False


def _inside(reading: Reading | None, *path: str) -> dict[str, Any]:
    """The good values of a map within a map, empty if there is none."""
    for name in path:
        reading = reading.values.get(name) if reading else None
    return reading.values if reading else {}
