"""The simulation is good for something: it finds bugs that are planted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from simulation.drawing import draw
from simulation.mutants import hunt
from simulation.mutations import MUTATIONS, Mutation
from simulation.play import play
from simulation.shrink import shrink

SEEDS = 2000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads what thousands of runs would log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_bug_is_found(mutation: Mutation) -> None:
    """Some seed breaks a rule with the bug, and none without it."""
    assert hunt(mutation, SEEDS).finding is not None


def test_a_failing_seed_is_shrunk_to_a_smaller_one_that_fails_alike() -> None:
    """What is left has fewer steps and faults, breaks the same rule, and does so every time."""
    mutation = next(one for one in MUTATIONS if one.name == "count in a second commit")
    with mutation.planted():
        whole = draw(mutation.seed)
        rule = play(whole).findings[0].rule
        small = shrink(whole, rule).drawn
        assert len(small.names) < len(whole.names)
        assert play(small).findings[0].rule is rule
