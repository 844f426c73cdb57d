"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atom_workflows.core.durations import DURATION_PATTERN, format_duration, parse_duration, respell_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("2.5s", 2.5), ("0s", 0)),
        *(("90m", 5400), ("1w", 604_800), ("1w1d", 691_200), ("1.5h", 5400), ("1d 1.5h", 91_800), ("0.1m", 6)),
        *(("500ms", 0.5), ("0.5ms", 0.0005), ("1s500ms", 1.5), ("1h 30m", 5400), ("1h  30m", 5400)),
        *(("0.000001w", 0.6048), ("0.000001s", 0.000001)),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    """A duration's parts add up, from weeks to milliseconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "30", "s", "30m1h", "-5s", "5 m", "\u0661s", "1s\n", "9" * 20 + "d", "1h 30m ", " 1h", "1h,30m"),
        *(
            "1.5h30m",
            "1.5h 30m",
            "1h1h",
            "0.0001ms",
            "90sec",
            "60min",
            "PT1H30M",
            "2H",
            "1M",
            "1y",
            "1e3s",
            ".5h",
            "1.h",
        ),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A text that is no duration is refused with an example."""
    with pytest.raises(ValueError, match="30s"):
        parse_duration(text)
    assert not re.search(DURATION_PATTERN.replace("$", r"\Z"), text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *(("90sec", "90s"), ("60min", "60m"), ("PT1H30M", "1h30m"), ("pt0.5s", "0.5s"), ("P1W", "1w"), ("2H", "2h")),
        *(
            ("P1DT12H", "1d12h"),
            ("10 minutes", "10m"),
            ("2 hours and 5 min", "2h5m"),
            ("5 m", "5m"),
            ("30m1h", "1h30m"),
        ),
        *(("1 Hour, 3 secs", "1h3s"), (" 5m ", "5m"), ("100 msec", "100ms")),
        *((text, None) for text in ("", "30", "P", "PT", "1y", "2 months", "1h1h", "1 hour 1h", "x" * 99, "5m?")),
    ],
)
def test_what_other_systems_write_is_spelt_right(text: str, right: str | None) -> None:
    """Other systems' spellings are refused with the right one, if they are clear."""
    assert respell_duration(text) == right
    if right:
        with pytest.raises(ValueError, match=f"write {right}$"):
            parse_duration(text)
        assert parse_duration(right)


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
