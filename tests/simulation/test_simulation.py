"""The coordinator under the simulator: a few hundred seeds; `make simulate` plays thousands."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from simulation import report
from simulation.__main__ import main
from simulation.campaign import ENOUGH, EVERY_BUILD, Tally, play_seed
from simulation.drawing import draw
from simulation.drawn import Cut
from simulation.faults import Fault, Strike
from simulation.oracle_runs import longest_path_s
from simulation.play import play

SEVERAL = 839
"""A seed of several runs."""

ONCE_BROKEN = (
    903,
    1_001_663,
    1_003_591,
    1_005_147,
    1_006_490,
    3_000_827,
    3_001_382,
    3_004_257,
    3_004_688,
    3_009_232,
    4_000_231,
)
"""Seeds beyond the usual ones that once broke a rule."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging, as no one reads what thousands of runs would log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_no_seed_breaks_a_rule_and_every_kind_of_fault_and_repair_happens() -> None:
    """No seed breaks a rule, and together they meet every fault and repair."""
    tally = Tally()
    for seed in EVERY_BUILD:
        tally.add(play_seed(seed))
    assert not tally.failed, "\n".join(line for one in tally.failed for line in report.failure(one))
    assert not tally.never_struck
    assert not tally.never_repaired


@pytest.mark.parametrize("seed", ONCE_BROKEN)
def test_no_seed_breaks_a_rule_again(seed: int) -> None:
    """A seed that found a fault breaks no rule any longer."""
    assert not play(draw(seed)).findings


@pytest.mark.parametrize("seed", [3, 17, 42])
def test_a_seed_plays_the_same_every_time(seed: int) -> None:
    """A seed gives the same trace every time."""
    first, second = play(draw(seed)), play(draw(seed))
    assert list(first.trace.lines()) == list(second.trace.lines())
    assert first.faults.struck == second.faults.struck


def test_without_faults_nothing_is_repeated() -> None:
    """In calm weather no attempt is submitted twice."""
    for seed in range(20):
        one = play(draw(seed, Cut(without=frozenset(Fault))))
        assert not one.findings
        assert not one.faults.log
        assert all(len(asked) == 1 for asked in one.evidence.submissions.values())


def test_a_part_of_a_seed_keeps_its_order() -> None:
    """A shrunk workflow keeps the order of its steps."""
    kept = frozenset(draw(SEVERAL).names[::2])
    part = draw(SEVERAL, Cut(only=kept))
    assert set(part.names) == kept
    for scenario in part.scenarios:
        assert all(need in scenario.by_id for step in scenario.steps for need in step.depends_on)


def test_few_seeds_break_nothing_though_they_try_little(capsys: pytest.CaptureFixture[str]) -> None:
    """A report of few seeds says how many suffice."""
    assert main(["--seeds", "3", "--processes", "1"]) == 0
    assert "3 seeds are too few to meet every kind of fault and repair" in capsys.readouterr().out


def test_many_seeds_must_meet_everything() -> None:
    """Enough seeds that miss a kind of fault count as a failure."""
    few, many = (Tally(played=played) for played in (ENOUGH - 1, ENOUGH))
    assert (few.is_good, many.is_good) == (True, False)
    assert f"{ENOUGH:,} seeds should meet every kind" in "\n".join(report.summary(many, 1.0))


def test_one_seed_prints_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    """Playing one seed prints its workflow, its trace and the command itself."""
    assert main(["--seed", "5"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("s0: needs nothing")
    assert any(" deliver " in line for line in output)
    assert output[-1] == "make simulate SEED=5"


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["--seed", "5", "--only", "s99"], "seed 5 has no step s99; it has s0"),
        (["--seed", "5", "--plain", "s0.sleep"], "nothing of seed 5 is made simpler by s0.sleep"),
        (["--seed", "5", "--without", "RAIN"], "there is no fault 'RAIN'"),
        (["--seed", "5", "--strikes", "MESSAGE_LOST"], "not a KIND:occasion"),
        (["--seeds", "0"], "it takes at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that makes no sense is refused before anything is played."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert output in capsys.readouterr().err


def test_a_report_counts_every_kind_of_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """The report counts each kind of fault and names those that never struck."""
    main(["--seeds", "1", "--processes", "1"])
    output = capsys.readouterr().out
    assert all(f" {kind}\n" in output for kind in Fault)
    assert "never injected: " in output


def test_a_shrunk_seed_is_played_again_by_its_command() -> None:
    """A shrunk seed's command names all that was cut."""
    cut = Cut(schedule=2, only=frozenset({"s0"}), without=frozenset({Fault.TICK_MISSING}))
    assert draw(5, cut).command == "make simulate SEED=5 SCHEDULE=2 ONLY=s0 WITHOUT=TICK_MISSING"
    listed = replace(
        cut, strikes=frozenset({Strike(Fault.MESSAGE_LOST, 3)}), plain=frozenset({"s0.duration", "limits"})
    )
    options = "SCHEDULE=2 ONLY=s0 STRIKES=MESSAGE_LOST:3 PLAIN=limits,s0.duration"
    assert draw(5, listed).command == f"make simulate SEED=5 {options}"
    assert draw(5, Cut(strikes=frozenset())).command == "make simulate SEED=5 STRIKES=none"


@pytest.mark.parametrize("seed", [3, SEVERAL, 42])
def test_a_list_of_all_that_struck_repeats_the_simulation(seed: int) -> None:
    """A list of all faults that struck repeats the simulation."""
    whole = play(draw(seed))
    again = play(draw(seed, Cut(strikes=frozenset(whole.faults.log))))
    assert list(again.trace.lines()) == list(whole.trace.lines())


def test_runs_at_the_same_time_meet_at_the_checker() -> None:
    """About a quarter of the seeds play several runs at the same time."""
    several = [seed for seed in range(100) if len(draw(seed).scenarios) > 1]
    assert 15 <= len(several) <= 35
    assert any(play(draw(seed)).repairs.mixed_pages for seed in several)


def test_some_seeds_are_crowds_and_some_last_for_months() -> None:
    """Some seeds have crowds of jobs, and some outlast the retention."""
    drawn = [draw(seed) for seed in range(600)]
    crowds = [one for one in drawn if one.crowd_s]
    long_ones = [one for one in drawn if one.pace > 1]
    assert 2 <= len(crowds) <= 15
    assert 2 <= len(long_ones) <= 15
    assert all(len(crowd.steps) > 5 * len(single.steps) for crowd, single in (one.scenarios for one in crowds))
    assert all(one.crowd_s > one.limits.burst_s for one in crowds)
    assert all(one.limits == replace(one.limits, burst_s=50.0, query_s=0.0) for one in drawn if one not in crowds)
    assert any(longest_path_s(one.scenarios[0], 0) > one.keep_s for one in long_ones)
