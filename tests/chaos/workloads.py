"""The runs: graphs of many shapes, and how each must end whatever befalls the platform.

A step's name says what its job does, so that one script serves all: `…-3s` takes three seconds, `flaky-…` fails
once, `bad-…` always, `refused-…` is not accepted, `shaky-…` meets errors of the Task Runner itself, `slow-…` waits for
each answer, so that others come while it is submitted, and the job of `frail-…` must not be given twice. All others are
answered at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, Final

from support.workflows import definition

SCRIPT: Final = """
rules:
  - {step: "flaky-*-1s", duration: 1, fail_times: 1, message: not this time}
  - {step: "flaky-*", fail_times: 1, message: not this time}
  - {step: "bad-*", duration: 0.5, always_fail: true, message: no space left on device}
  - {step: "refused-*", submit_errors: [{status: 422, times: forever}]}
  - step: "shaky-*"
    duration: 1
    submit_errors: [503, {drop: true, accepted: true}, html]
    status_errors: [500, drop, not-json]
  - {step: "slow-*", delay: 0.8, duration: 1}
  - {step: "*-1s", duration: 1}
  - {step: "*-2s", duration: 2}
  - {step: "*-3s", duration: 3}
  - {step: "*-5s", duration: 5}
"""

_RETRY: Final = {"retry": {"maxAttempts": 10, "backoff": {"initial": "0.2s", "factor": 1}}}
_TWICE: Final = {"retry": {"maxAttempts": 2, "backoff": {"initial": "0.2s", "factor": 1}}}
_LOST_SOON: Final = {"retry": {"backoff": {"initial": "0.2s", "factor": 1}}}

_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "flaky": _RETRY,
    "bad": _TWICE,
    "refused": _TWICE,
    "frail": {"onLost": "fail"},
}
_DURATIONS: Final = ("1s", "2s", "3s", "5s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One run's graph: each step and what it depends on."""

    shape: str
    edges: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def definition(self) -> str:
        """The workflow file."""
        return definition(self.edges, **{step: _FIELDS.get(_kind(step), _LOST_SOON) for step in self.edges})

    def ends(self, given_up: frozenset[str] = frozenset()) -> dict[str, str]:
        """Return how each step must end.

        `given_up` are the frail steps that have failed.
        """
        ends: dict[str, str] = {}
        for step in TopologicalSorter(self.edges).static_order():
            if any(ends[need] != "SUCCEEDED" for need in self.edges[step]):
                ends[step] = "SKIPPED"
            else:
                failed = _kind(step) in {"bad", "refused"} or step in given_up
                ends[step] = "FAILED" if failed else "SUCCEEDED"
        return ends

    def most_attempts(self, step: str, forgotten: int) -> int:
        """Return how often a step may be tried at the most.

        `forgotten` is how often the Task Runner forgot its jobs meanwhile. One that forgot that an attempt had failed
        makes the next one fail, too.
        """
        failures = {"flaky": 1, "bad": 1}.get(_kind(step), 0)
        return 1 if _kind(step) in {"refused", "frail"} else 1 + failures * (1 + forgotten) + forgotten


def is_frail(step: str) -> bool:
    """Return True if the step's job must not be given twice."""
    return _kind(step) == "frail"


def drawn(dice: random.Random) -> Iterator[Workload]:
    """Yield runs without end.

    Each shape comes once before any comes again.
    """
    while True:
        for shape in dice.sample(list(SHAPES), len(SHAPES)):
            yield Workload(shape=shape, edges=SHAPES[shape](dice))


def _kind(step: str) -> str:
    return step.partition("-")[0]


def _lasting(dice: random.Random, step: str) -> str:
    return f"{step}-{dice.choice(_DURATIONS)}"


def _line(steps: list[str]) -> dict[str, list[str]]:
    return {step: steps[place - 1 : place] if place else [] for place, step in enumerate(steps)}


def _chain(dice: random.Random) -> dict[str, list[str]]:
    steps = [f"s{place}" for place in range(dice.randint(6, 12))]
    return _line([_lasting(dice, step) if place % 3 == 1 else step for place, step in enumerate(steps)])


def _quick_chain(dice: random.Random) -> dict[str, list[str]]:
    return _line([f"q{place}" for place in range(dice.randint(10, 25))])


def _fork_join(dice: random.Random) -> dict[str, list[str]]:
    edges: dict[str, list[str]] = {"root": []}
    lasts = []
    for branch in range(dice.randint(3, 6)):
        first, last = f"a{branch}", _lasting(dice, f"b{branch}")
        edges |= {first: ["root"], last: [first]}
        lasts.append(last)
    return edges | {"join": lasts}


def _diamonds(dice: random.Random) -> dict[str, list[str]]:
    edges: dict[str, list[str]] = {"top": []}
    above = "top"
    for place in range(3):
        left, right, below = f"left{place}", f"right{place}-{dice.choice(_DURATIONS[:2])}", f"below{place}"
        edges |= {left: [above], right: [above], below: [left, right]}
        above = below
    return edges


def _fan(dice: random.Random) -> dict[str, list[str]]:
    leaves = [_lasting(dice, f"leaf{place}") for place in range(dice.randint(10, 30))]
    return {"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves}


def _retries(dice: random.Random) -> dict[str, list[str]]:
    return _line(["first", "flaky-a-1s", "second", "flaky-b", _lasting(dice, "last")])


def _failure(dice: random.Random) -> dict[str, list[str]]:
    broken = dice.choice(["bad-copy", "refused-copy"])
    good = _lasting(dice, "good")
    return {
        "root": [],
        broken: ["root"],
        "after": [broken],
        "further": ["after"],
        good: ["root"],
        "fine": [good],
        "join": ["further", "fine"],
    }


def _frailty(dice: random.Random) -> dict[str, list[str]]:
    frail = f"frail-{dice.choice(_DURATIONS[1:])}"
    return {"root": [], frail: ["root"], "after": [frail], "beside-2s": ["root"], "join": ["after", "beside-2s"]}


def _shakiness(dice: random.Random) -> dict[str, list[str]]:
    return {"root": [], "shaky-a": ["root"], "shaky-b": ["root"], _lasting(dice, "join"): ["shaky-a", "shaky-b"]}


def _slowness(_dice: random.Random) -> dict[str, list[str]]:
    slow = [f"slow-{place}" for place in range(4)]
    return {"root": [], **{step: ["root"] for step in slow}, "slow-join": slow, "last": ["slow-join"]}


SHAPES: Final[Mapping[str, Callable[[random.Random], dict[str, list[str]]]]] = {
    "chain": _chain,
    "chain of short jobs": _quick_chain,
    "fork and join": _fork_join,
    "diamonds": _diamonds,
    "fan": _fan,
    "retries": _retries,
    "failing branch": _failure,
    "job that must not be given twice": _frailty,
    "answers that are errors": _shakiness,
    "answers that take long": _slowness,
}
