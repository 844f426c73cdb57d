"""Counts from the platform's servers, so that the client does not have to estimate anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import grpc
import requests

from atom_emulator.platform.options import PartName

PUSHED: tuple[str, ...] = ("start", "steps", "tick")
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts since the servers started; subtract two of them to get the cost of a workload."""

    writes: int
    reads: int
    store_calls: int
    refused_commits: int
    publish_calls: int
    messages: int
    pushes: int
    submissions: int
    polls: int

    def __sub__(self, before: Self) -> Self:
        return type(self)(**{f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)})


class Servers:
    """The servers' own counters, read by calls that are not counted."""

    def __init__(self, addresses: Mapping[PartName, str]) -> None:
        self._task_runner = addresses[PartName.TASK_RUNNER]
        self._http = requests.Session()
        self._store, self._bus = (grpc.insecure_channel(addresses[p]) for p in (PartName.FIRESTORE, PartName.PUBSUB))

    def counts(self) -> Counts:
        """Return the current values of all counters."""
        store, bus, task_runner = _counted(self._store), _counted(self._bus), self._task_runner_counters()
        return Counts(
            writes=store["writes"] + store["deletes"],
            reads=store["reads"],
            store_calls=sum(store["calls"].values()),
            refused_commits=store["refused"].get("Commit", 0),
            publish_calls=bus["calls"].get("Publisher/Publish", 0),
            messages=sum(topic["published"] for topic in bus["topics"].values()),
            pushes=sum(_tally(bus, "delivered").values()),
            submissions=task_runner.get("submit", 0),
            polls=task_runner.get("status", 0),
        )

    def backlog(self) -> int:
        """Return the number of messages not yet acknowledged."""
        return sum(_tally(_counted(self._bus), "backlog").values())

    def set_job(self, *, seconds: float = 0.0, outputs: Mapping[str, Any] | None = None) -> None:
        """Forget all jobs, and let new ones take this long and return these outputs."""
        self._http.post(f"{self._task_runner}/_reset", timeout=_TIMEOUT_S).raise_for_status()
        script = json.dumps({"default": {"duration": seconds, **({} if outputs is None else {"outputs": outputs})}})
        self._http.put(f"{self._task_runner}/_script", data=script, timeout=_TIMEOUT_S).raise_for_status()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._store.close()
        self._bus.close()

    def _task_runner_counters(self) -> dict[str, int]:
        answer = self._http.get(f"{self._task_runner}/_counters", timeout=_TIMEOUT_S)
        answer.raise_for_status()
        counters: dict[str, int] = answer.json()
        return counters


def _counted(channel: grpc.Channel) -> dict[str, Any]:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/atom.emulator/Counters")
    counters: dict[str, Any] = json.loads(call(b"", timeout=_TIMEOUT_S))
    return counters


def _tally(bus: Mapping[str, Any], name: str) -> dict[str, int]:
    """Return one figure for each push subscription.

    The name of a push subscription ends in the name of its topic.
    """
    subscriptions = bus["subscriptions"].items()
    return {full: tally[name] for full, tally in subscriptions if full.rpartition("/")[2] in PUSHED}
