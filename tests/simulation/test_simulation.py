"""The coordinator under the simulator: a few hundred seeds; `make simulate` plays thousands."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from simulation import report
from simulation.__main__ import main
from simulation.campaign import Tally, play_seed
from simulation.drawing import draw
from simulation.faults import Fault
from simulation.play import play
from simulation.shrink import command

SEEDS = 500


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads what thousands of runs would log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_seed_breaks_a_rule_and_every_kind_of_fault_is_injected() -> None:
    """Whatever is lost, doubled, delayed or killed, every run ends as its workflow and script say."""
    tally = Tally()
    for seed in range(SEEDS):
        tally.add(play_seed(seed))
    assert not tally.failed, "\n".join(line for one in tally.failed for line in report.failure(one))
    assert not tally.never_struck


@pytest.mark.parametrize("seed", [3, 17, 42])
def test_a_seed_plays_the_same_every_time(seed: int) -> None:
    """The trace of a seed is the same, word for word, so that a failure can be looked at again."""
    first, second = play(draw(seed)), play(draw(seed))
    assert list(first.trace.lines()) == list(second.trace.lines())
    assert first.faults.struck == second.faults.struck


def test_without_faults_nothing_is_repeated() -> None:
    """In calm weather no attempt is submitted twice."""
    for seed in range(20):
        one = play(draw(seed, without=frozenset(Fault)))
        assert not one.watch.findings
        assert not one.faults.struck
        assert all(len(asked) == 1 for asked in one.watch.evidence.submissions.values())


def test_a_part_of_a_seed_keeps_its_order() -> None:
    """A shrunk workflow has the kept steps alone, each depending on kept steps alone."""
    whole = draw(5).scenario
    kept = frozenset(step.id for step in whole.steps[::2])
    part = draw(5, only=kept).scenario
    assert set(part.by_id) == kept
    assert all(set(step.depends_on) <= kept for step in part.steps)


def test_one_seed_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    """The command for one seed prints its workflow, its trace, and the command itself."""
    assert main(["--seed", "5"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("s0: needs nothing")
    assert any(" deliver " in line for line in told)
    assert told[-1] == "make simulate SEED=5"


def test_a_report_counts_every_kind_of_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """What was never injected is named, and then the simulation does not pass."""
    assert main(["--seeds", "1", "--processes", "1"]) == 1
    told = capsys.readouterr().out
    assert all(f" {kind}\n" in told for kind in Fault)
    assert "never injected: " in told


def test_a_shrunk_seed_is_played_again_by_its_command() -> None:
    """The command of a part of a seed names all that makes it this part."""
    part = draw(5, schedule=2, only=frozenset({"s0"}), without=frozenset({Fault.TICK_MISSING}))
    assert command(part) == "make simulate SEED=5 SCHEDULE=2 ONLY=s0 WITHOUT=TICK_MISSING"
