"""A process leaves a Task Runner alone that is down."""

from __future__ import annotations

from datetime import timedelta

from atom_emulator.testing.world import START
from atom_workflows.coordinator.limits import PATIENCE, PAUSES, CircuitBreaker

URL = "https://down.test"


def down(failures: int = PATIENCE) -> CircuitBreaker:
    """Return the breaker after so many failures in a row, a second apart."""
    breaker = CircuitBreaker()
    for number in range(failures):
        at = START + timedelta(minutes=10) * number
        breaker.record_failure(URL, "HTTP 503", began=at, now=at)
    return breaker


def test_a_few_failures_in_a_row_begin_a_pause() -> None:
    """Failures in a row hold back calls to that Task Runner only."""
    last = START + timedelta(minutes=10) * (PATIENCE - 1)
    assert down(PATIENCE - 1).reason_to_wait(URL, last) is None
    held_back = down().reason_to_wait(URL, last)
    assert held_back is not None
    assert held_back.reason == "it was not called, because recent calls failed: HTTP 503"
    assert 0 < (held_back.retry_after_s or 0) <= PAUSES.initial.total_seconds()
    assert down().reason_to_wait("https://up.test", last) is None


def test_a_pause_is_over_and_the_next_one_is_longer() -> None:
    """Each pause is longer than the last, up to a limit."""
    waits = []
    for failures in range(PATIENCE, PATIENCE + 12):
        last = START + timedelta(minutes=10) * (failures - 1)
        held_back = down(failures).reason_to_wait(URL, last)
        assert held_back is not None
        assert held_back.retry_after_s is not None
        waits.append(held_back.retry_after_s)
        assert down(failures).reason_to_wait(URL, last + timedelta(seconds=held_back.retry_after_s)) is None
    assert waits[4] > 4 * waits[0]
    assert max(waits) <= PAUSES.maximum.total_seconds()


def test_failures_of_calls_that_were_on_their_way_count_once() -> None:
    """Failures of calls at the same time count once."""
    breaker = CircuitBreaker()
    for _ in range(10):
        breaker.record_failure(URL, "HTTP 503", began=START, now=START)
    held_back = breaker.reason_to_wait(URL, START)
    assert held_back is not None
    assert (held_back.retry_after_s or 0) <= PAUSES.initial.total_seconds()


def test_one_answer_lets_all_others_through() -> None:
    """It is up again, and everything is forgotten."""
    breaker = down()
    breaker.record_answer(URL)
    last = START + timedelta(minutes=10) * PATIENCE
    assert breaker.reason_to_wait(URL, last) is None
    breaker.record_failure(URL, "HTTP 503", began=last, now=last)
    assert breaker.reason_to_wait(URL, last) is None
