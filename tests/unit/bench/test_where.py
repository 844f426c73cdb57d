"""What the time of a step is said to be spent on."""

from __future__ import annotations

import pytest
from bench.measure import Inconsistent
from bench.report import Measured, where_section
from bench.where import LONG, SHORT, Part, Where, measure

from atom_emulator.testing.world import World


def test_every_call_is_clocked_as_what_it_is() -> None:
    """Every kind of call has a time of its own, and both workloads end."""
    world = World()
    for one in measure(world.services, passes=1):
        assert all(taken > 0 for taken in one.ms.values())
        assert one.total_ms == pytest.approx(sum(one.ms.values()))
    steps = 2 * (LONG.steps + 10 * SHORT.steps)
    assert len(world.task_runner.submitted) == steps


def test_a_run_that_does_not_end_in_one_go_is_no_measurement() -> None:
    """Jobs that go on are not timed as if they had ended."""
    with pytest.raises(Inconsistent, match="did not succeed"):
        measure(World("default: {duration: 60}").services, passes=1)


def test_shares_are_of_all_parts() -> None:
    """Each part's share is of the sum of all parts."""
    ms = dict.fromkeys(Part, 0.5) | {Part.SUBMIT: 2.0}
    section = where_section(Measured(samples={}, start_s=0, load=0, peak_mb={}, where=[Where(workload=LONG, ms=ms)]))
    assert "| dispatcher: `POST /job` | 2.00 | 40% |" in section
    assert "| **all** | **5.00** | 100% |" in section
    assert where_section(Measured(samples={}, start_s=0, load=0, peak_mb={})) == ""
