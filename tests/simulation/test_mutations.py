"""The simulation is good for something: it finds bugs that are planted."""

from __future__ import annotations

import ast
import inspect
import logging
from collections.abc import Iterator

import pytest

from simulation import (
    mutations,
    planted,
    planted_checker,
    planted_language,
    planted_lines,
    planted_loops,
    planted_marks,
    planted_places,
    planted_selections,
    planted_stopping,
    planting,
    report,
)
from simulation.__main__ import main
from simulation.campaign import EVERY_BUILD
from simulation.drawing import draw
from simulation.mutants import hunt
from simulation.mutations import BY_NAME, MUTATIONS, Mutation
from simulation.shrink import shrink

SEEDS = 2000
SHRUNK = (
    "count down again on redelivery",
    "a lease that is never over",
    "a failed status call fails the job",
    "no look after a status call that failed",
    "half a consistency check",
    "given up without a dead letter",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging, as no one reads what thousands of runs would log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_bug_is_found(mutation: Mutation) -> None:
    """Some seed breaks a rule with the bug, and none without it."""
    assert hunt(mutation, SEEDS, sound=EVERY_BUILD).finding is not None


def test_no_planted_bug_names_a_private_attribute() -> None:
    """Planted bugs use ports and public names only."""
    of_bugs = (
        planted,
        planted_checker,
        planted_language,
        planted_lines,
        planted_loops,
        planted_marks,
        planted_places,
        planted_selections,
        planted_stopping,
    )
    sources = [inspect.getsource(module) for module in (mutations, *of_bugs, planting)]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    named = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
    named |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    named |= {name for mutation in MUTATIONS for _, name, _ in mutation.patches}
    # A named tuple's methods are public, although their names begin with an underscore.
    assert not {name for name in named - {"_replace"} if name.startswith("_")}


@pytest.mark.parametrize("name", SHRUNK)
def test_a_failing_seed_is_shrunk_to_what_matters(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A failing seed shrinks to few steps and faults, and its command repeats them."""
    found = hunt(BY_NAME[name], SEEDS, sound=EVERY_BUILD)
    assert found.seed is not None
    assert found.finding is not None
    rule = found.finding.rule
    with BY_NAME[name].planted():
        small = shrink(draw(found.seed), rule, seconds=600)
        assert len(small.drawn.names) <= 4
        assert len(small.faults.log) <= 2
        assert rule in {finding.rule for finding in small.findings}
        assert main(arguments_of(small.drawn.command)) == 1
    assert capsys.readouterr().out.splitlines() == list(report.story(small))


def arguments_of(command: str) -> list[str]:
    """Return the arguments that make passes on."""
    pairs = (word.partition("=") for word in command.removeprefix("make simulate ").split(" "))
    return [word for name, _, value in pairs for word in (f"--{name.lower()}", value)]
