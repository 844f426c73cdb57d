"""The values of a script's fields: each function converts one, or raises a ValueError that says what is expected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from atom_emulator.task_runner.script import FOREVER, TERMINAL_STATES, Fault, FaultKind, Loss, Stop
from atom_workflows.core.durations import parse_duration
from atom_workflows.core.outputs import MAX_REASON_LENGTH

GARBAGE: Final = frozenset({FaultKind.HTML, FaultKind.NOT_JSON, FaultKind.EMPTY, FaultKind.WRONG_SHAPE})

_METHOD_NOT_ALLOWED: Final = 405


def parse_text(value: Any) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text")
    return value


def parse_flag(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 - one kind of error for every check
    return value


def parse_seconds(value: Any) -> float:
    """Return a time in seconds, which may also be written as a duration, such as 1m30s."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = parse_duration(value).total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("expected seconds, 0 or more")
    return float(value)


def parse_count(value: Any) -> int:
    """Return a whole number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def parse_list(value: Any) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list):
        raise ValueError("expected a list")  # noqa: TRY004 - one kind of error for every check
    return value


def parse_labels(value: Any) -> dict[str, str]:
    """Return a mapping of strings."""
    if not isinstance(value, dict) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise ValueError("expected a mapping of strings")
    return value


def parse_states(value: Any) -> tuple[str, ...]:
    """Return the states that a job reports, in order."""
    states = tuple(parse_text(state) for state in parse_list(value))
    if not states or any(state in TERMINAL_STATES for state in states[:-1]):
        raise ValueError("expected a list of states, of which only the last may be terminal")
    return states


def parse_outputs(value: Any) -> tuple[Mapping[str, Any] | None, ...]:
    """Return the outputs of each attempt.

    They may break the limits of the contract, to show the consequences.
    """
    entries = value if isinstance(value, list) else [value]
    expected = "expected a mapping of JSON values, or a list of them, one for each attempt"
    if not entries or value is None or not all(isinstance(entry, dict | None) for entry in entries):
        raise ValueError(expected)
    try:
        is_json = json.loads(json.dumps(entries, allow_nan=False)) == entries
    except (TypeError, ValueError):
        is_json = False
    if not is_json:
        raise ValueError(f"{expected}; put dates, and names that are not strings, in quotes")
    return tuple(entries)


def parse_reasons(value: Any) -> tuple[str | None, ...]:
    """Return the reason of each attempt."""
    entries = value if isinstance(value, list) else [value]
    are_valid = all(
        entry is None
        or (isinstance(entry, str) and len(entry.splitlines()) == 1 and 0 < len(entry.strip()) <= MAX_REASON_LENGTH)
        for entry in entries
    )
    if not entries or value is None or not are_valid:
        raise ValueError(
            f"expected one line of text of at most {MAX_REASON_LENGTH} characters, or a list of them, one for each "
            "attempt"
        )
    return tuple(entries)


def parse_garbage(value: Any) -> FaultKind:
    """Return the way in which an answer is garbage."""
    if not isinstance(value, str) or value not in GARBAGE:
        raise ValueError(f"expected one of {', '.join(sorted(GARBAGE))}")
    return FaultKind(value)


def parse_loss(value: Any) -> Loss:
    """Return which jobs are lost."""
    if isinstance(value, bool):
        return Loss.ALWAYS if value else Loss.NEVER
    if value not in tuple(Loss):
        raise ValueError(f"expected one of {', '.join(Loss)}")
    return Loss(value)


def parse_stop(value: Any) -> Stop:
    """Return what a job does when it is asked to stop."""
    if value == "ignore":
        return Stop(ignored=True)
    if isinstance(value, dict) and value.keys() == {"after"}:
        return Stop(after_s=parse_seconds(value["after"]))
    if value != "cannot" and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError("expected {after: 2}, ignore, cannot, or an HTTP status")
    status = _METHOD_NOT_ALLOWED if value == "cannot" else parse_http_status(value)
    return Stop(fault=Fault(status=status, times=FOREVER, accepted=status < 300))  # noqa: PLR2004 - 2xx: carried out


def parse_http_status(value: Any) -> int:
    """Return the HTTP status of an answer."""
    status = parse_count(value)
    if not 200 <= status <= 599:  # noqa: PLR2004 - the range of HTTP's final answers
        raise ValueError("expected an HTTP status from 200 to 599")
    return status


def parse_times(value: Any) -> int:
    """Return how many calls in a row a fault spoils."""
    return FOREVER if value == "forever" else max(1, parse_count(value))
