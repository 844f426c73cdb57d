"""Repairs of any graph with any edits: each step ends as it does in a run that is started afresh from the same file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import pytest

from atom_emulator.task_runner.script_file import parse_script
from atom_emulator.testing.world import World
from atom_workflows.core import graph
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.states import RunState
from atom_workflows.errors import RunStateError, SelectionError
from support.commands import retry_run
from support.repairs import WORKING, EndedRun, ended_run, repair

TRIGGERS: Final = ("no-failure", "all-succeeded", "any-failed", "always")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A step of the file; with `when`, it runs if the parameter is greater than that."""

    image: str = "a"
    needs: tuple[str, ...] = ()
    trigger: str = "no-failure"
    when: int = 0
    is_loop: bool = False
    is_barrier: bool = False

    def as_fields(self) -> dict[str, Any]:
        """Return the step as it is written."""
        decides = {"dependsOn": list(self.needs), "trigger": self.trigger} if self.needs else {}
        if self.is_barrier:
            return decides
        when = {"when": f"${{{{ params.limit > {self.when} }}}}"} if self.when else {}
        return {**decides, **when, **({"forEach": [1, 2]} if self.is_loop else {}), "task": {"imageUri": self.image}}


def written(plans: Mapping[str, Plan]) -> str:
    """Return the file."""
    steps = [{"id": name, **plan.as_fields()} for name, plan in plans.items()]
    # Whether a step reads them or not.
    params = {name: {"type": "int", "default": 3} for name in ("limit", "unread")}
    return json.dumps({"name": "nightly", "params": params, "steps": steps})


def draw(chance: Random) -> dict[str, Plan]:
    """Draw a graph."""
    names = [f"s{number}" for number in range(chance.randint(3, 12))]
    return {
        name: Plan(
            needs=tuple(chance.sample(names[:number], chance.randint(min(number, 1), min(number, 3)))),
            trigger=chance.choice((*TRIGGERS, *TRIGGERS[:1] * 3)),
            when=chance.choice([0, 0, 2, 5]),
            is_loop=chance.random() < 0.15,
            is_barrier=chance.random() < 0.1,
        )
        for number, name in enumerate(names)
    }


def edit(chance: Random, plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """Edit a few steps, or insert new ones at the end."""
    edited, names = dict(plans), list(plans)
    for _ in range(chance.randint(1, 2)):
        place = chance.randrange(len(names))
        name, before = names[place], names[:place]
        plan = edited[name]
        others = [one for one in before if one not in plan.needs]
        fields: dict[str, Any] = chance.choice(
            [
                {"image": chance.choice("bcd")},
                {"needs": (*plan.needs, *chance.sample(others, min(1, len(others))))},
                {"needs": plan.needs[1:]},
                {"needs": plan.needs[:-1]},
                {"trigger": chance.choice(TRIGGERS)},
                {"when": chance.choice([0, 2, 5])},
                {"is_loop": not plan.is_loop},
                {},
            ]
        )
        edited[name] = replace(plan, **fields)
        if not fields:
            edited[f"new{len(edited)}"] = Plan(needs=tuple(chance.sample(names, 2)))
    return edited


def states(world: World, run_id: str) -> dict[str, str]:
    """Return the states of all steps, without items."""
    return {name: state for name, state in world.states(run_id).items() if "[" not in name}


def retry_some(earlier: EndedRun, plans: Mapping[str, Plan], chance: Random, rules: list[dict[str, Any]]) -> None:
    """Retry a step in place, which may fail this time, and may leave what is behind it as it was."""
    world = earlier.world
    world.task_runner.jobs.script = parse_script(json.dumps({"rules": rules}))
    named: dict[str, Any] = {chance.choice(["first", "only"]): [chance.choice(list(plans))]}
    with suppress(SelectionError, RunStateError):
        retry_run(world.services, earlier.run_id, **named)
        world.run_to_end(earlier.run_id)
    world.task_runner.jobs.script = parse_script(WORKING)


@pytest.mark.parametrize("seed", range(80))
def test_a_repair_ends_like_a_run_that_starts_afresh(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it keeps, no step ends in another state than without keeping any, also if it is repaired once more."""
    chance = Random(seed)  # noqa: S311 (nothing secret)
    monkeypatch.setattr(graph, "FAN_IN_LIMIT", 2)
    monkeypatch.setattr(graph, "FAN_OUT_LIMIT", 3)
    plans = draw(chance)
    rules = [{"step": name, "fail_times": 99} for name in chance.sample(list(plans), 1)]
    earlier = ended_run(written(plans), script=json.dumps({"rules": rules}))
    world = earlier.world
    for number in range(2):
        plans, old = edit(chance, plans), plans
        text, params = written(plans), {"limit": chance.choice([3, 3, 3, 3, 1, 6])}
        afresh = World(WORKING)
        expected = afresh.run_to_end(afresh.start(text, run_key="k", params=params))
        if chance.random() < 0.5:
            retry_some(earlier, old, chance, chance.choice([rules, []]))
        try:
            repaired = repair(earlier, text, params=params, key=str(number))
        except RunStateError as error:
            assert "no step of run" in str(error)  # noqa: PT017 (only some repairs are refused)
            plans = old
            continue
        assert states(world, repaired.run.id) == states(afresh, expected.id)
        assert repaired.run.state is expected.state is RunState.SUCCEEDED
        assert not list(find_flaws(repaired.steps, now=world.clock.now()))
        earlier = EndedRun(world=world, run_id=repaired.run.id)
