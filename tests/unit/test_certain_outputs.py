"""What the validator lets a step read without `??` is there, in whatever way the steps before it end."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from atom_emulator.testing import InvalidWorkflow, play
from atom_workflows.language.parser import parse_workflow

TRIGGERS: Final = ("no-failure", "all-succeeded", "any-failed", "always")
MISSING: Final = -1
Steps = list[dict[str, Any]]


def drawn(dice: random.Random) -> Steps:
    """Return up to four steps with outputs, of which at most two have a condition."""
    steps: Steps = []
    for number in range(dice.randint(2, 4)):
        before = [step["id"] for step in steps]
        step: dict[str, Any] = {"id": f"s{number}", "task": {"imageUri": "i"}, "outputs": {"n": "int"}}
        if before:
            step["dependsOn"] = dice.sample(before, dice.randint(1, min(2, number)))
            if dice.random() < 0.45:
                step["trigger"] = dice.choice(TRIGGERS)
        if dice.random() < 0.25:
            step["allowFailure"] = True
        if number < 2 and dice.random() < 0.5:
            step["when"] = f"params.c{number}"
        steps.append(step)
    return steps


def ancestors(steps: Steps) -> dict[str, set[str]]:
    """Return the steps that each step stands behind."""
    found: dict[str, set[str]] = {}
    for step in steps:
        direct = step.get("dependsOn", [])
        found[step["id"]] = set(direct).union(*(found[one] for one in direct))
    return found


def text_of(steps: Steps, args: dict[str, dict[str, str]]) -> str:
    """Return a workflow in which the steps have these arguments."""
    params = {f"c{number}": {"type": "bool", "default": True} for number in range(2)}
    with_args = [{**step, "task": {**step["task"], "args": args.get(step["id"], {})}} for step in steps]
    return json.dumps({"name": "drawn", "params": params, "steps": with_args})


def certain_reads(steps: Steps) -> Iterator[tuple[str, str]]:
    """Yield each reader and the step whose output it may read without a default."""
    for reader, before in ancestors(steps).items():
        for read in sorted(before):
            text = text_of(steps, {reader: {read: f"${{{{ steps.{read}.outputs.n }}}}"}})
            try:
                parse_workflow(text.encode(), filename="drawn.json")
            except InvalidWorkflow as refused:
                assert all("may be missing" in str(problem) for problem in refused.problems)  # noqa: PT017 (or it is none)
            else:
                yield reader, read


@pytest.mark.parametrize("seed", range(10))
def test_what_may_be_read_without_a_default_is_there(seed: int, tmp_path: Path) -> None:
    """Over all ways in which the steps can end and all values of the conditions, no such output is missing."""
    steps = drawn(random.Random(seed))  # noqa: S311 (nothing secret)
    certain = set(certain_reads(steps))
    args = {
        reader: {read: f"${{{{ steps.{read}.outputs.n ?? {MISSING} }}}}" for read in sorted(before)}
        for reader, before in ancestors(steps).items()
    }
    file = tmp_path / "drawn.json"
    file.write_text(text_of(steps, args), encoding="utf-8")
    missing: set[tuple[str, str]] = set()
    for ends, values in product(product([False, True], repeat=len(steps)), product([False, True], repeat=2)):
        rules = [
            {"step": step["id"], "outputs": {"n": 1}, "always_fail": fails}
            for step, fails in zip(steps, ends, strict=True)
        ]
        played = play(file, {"rules": rules}, params={f"c{number}": value for number, value in enumerate(values)})
        missing |= {
            (one.step, read)
            for one in played.submissions
            for read, value in one.job.get("args", {}).items()
            if value == MISSING
        }
    assert certain & missing == set()
