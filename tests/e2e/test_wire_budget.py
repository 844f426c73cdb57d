"""The cost of a step in calls, by the servers' own counters. The budgets are promises, not estimates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import pytest

from atom_emulator.platform.options import PartName
from e2e.backends import site_on
from e2e.site import TERMINAL, Site
from support.call_log import Call
from support.deadline import eventually
from support.workflows import chain

LONG, SHORT = 110, 10
MAX_WRITES, MAX_READS, MAX_MESSAGES = 4, 2, 2
NEVER_S: Final = 3_600.0
AT_ONCE, A_MOMENT = "{default: {duration: 0}}", "{default: {duration: 0.2}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Work of the servers.

    `leases` are the checker's writes to its own lease, two a burst, which `writes` leave out: how many bursts share a
    run's jobs depends on how busy this machine is, and no step causes them.
    """

    writes: int
    leases: int
    reads: int
    queries: int
    messages: int
    polls: int = 0
    new_states: int = 0

    def per_step(self, shorter: Cost, steps: int) -> dict[str, float]:
        """Return what each of the further steps added."""
        less = asdict(shorter)
        return {name: (count - less[name]) / steps for name, count in asdict(self).items()}


@dataclass(slots=True)
class Wire:
    """A platform whose functions do all the work and whose servers count it. `looks` are the test's own reads."""

    site: Site
    looks: int = 0
    _channels: dict[PartName, grpc.Channel] = field(default_factory=dict)

    def run(self, definition: str) -> Cost:
        """Return the cost of a run, until the functions are at rest.

        It lies within a minute of the clock: at a minute's end the checker's burst gives way to another, which no step
        is to pay for.
        """
        minute = datetime.now(UTC).minute
        cost = self._run(definition)
        return cost if datetime.now(UTC).minute == minute else self.run(definition)

    def _run(self, definition: str) -> Cost:
        before = self._counted([])
        run_id = self.site.start(definition)
        eventually(lambda: self._has_ended(run_id), within_s=60, what=f"the end of run {run_id}", every_s=0.05)
        return self._at_rest_since(before, self.site.calls(run_id))

    def tick(self) -> Cost:
        """Return the cost of waking the checker."""
        before = self._counted([])
        self.site.publish("tick", b'{"type": "tick"}')
        return self._at_rest_since(before, [])

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            channel.close()

    def _has_ended(self, run_id: str) -> bool:
        self.looks += 1
        run = self.site.run(run_id)
        if run.get("state") not in TERMINAL:
            return False
        assert run["state"] == "SUCCEEDED", run["errors"]
        return True

    def _at_rest_since(self, before: Cost, calls: list[Call]) -> Cost:
        eventually(self._is_at_rest, within_s=60, what="every event's acknowledgement", every_s=0.02)
        less = asdict(before)
        return Cost(**{name: count - less[name] for name, count in asdict(self._counted(calls)).items()})

    def _is_at_rest(self) -> bool:
        return not any(
            subscription["backlog"]
            for name, subscription in self._counters(PartName.PUBSUB)["subscriptions"].items()
            if name.rpartition("/")[2] in {"start", "steps", "tick"}
        )

    def _counted(self, calls: list[Call]) -> Cost:
        store, bus = self._counters(PartName.FIRESTORE), self._counters(PartName.PUBSUB)
        answered = {(call.step, call.state) for call in calls if call.is_submission}
        polls = [(call.step, call.state) for call in calls if not call.is_submission]
        leases = store["written"].get("control", 0)
        return Cost(
            writes=store["writes"] + store["deletes"] - leases,
            leases=leases,
            reads=store["reads"] - self.looks,
            queries=store["calls"].get("RunQuery", 0),
            messages=sum(topic["published"] for topic in bus["topics"].values()),
            polls=len(polls),
            new_states=sum(state not in TERMINAL for _, state in {*polls} - answered),
        )

    def _counters(self, server: PartName) -> Mapping[str, Any]:
        if server not in self._channels:
            self._channels[server] = grpc.insecure_channel(self.site.platform.addresses[server])
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channels[server].unary_unary("/atom.emulator/Counters")
        counters: Mapping[str, Any] = json.loads(call(b"", timeout=60))
        return counters


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Yield a platform on the servers that count, without scheduled ticks."""
    with site_on("embedded", tmp_path_factory.mktemp("platform"), tick_every_s=NEVER_S) as site:
        wire = Wire(site)
        yield wire
        wire.close()


def test_a_chained_step_answered_at_once_keeps_the_budget(wire: Wire) -> None:
    """A chained step costs at most 4 writes, 2 reads and 2 messages."""
    wire.site.script(AT_ONCE)
    short, long = wire.run(chain(SHORT)), wire.run(chain(LONG))
    added = long.per_step(short, LONG - SHORT)
    print("a further step answered at once:", added)  # noqa: T201 - the figures are the test's other result
    assert added["polls"] == 0
    assert added["writes"] <= MAX_WRITES
    assert added["reads"] <= MAX_READS
    assert added["messages"] <= MAX_MESSAGES


def test_a_chained_job_keeps_the_budget(wire: Wire) -> None:
    """A job adds at most a write for each state and a message a poll."""
    wire.site.script(A_MOMENT)
    short, long = wire.run(chain(2)), wire.run(chain(6))
    added = long.per_step(short, 4)
    print("a further step with a job:", added)  # noqa: T201 - the figures are the test's other result
    assert added["polls"] >= 1
    assert added["writes"] <= MAX_WRITES + added["new_states"]
    assert added["messages"] <= MAX_MESSAGES + added["polls"]


def test_an_idle_tick_is_one_query(wire: Wire) -> None:
    """A tick with nothing in flight costs one query."""
    assert wire.tick() == Cost(queries=1, reads=1, writes=0, leases=0, messages=1)
