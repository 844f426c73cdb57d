"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atom_workflows.core.durations import DURATION_PATTERN, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("2.5s", 2.5), ("0s", 0), ("90m", 5400)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    """Days, hours, minutes and seconds add up."""
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "1.5h", "30m1h", "-5s", "1h 30m", "5 m", "1w", "\u0661s", "1s\n", "9" * 20 + "d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A number without a unit, units out of order and unknown units are errors that say what to write."""
    with pytest.raises(ValueError, match="30s"):
        parse_duration(text)
    assert not re.search(DURATION_PATTERN.replace("$", r"\Z"), text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (30, "30s"), (5400, "1h30m"), (86400, "1d"), (2.5, "2.5s"), (90061, "1d1h1m1s")]
)
def test_a_duration_is_written_with_the_largest_units(seconds: float, text: str) -> None:
    """Units that would count zero are left out."""
    assert format_duration(timedelta(seconds=seconds)) == text


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=365)))
def test_what_is_written_is_read_again(duration: timedelta) -> None:
    """Writing and reading a duration loses nothing, down to the microsecond."""
    assert parse_duration(format_duration(duration)) == duration


def test_a_negative_duration_cannot_be_written() -> None:
    """Only what can be read is written."""
    with pytest.raises(ValueError, match="negative"):
        format_duration(timedelta(seconds=-1))
