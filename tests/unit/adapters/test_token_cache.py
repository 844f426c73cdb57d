"""One audience's token, with time that the test moves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from atom_emulator.testing.world import START, MovedClock
from atom_workflows.adapters.task_runner.id_tokens import IdToken
from atom_workflows.adapters.task_runner.token_cache import CachedToken
from atom_workflows.adapters.task_runner.tokens import IdTokens
from atom_workflows.errors import TaskRunnerUnavailable

AUDIENCE = "https://task-runner.test"
HOUR = timedelta(hours=1)


class Mint:
    """Makes tokens `1`, `2`, … that hold for an hour; fails while `down`."""

    def __init__(self, clock: MovedClock) -> None:
        self.clock = clock
        self.made = 0
        self.down = False

    def __call__(self, audience: str) -> IdToken:
        """Return the next token."""
        self.made += 1
        if self.down:
            raise TaskRunnerUnavailable(f"no ID token for {audience}: the mint is down")
        return IdToken(text=str(self.made), expires_at=self.clock.now() + HOUR)


@pytest.fixture
def clock() -> MovedClock:
    """Time that stands still."""
    return MovedClock()


@pytest.fixture
def mint(clock: MovedClock) -> Mint:
    """Return a mint that works."""
    return Mint(clock)


@pytest.fixture
def cached(mint: Mint, clock: MovedClock) -> CachedToken:
    """Return a cache that is empty."""
    return CachedToken(AUDIENCE, mint, clock.now)


def test_a_token_is_kept_until_five_minutes_before_its_expiry(cached: CachedToken, clock: MovedClock) -> None:
    """A token is replaced five minutes before it expires."""
    assert cached.get() == "1"
    clock.move(timedelta(minutes=54, seconds=59))
    assert cached.get() == "1"
    clock.move(timedelta(seconds=1))
    assert cached.get() == "2"
    assert cached.get() == "2"


def test_an_old_token_serves_while_none_can_be_had(cached: CachedToken, mint: Mint, clock: MovedClock) -> None:
    """An old token is used until it expires while the mint is down."""
    cached.get()
    mint.down = True
    clock.move(timedelta(minutes=56))
    assert [cached.get() for _ in range(3)] == ["1"] * 3
    assert mint.made == 2
    clock.move(timedelta(minutes=4))
    with pytest.raises(TaskRunnerUnavailable, match="the mint is down"):
        cached.get()
    mint.down = False
    clock.move(timedelta(seconds=5))
    assert cached.get() == "4"


def test_a_failure_answers_those_who_ask_next(cached: CachedToken, mint: Mint) -> None:
    """Calls do not wait in turn for a server that is down."""
    mint.down = True
    for _ in range(3):
        with pytest.raises(TaskRunnerUnavailable, match="the mint is down"):
            cached.get()
    assert mint.made == 1


def test_a_token_that_has_expired_on_arrival_is_used_for_a_while(clock: MovedClock) -> None:
    """A token that seems expired on arrival is used, as our clock may be wrong."""
    made: list[str] = []

    def stale(_audience: str) -> IdToken:
        made.append("token")
        return IdToken(text=str(len(made)), expires_at=clock.now() - HOUR)

    cached = CachedToken(AUDIENCE, stale, clock.now)
    assert [cached.get() for _ in range(3)] == ["1"] * 3
    clock.move(timedelta(seconds=30))
    assert cached.get() == "2"


def test_a_refused_token_is_replaced_once_a_minute(cached: CachedToken, clock: MovedClock) -> None:
    """A refused token is replaced at most once a minute."""
    first = cached.get()
    second = cached.renew(first)
    assert second == "2"
    assert cached.renew(second) is None
    clock.move(timedelta(seconds=60))
    assert cached.renew(second) == "3"


def test_a_token_that_others_have_replaced_already_is_not_replaced_again(cached: CachedToken, mint: Mint) -> None:
    """Many calls that were refused at once take one new token."""
    first = cached.get()
    assert [cached.renew(first) for _ in range(5)] == ["2"] * 5
    assert mint.made == 2


def test_the_same_token_again_is_no_other_token(clock: MovedClock) -> None:
    """A refused token that the server returns again is not sent again."""
    cached = CachedToken(AUDIENCE, lambda _audience: IdToken(text="same", expires_at=clock.now() + HOUR), clock.now)
    assert cached.renew(cached.get()) is None


class Gate:
    """A mint that answers when it is let."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.open = threading.Event()
        self.made = 0

    def __call__(self, audience: str) -> IdToken:
        """Return a token once the gate is open."""
        self.made += 1
        self.asked.release()
        assert self.open.wait(60)
        return IdToken(text=f"{audience} {self.made}", expires_at=datetime.now(UTC) + HOUR)


def test_many_threads_take_one_token() -> None:
    """One fetch serves all who wait for it."""
    gate = Gate()
    cached = CachedToken(AUDIENCE, gate, lambda: START)
    with ThreadPoolExecutor(8) as pool:
        texts = [pool.submit(cached.get) for _ in range(8)]
        assert gate.asked.acquire(timeout=10)
        gate.open.set()
        assert {text.result(10) for text in texts} == {f"{AUDIENCE} 1"}
    assert gate.made == 1


def test_a_slow_fetch_for_one_audience_holds_up_no_other() -> None:
    """A slow fetch for one audience delays no other audience."""
    gate = Gate()

    def fetch(audience: str) -> IdToken:
        return gate(audience) if "slow" in audience else IdToken(text="fast", expires_at=datetime.now(UTC) + HOUR)

    tokens = IdTokens(fetch=fetch)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(tokens.token_for, "https://slow.test/a")
        assert gate.asked.acquire(timeout=10)
        assert tokens.token_for("https://fast.test/b") == "fast"
        assert not slow.done()
        gate.open.set()
        assert slow.result(10) == "https://slow.test 1"


def test_while_a_token_is_replaced_the_old_one_serves_the_others(clock: MovedClock) -> None:
    """At most one call waits while a token is replaced in time."""
    gate = Gate()
    mint = Mint(clock)

    def fetch(audience: str) -> IdToken:
        return gate(audience) if mint.made else mint(audience)

    cached = CachedToken(AUDIENCE, fetch, clock.now)
    assert cached.get() == "1"
    clock.move(timedelta(minutes=56))
    with ThreadPoolExecutor(1) as pool:
        replaced = pool.submit(cached.get)
        assert gate.asked.acquire(timeout=10)
        assert cached.get() == "1"
        gate.open.set()
        assert replaced.result(10) == f"{AUDIENCE} 1"


def test_a_fetch_without_end_is_given_up(clock: MovedClock) -> None:
    """Waiting for a token is bounded, and the error names the audience."""
    gate = Gate()
    cached = CachedToken(AUDIENCE, gate, clock.now, wait_s=0.05)
    with pytest.raises(TaskRunnerUnavailable, match=rf"no ID token for {AUDIENCE} within 0\.05 s"):
        cached.get()
    gate.open.set()
