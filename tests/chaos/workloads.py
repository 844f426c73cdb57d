"""The runs: graphs of many shapes, and how each must end whatever befalls the platform.

A step's name says what its job does, so that one script serves all: `…-3s` takes three seconds, `flaky-…` fails
once, `bad-…` always, `refused-…` is not accepted, `shaky-…` meets errors of the Task Runner itself, `slow-…` waits for
each answer, so that others come while it is submitted, and the job of `frail-…` must not be given twice. All others are
answered at once. `never-…` is skipped by its condition, `spare-…` fails and may, and `handler-…` runs after a failure.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Any, Final

from atom_workflows.core.item_ids import item_id
from support.call_log import between_jobs
from support.workflows import definition

SCRIPT: Final = """
rules:
  - {step: "flaky-*-1s", duration: 1, fail_times: 1, message: not this time}
  - {step: "flaky-*", fail_times: 1, message: not this time}
  - {step: "count-*", duration: 1, outputs: {rows: 12}}
  - {step: "spare-*", duration: 0.5, always_fail: true, message: no one minds}
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
    "spare": {**_TWICE, "allowFailure": True},
    "handler": {"trigger": "any-failed", **_LOST_SOON},
}
_DURATIONS: Final = ("1s", "2s", "3s", "5s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One run's graph: each step and what it depends on. `last` are the steps under `finally`.

    `more` are fields of steps that only their graph gives them, and `rules` those of the whole file.
    """

    shape: str = ""
    edges: Mapping[str, list[str]] = field(default_factory=dict)
    last: Mapping[str, list[str]] = field(default_factory=dict)
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)

    @property
    def loops(self) -> Mapping[str, list[str]]:
        """The items of each step with `forEach`, in order."""
        return {
            step: [item_id(step, index, 1) for index in range(len(fields["forEach"]))]
            for step, fields in self.more.items()
            if "forEach" in fields
        }

    @property
    def graph(self) -> Mapping[str, list[str]]:
        """All steps and items, and what each depends on in its part. A step with items depends on them alone."""
        return {**self._with_items(self.edges), **self._with_items(self.last)}

    def _with_items(self, edges: Mapping[str, list[str]]) -> dict[str, list[str]]:
        whole: dict[str, list[str]] = {}
        for step, needs in edges.items():
            items = self.loops.get(step, [])
            whole |= dict.fromkeys(items, needs) | {step: items or needs}
        return whole

    @property
    def definition(self) -> str:
        """The workflow file."""
        steps = [*self.edges, *self.last]
        fields = {step: {**_FIELDS.get(_kind(step), _LOST_SOON), **self.more.get(step, {})} for step in steps}
        whole = {**json.loads(definition(self.edges, **fields)), **self.rules}
        if self.last:
            whole["finally"] = json.loads(definition(self.last, **fields))["steps"]
        return json.dumps(whole)

    def ends(self, given_up: frozenset[str] = frozenset()) -> dict[str, str]:
        """Return how each step and item must end.

        `given_up` are the frail steps that have failed.
        """
        return {
            **_ends(self._with_items(self.edges), given_up),
            **_ends(self._with_items(self.last), given_up),
        }

    def failed(self, ends: Mapping[str, str]) -> set[str]:
        """Return the steps that fail the run if its steps end like that."""
        return {step for step, end in ends.items() if end == "FAILED" and _kind(step) != "spare"}

    def order(self, ends: Mapping[str, str]) -> dict[str, list[str]]:
        """Return the steps whose success must have been seen before each step is submitted.

        Only those that have jobs: the items of a step, not the step itself.
        """
        done = [step for step in self.edges if ends[step] == "SUCCEEDED"]
        last = self._with_items({step: [*done, *needs] for step, needs in self.last.items()})
        before = between_jobs({**self._with_items(self.edges), **last}, self.loops)
        return {
            step: needs if ends[step] == "SKIPPED" else [need for need in needs if ends[need] == "SUCCEEDED"]
            for step, needs in before.items()
        }

    def most_attempts(self, step: str, forgotten: int) -> int:
        """Return how often a step may be tried at the most.

        `forgotten` is how often the Task Runner forgot its jobs meanwhile. One that forgot that an attempt had failed
        makes the next one fail, too.
        """
        failures = {"flaky": 1, "bad": 1, "spare": 1}.get(_kind(step), 0)
        return 1 if _kind(step) in {"refused", "frail"} else 1 + failures * (1 + forgotten) + forgotten


def _ends(edges: Mapping[str, list[str]], given_up: frozenset[str]) -> dict[str, str]:
    ends: dict[str, str] = {}
    blocking, skipped = set[str](), set[str]()
    for step in TopologicalSorter(edges).static_order():
        needs, kind = edges[step], _kind(step)
        is_blocked = any(need in blocking for need in needs) and kind != "handler"
        is_idle = kind == "handler" and not any(need in blocking for need in needs)
        if is_blocked or is_idle or kind == "never" or (needs and skipped.issuperset(needs)):
            ends[step] = "SKIPPED"
            (blocking if is_blocked else skipped).add(step)
        else:
            failed = kind in {"bad", "refused", "spare"} or step in given_up
            ends[step] = "FAILED" if failed else "SUCCEEDED"
            blocking |= {step} if failed and kind != "spare" else set()
    return ends


def is_frail(step: str) -> bool:
    """Return True if the step's job must not be given twice."""
    return _kind(step) == "frail"


def drawn(dice: random.Random) -> Iterator[Workload]:
    """Yield runs without end.

    Each shape comes once before any comes again.
    """
    while True:
        for shape in dice.sample(list(SHAPES), len(SHAPES)):
            graph = SHAPES[shape](dice)
            yield replace(graph, shape=shape) if isinstance(graph, Workload) else Workload(shape=shape, edges=graph)


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


def _decisions(dice: random.Random) -> Workload:
    """Return a graph with conditions over outputs, tolerated failures, a handler, and steps under `finally`."""
    many, last = _lasting(dice, "many"), _lasting(dice, dice.choice(["good", "bad"]))
    edges: dict[str, list[str]] = {
        "count-rows": [],
        "never-many": ["count-rows"],
        many: ["count-rows"],
        "join": ["never-many", many],
        "spare-copy": ["join"],
        "after": ["spare-copy"],
        last: ["after"],
        "handler-copy": [last],
    }
    rows = "steps.count-rows.outputs.rows"
    more: dict[str, dict[str, Any]] = {
        "count-rows": {"outputs": {"rows": "int"}},
        "never-many": {"when": f"{rows} > 100"},
        many: {"when": f"{rows} > 10"},
        "join": {"task": {"imageUri": "image", "args": {"rows": f"${{{{ {rows} }}}}"}}},
        "clean-up": {"task": {"imageUri": "image", "args": {"state": "${{ run.state }}"}}},
    }
    return Workload(edges=edges, last={"clean-up": [], "report-1s": ["clean-up"]}, more=more)


def _loop(dice: random.Random) -> Workload:
    """Return a graph with two loops whose items take turns, between a list and a step under `finally`."""
    first, second = _lasting(dice, "each"), "flaky-each-1s"
    more = {
        first: {"forEach": list(range(dice.randint(6, 15))), "maxParallel": dice.randint(2, 4)},
        second: {"forEach": list(range(dice.randint(2, 4))), "maxParallel": 1},
    }
    edges = {"list": [], first: ["list"], second: ["list"], "join": [first, second]}
    return Workload(edges=edges, last={"clean-up": []}, more=more)


def _queue(dice: random.Random) -> Workload:
    """Return a graph whose runs form a group: two at a time are at work, and all others wait in line."""
    limit = {"group": "all", "limit": 2, "whenFull": "queue", "maxQueued": 100, "maxWait": "1h"}
    return Workload(edges=_line(["first", _lasting(dice, "second"), "third"]), rules={"concurrency": limit})


SHAPES: Final[Mapping[str, Callable[[random.Random], dict[str, list[str]] | Workload]]] = {
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
    "conditions, outputs and finally": _decisions,
    "loops with few places": _loop,
    "runs that wait for each other": _queue,
}
