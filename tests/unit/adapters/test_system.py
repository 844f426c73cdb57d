"""Calls on threads, in waves."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextvars import ContextVar

import pytest

from atom_workflows.adapters.system import ThreadCalls, ThreadWorkers
from atom_workflows.coordinator.advance import waves

_event: ContextVar[str] = ContextVar("event", default="")


def test_every_item_is_answered_once() -> None:
    """The waves together hold each item once, with its answer."""
    answers = list(waves(ThreadWorkers(4), lambda item: item * 2, range(50)))
    assert sorted(answer for wave in answers for answer in wave) == [(item, item * 2) for item in range(50)]


def test_a_slow_call_holds_up_no_other() -> None:
    """Other answers come in a wave before a slow call has ended."""
    released = threading.Event()

    def call(item: int) -> int:
        return item or released.wait(10)

    answers = waves(ThreadWorkers(4), call, range(4))
    first = next(answers)
    assert {item for item, _ in first} <= {1, 2, 3}
    released.set()
    assert sum(len(wave) for wave in [first, *answers]) == 4


def test_a_failure_is_raised_after_the_others_were_answered() -> None:
    """One call that raises takes no other answer with it."""

    def call(item: int) -> int:
        return 1 // item

    answered: list[int] = []
    answers = waves(ThreadWorkers(4), call, range(5))
    with pytest.raises(ZeroDivisionError):
        answered.extend(item for wave in answers for item, _ in wave)
    assert sorted(answered) == [1, 2, 3, 4]


def test_calls_see_the_callers_context() -> None:
    """A call's log lines can name the event that its caller handles."""
    _event.set("event-1")
    answers = waves(ThreadWorkers(4), lambda _: _event.get(), range(3))
    assert {answer for wave in answers for _, answer in wave} == {"event-1"}


def test_nothing_to_call_is_no_wave() -> None:
    """An empty list is answered by nothing."""
    assert list(waves(ThreadWorkers(1), str, [])) == []


def test_calls_that_hang_take_no_thread_from_another_lane() -> None:
    """Calls of one lane are answered while all threads of another wait."""
    released = threading.Event()

    def call(item: int) -> int:
        return item if item % 2 else released.wait(10)

    answers = waves(ThreadWorkers(2), call, range(20), lane=lambda item: str(item % 2))
    answered = 0
    for wave in answers:
        answered += sum(item % 2 for item, _ in wave)
        if answered == 10:
            released.set()
    assert released.is_set()


def test_calls_that_are_begun_later_join_those_that_wait() -> None:
    """A wave holds what ended in time, and later waves the rest."""
    released = threading.Event()

    def call(item: int) -> int:
        return item or int(released.wait(10))

    calls = ThreadWorkers(4).calls(call)
    calls.begin([0])
    assert calls.wave(0.01) == []
    calls.begin([1, 2])
    answered = calls.wave() + calls.wave(0.01)
    assert sorted(answered) == [(1, 1), (2, 2)]
    assert list(calls.pending) == [0]
    released.set()
    assert calls.wave() == [(0, 1)]
    assert calls.wave() == []


def test_many_items_wait_without_threads_to_take_them() -> None:
    """Only a few items at a time are given to threads."""
    under_way: list[Future[int]] = []

    def submit(_item: int, _lane: str) -> Future[int]:
        under_way.append(Future())
        return under_way[-1]

    calls = ThreadCalls(submit, lane=lambda _: "", most=3)
    calls.begin(range(1_000))
    answered: list[int] = []
    while calls.pending:
        assert len(under_way) <= 3
        for future in under_way:
            future.set_result(0)
        under_way.clear()
        answered += [item for item, _ in calls.wave()]
    assert sorted(answered) == list(range(1_000))
