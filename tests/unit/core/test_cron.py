"""The instants of cron expressions, hour by hour on the nights when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from atom_workflows.core.cron import Calendar, read_cron
from atom_workflows.errors import CronError

ZONES = ("America/New_York", "Europe/Paris", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
NIGHTS = {
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Europe/Paris": ("2026-03-29", "2026-10-25"),
    "Australia/Lord_Howe": ("2026-10-04", "2026-04-05"),
    "Asia/Kathmandu": ("2026-03-29", "2026-10-25"),
    "UTC": ("2026-03-29", "2026-10-25"),
}
"""The nights on which clocks go forward and back, if they do."""

_DAY = timedelta(days=1)
ALL_HOURS = tuple(f"{hour:02}:00" for hour in range(7))


def shown(cron: str, zone: str, day: str, *, until: str = "06:00") -> list[str]:
    """Return the local times of a night's instants, with the offset where it is not that of the evening before."""
    local = ZoneInfo(zone)
    begin = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=local)
    end = datetime.fromisoformat(f"{day}T{until}").replace(tzinfo=local)
    found = list[str]()
    for instant in Calendar(cron=cron, zone=zone).upcoming(begin.astimezone(UTC) - timedelta(seconds=1)):
        if instant > end.astimezone(UTC):
            return found
        at = instant.astimezone(local)
        found.append(f"{at:%H:%M}" + ("" if at.utcoffset() == begin.utcoffset() else "'"))
    return found


@pytest.mark.parametrize(
    ("zone", "forward", "back"),
    [
        (
            "America/New_York",
            ["00:00", "01:00", "03:00'", "04:00'", "05:00'", "06:00'"],
            ["00:00", "01:00", "01:00'", "02:00'", "03:00'", "04:00'", "05:00'", "06:00'"],
        ),
        (
            "Europe/Paris",
            ["00:00", "01:00", "03:00'", "04:00'", "05:00'", "06:00'"],
            ["00:00", "01:00", "02:00", "02:00'", "03:00'", "04:00'", "05:00'", "06:00'"],
        ),
        (
            "Australia/Lord_Howe",
            ["00:00", "01:00", "03:00'", "04:00'", "05:00'", "06:00'"],
            ["00:00", "01:00", "02:00'", "03:00'", "04:00'", "05:00'", "06:00'"],
        ),
        ("Asia/Kathmandu", list(ALL_HOURS), list(ALL_HOURS)),
        ("UTC", list(ALL_HOURS), list(ALL_HOURS)),
    ],
)
def test_hourly_means_hourly(zone: str, forward: list[str], back: list[str]) -> None:
    """With a wildcard in the hours, each real hour counts: none is run twice, and none is left out."""
    assert shown("0 * * * *", zone, NIGHTS[zone][0]) == forward
    assert shown("0 * * * *", zone, NIGHTS[zone][1]) == back


@pytest.mark.parametrize(
    ("zone", "minute", "forward", "back"),
    [
        (
            "America/New_York",
            30,
            {0: "00:30", 1: "01:30", 2: "03:00'", 3: "03:30'", 4: "04:30'", 5: "05:30'"},
            {0: "00:30", 1: "01:30", 2: "02:30'", 3: "03:30'", 4: "04:30'", 5: "05:30'"},
        ),
        (
            "Europe/Paris",
            30,
            {0: "00:30", 1: "01:30", 2: "03:00'", 3: "03:30'", 4: "04:30'", 5: "05:30'"},
            {0: "00:30", 1: "01:30", 2: "02:30", 3: "03:30'", 4: "04:30'", 5: "05:30'"},
        ),
        (
            "Australia/Lord_Howe",
            15,
            {0: "00:15", 1: "01:15", 2: "02:30'", 3: "03:15'", 4: "04:15'", 5: "05:15'"},
            {0: "00:15", 1: "01:15", 2: "02:15'", 3: "03:15'", 4: "04:15'", 5: "05:15'"},
        ),
        (
            "Australia/Lord_Howe",
            45,
            {0: "00:45", 1: "01:45", 2: "02:45'", 3: "03:45'", 4: "04:45'", 5: "05:45'"},
            {0: "00:45", 1: "01:45", 2: "02:45'", 3: "03:45'", 4: "04:45'", 5: "05:45'"},
        ),
        ("Asia/Kathmandu", 30, {hour: f"{hour:02}:30" for hour in range(6)}, {h: f"{h:02}:30" for h in range(6)}),
        ("UTC", 30, {hour: f"{hour:02}:30" for hour in range(6)}, {h: f"{h:02}:30" for h in range(6)}),
    ],
)
def test_a_fixed_time_runs_once_a_night(zone: str, minute: int, forward: dict[int, str], back: dict[int, str]) -> None:
    """A fixed time in each hour of both nights runs once: after the gap, and the first of two times."""
    for night, expected in zip(NIGHTS[zone], (forward, back), strict=True):
        for hour, at in expected.items():
            assert shown(f"{minute} {hour} * * *", zone, night) == [at]


def test_times_in_a_gap_run_once_together() -> None:
    """Several fixed times of one schedule that fall into a gap are one instant."""
    assert shown("0,30 2,3 * * *", "America/New_York", "2026-03-08") == ["03:00'", "03:30'"]


@pytest.mark.parametrize("zone", [*ZONES, "America/Havana", "Africa/Cairo", "Asia/Beirut", "America/Santiago"])
@pytest.mark.parametrize(
    "cron", ["*/30 * * * *", "*/20 5 * * *", "7 */3 * * *", "*/15 0 * * *", "*/30 1-3 * 3,4,10,11 0", "*/10 2 1-8 * *"]
)
def test_real_time_agrees_with_looking_at_every_minute(zone: str, cron: str) -> None:
    """With a wildcard, the instants are exactly those minutes at which the clocks of the zone match."""
    calendar, local = Calendar(cron=cron, zone=zone), ZoneInfo(zone)
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(365)]
    changes = [day for day in days if day.astimezone(local).utcoffset() != (day + _DAY).astimezone(local).utcoffset()]
    for begin in changes or days[:1]:
        wanted = set[datetime]()
        for wall in Calendar(cron=cron, zone="UTC").upcoming(begin - 2 * _DAY):
            if wall > begin + 4 * _DAY:
                break
            wanted.add(wall.replace(tzinfo=None))
        minutes = [begin + timedelta(minutes=number) for number in range(1, 2 * 24 * 60)]
        expected = [one for one in minutes if one.astimezone(local).replace(tzinfo=None, fold=0) in wanted]
        found = []
        for instant in calendar.upcoming(begin):
            if instant > minutes[-1]:
                break
            found.append(instant)
        assert found == expected


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["*/7 * * * *", "30 2 * * *", "0 9 * * 1-5", "15 2 1 * *", "0 0 29 2 *"])
def test_looking_back_agrees_with_looking_forward(zone: str, cron: str) -> None:
    """The last instant up to a time is the one after which the next instant is later than that time."""
    calendar = Calendar(cron=cron, zone=zone)
    for month in range(1, 13):
        at = datetime(2026, month, 7, 14, 11, 12, tzinfo=UTC)
        last = calendar.until(at)
        assert last is not None
        assert last <= at
        following = calendar.after(last)
        assert following is not None
        assert following > at
        assert calendar.until(last) == last
        assert calendar.before(last) == calendar.until(last - timedelta(seconds=1))


def test_a_search_that_begins_in_the_second_hour_does_not_go_back() -> None:
    """After the first of two equal times has run, the next instant is on the following day."""
    calendar = Calendar(cron="30 1 * * *", zone="America/New_York")
    within_second_hour = datetime(2026, 11, 1, 6, 15, tzinfo=UTC)
    assert calendar.after(within_second_hour) == datetime(2026, 11, 2, 6, 30, tzinfo=UTC)


def test_the_last_day_of_a_month_can_be_named() -> None:
    """`L` is the last day of each month."""
    calendar = Calendar(cron=read_cron("0 6 L * *"), zone="UTC")
    assert calendar.after(datetime(2026, 2, 1, tzinfo=UTC)) == datetime(2026, 2, 28, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("0 0 31 2 *", "never fires: there is no such date; change the day of the month or the month"),
        ("0 0 30 2 *", "never fires: there is no such date; change the day of the month or the month"),
        ("31 2", "has 2 fields, not five: minute, hour, day, month and weekday; such as `30 2 * * 1-5`"),
        ("0 30 2 * * *", "has 6 fields, not five: minute, hour, day, month and weekday; leave out the seconds"),
        ("@daily", "is `@daily`, not five fields; write `0 0 * * *`"),
        ("@nightly", "is `@nightly`, not five fields; write `0 0 * * *`"),
        ("@reboot", "is `@reboot`, not five fields; such as `30 2 * * 1-5`"),
        ("61 * * * *", "cannot have `61` as its minute; write 0 to 59, or `*`"),
        ("0 24 * * *", "cannot have `24` as its hour; write 0 to 23, or `*`"),
        ("0 0 0 * *", "cannot have `0` as its day of the month; write 1 to 31, or `*`"),
        ("0 0 * 13 *", "cannot have `13` as its month; write 1 to 12 or JAN to DEC, or `*`"),
        ("0 0 * * MUN", "cannot have `MUN` as its weekday; write 0 to 7 or SUN to SAT, or `*`"),
        ("*/0 * * * *", "cannot have `*/0` as its minute; write 0 to 59, or `*`"),
        ("1" * 201, "is longer than 200 characters; write several schedules"),
        ("9" * 150 + " * * * *", "cannot have `" + "9" * 40 + "` as its minute; write 0 to 59, or `*`"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said(cron: str, problem: str) -> None:
    """An expression that cannot be used, or that never fires, is refused with the reason and advice."""
    with pytest.raises(CronError) as refused:
        read_cron(cron)
    assert str(refused.value) == problem


def test_a_rare_date_is_found() -> None:
    """The 29th of February is not a date that never comes."""
    calendar = Calendar(cron=read_cron("  0 0   29 2 * "), zone="UTC")
    assert calendar.after(datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2028, 2, 29, tzinfo=UTC)
