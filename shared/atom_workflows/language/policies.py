"""The policies of steps.

A step's own values take precedence over the file's defaults, which take precedence over the built-in values.
"""

from __future__ import annotations

from typing import Any, Final

from atom_workflows.core.durations import format_duration
from atom_workflows.core.workflow import Backoff
from atom_workflows.language.nodes import Reading
from atom_workflows.language.problems import Report

_BUILT_IN: Final = Backoff()


def merge_backoff(step: Reading | None, defaults: Reading | None) -> Backoff:
    """Return the back-off, taking each field from its most specific source."""
    merged = inside(defaults, "retry", "backoff") | inside(step, "retry", "backoff")
    if not merged:
        return _BUILT_IN
    return Backoff(
        initial=merged.get("initial", _BUILT_IN.initial),
        factor=float(merged.get("factor", _BUILT_IN.factor)),
        maximum=merged.get("max", _BUILT_IN.maximum),
        jitter=float(merged.get("jitter", _BUILT_IN.jitter)),
    )


def check_backoff(reading: Reading, inherited: Reading | None, report: Report) -> None:
    """Report a back-off whose maximum delay is shorter than its first delay.

    Inherited values are checked as well.
    """
    own = inside(reading, "retry", "backoff")
    given = own.keys() & {"initial", "max"}
    if not given:
        return
    merged = merge_backoff(reading, inherited)
    if merged.maximum >= merged.initial:
        return
    # If the other value has been reported as invalid, it is not known.
    if len(given) == 1 and (_is_flawed(reading) or _is_flawed(inherited)):
        return
    blamed = "max" if "max" in own else "initial"
    first, longest = format_duration(merged.initial), format_duration(merged.maximum)
    said = f"the first delay (`initial`, {first}) is longer than the maximum delay (`max`, {longest})"
    report.add(reading.at("retry", "backoff", blamed), said, f"write a `max` of at least {first} here")


def _is_flawed(policies: Reading | None) -> bool:
    """Return True if anything in the retry policy is invalid."""
    for name in ("retry", "backoff"):
        node = policies.node.get(name) if policies else None
        policies = policies.values.get(name) if policies else None
        if node is not None and (policies is None or policies.values.keys() != policies.node.entries.keys()):
            return True
    return False


def inside(reading: Reading | None, *path: str) -> dict[str, Any]:
    """Return the valid values of a nested map, if any."""
    for name in path:
        reading = reading.values.get(name) if reading else None
    return reading.values if reading else {}
