"""Virtual time: what happens beside each other, in which order, and how long it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

import pytest

from atom_emulator.testing.timeline import TimedCalls, TimedWorkers, Timeline
from atom_emulator.testing.world import START

MINUTE: Final = timedelta(minutes=1)


@pytest.fixture
def timeline() -> Iterator[Timeline]:
    """A timeline that leaves no thread behind."""
    timeline = Timeline()
    yield timeline
    timeline.close()


def seconds(moment: datetime) -> float:
    """How long after the beginning that is."""
    return (moment - START).total_seconds()


def test_invocations_take_turns_by_their_time(timeline: Timeline) -> None:
    """Of two that sleep, whoever wakes first goes on first, and both see the time at which they woke."""
    seen: list[tuple[str, float]] = []

    def sleep_twice(name: str, each_s: float) -> None:
        for _ in range(2):
            timeline.sleep(each_s)
            seen.append((name, seconds(timeline.now())))

    timeline.begin(lambda: sleep_twice("long", 3))
    timeline.begin(lambda: sleep_twice("short", 2))
    timeline.move(MINUTE)
    assert seen == [("short", 2), ("long", 3), ("short", 4), ("long", 6)]
    assert seconds(timeline.now()) == 60


def test_what_is_planned_comes_in_its_time(timeline: Timeline) -> None:
    """An act between two sleeps takes place between them, and what begins then is beside them."""
    seen: list[str] = []

    def work() -> None:
        timeline.sleep(10)
        seen.append("work")

    timeline.begin(work)
    timeline.at(START + timedelta(seconds=5), lambda: timeline.begin(lambda: seen.append("five")))
    timeline.at(START + timedelta(seconds=15), lambda: seen.append("fifteen"))
    timeline.move(MINUTE)
    assert seen == ["five", "work", "fifteen"]


def test_time_stops_where_it_is_told_to(timeline: Timeline) -> None:
    """A sleeper does not wake before the time until which is played, and goes on afterwards."""
    seen: list[float] = []

    def work() -> None:
        timeline.sleep(90)
        seen.append(seconds(timeline.now()))

    timeline.begin(work)
    timeline.move(MINUTE)
    assert (seen, seconds(timeline.now()), timeline.is_quiet) == ([], 60, False)
    timeline.move(MINUTE)
    assert (seen, seconds(timeline.now()), timeline.is_quiet) == ([90], 120, True)


def test_playing_ends_once_it_is_over(timeline: Timeline) -> None:
    """Whoever plays may stop at any event."""
    for at in range(1, 5):
        timeline.at(START + at * MINUTE, lambda: None)
    timeline.run(START + 10 * MINUTE, is_over=lambda: timeline.now() >= START + 2 * MINUTE)
    assert seconds(timeline.now()) == 120


def test_an_error_is_raised_where_time_is_let_pass(timeline: Timeline) -> None:
    """A defect of a handler fails the test that plays it."""

    def fail() -> None:
        timeline.sleep(1)
        raise ZeroDivisionError("a defect")

    timeline.begin(fail)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        timeline.move(MINUTE)


def test_closing_ends_whoever_sleeps() -> None:
    """No thread outlives its timeline, and what a handler does at its end is done."""
    before, ended = set(threading.enumerate()), []
    timeline = Timeline()

    def work() -> None:
        try:
            timeline.sleep(3600)
        finally:
            ended.append(True)

    for _ in range(3):
        timeline.begin(work)
    timeline.move(MINUTE)
    assert not ended
    timeline.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert (len(ended), set(threading.enumerate()) - before, timeline.is_quiet) == (3, set(), True)


# -- calls at the same time ------------------------------------------------------------------------------------------


def waves(timeline: Timeline, workers: TimedWorkers, call: Callable[[str], str], items: str) -> list[tuple[float, str]]:
    """When each wave came, and the answers of it."""
    calls = workers.calls(call, lane=lambda item: item.upper())
    calls.begin(items)
    seen = []
    while calls.pending:
        wave = calls.wave()
        seen.append((seconds(timeline.now()), "".join(sorted(answer for _, answer in wave))))
    return seen


def taking(timeline: Timeline, item: str) -> str:
    """A call that takes a second, or ten for `z`."""
    timeline.sleep(10 if item == "z" else 1)
    return item


def test_calls_at_the_same_time_take_as_long_as_one(timeline: Timeline) -> None:
    """All begin now, and a slow one delays the others only by the moment in which more could join their wave."""
    found = waves(timeline, TimedWorkers(timeline, 8), lambda item: taking(timeline, item), "aabz")
    assert found == [(1.05, "aab"), (10, "z")]


def test_so_many_calls_of_a_lane_are_made_at_a_time(timeline: Timeline) -> None:
    """The others of the lane begin when one has ended; other lanes do not wait."""
    found = waves(timeline, TimedWorkers(timeline, 2), lambda item: taking(timeline, item), "aaaab")
    assert found == [(1.05, "aab"), (2, "aa")]


def test_calls_begin_one_after_the_other(timeline: Timeline) -> None:
    """A processor makes one call at a time, and answers that come soon after the first join it."""
    workers = TimedWorkers(timeline, 8, spacing_s=0.03)
    assert waves(timeline, workers, lambda item: taking(timeline, item), "aaa") == [(1.05, "aa"), (1.06, "a")]


def test_a_wave_waits_no_longer_than_it_may(timeline: Timeline) -> None:
    """Without an answer in that time it is empty, and the call goes on."""
    calls: TimedCalls[str, str] = TimedWorkers(timeline, 8).calls(lambda item: taking(timeline, item))
    calls.begin(["a"])
    assert (calls.wave(0.25), seconds(timeline.now()), calls.pending) == ([], 0.25, ["a"])
    assert (calls.wave(5), seconds(timeline.now())) == ([("a", "a")], 1)


def test_a_failure_is_raised_once_nothing_is_pending(timeline: Timeline) -> None:
    """No other answer is lost by it."""

    def fail(item: str) -> str:
        if item == "b":
            raise LookupError(item)
        return taking(timeline, item)

    calls: TimedCalls[str, str] = TimedWorkers(timeline, 8).calls(fail)
    calls.begin(["a", "b", "z"])
    answers = []
    while calls.pending:
        answers += [answer for _, answer in calls.wave()]
    assert answers == ["a", "z"]
    with pytest.raises(LookupError, match="b"):
        calls.wave()
