"""The arithmetic of the tables that stand beside other engines' names."""

from __future__ import annotations

import pytest
from bench.peers.page import OURS, Compared, document, failures, ratio_table, time_table
from bench.peers.rounds import Cell, Row, Timed
from bench.workloads import Workload, chain

TEN = Workload(name="ten", title="chain of 10", definition=chain(10))
PAIRS = Workload(name="pairs", title="50 runs of 2", definition=chain(2), runs=50)


def cell(workload: Workload, *passes: tuple[float, float], ours_s: float = 0.0) -> Cell:
    """Passes of a workload, each as its own time and the floor's."""
    timed = [Timed(wall_s=wall_s, floor_s=floor_s, ours_s=ours_s) for wall_s, floor_s in passes]
    return Cell(workload=workload, passes=timed)


def row(name: str, *cells: Cell, failed: str = "") -> Row:
    """Return an engine with these figures."""
    return Row(
        name=name, title=name.title(), configured="So.", cells={one.workload.name: one for one in cells}, failed=failed
    )


def compared(*rows: Row) -> Compared:
    """Return an invocation that found that out."""
    return Compared(workloads=(TEN, PAIRS), rows=rows, repeat=3, load_before=1.0, load_after=2.0)


OUR_ROW = row(OURS, cell(TEN, (0.04, 0.01)), cell(PAIRS, (1.0, 0.1)))


def test_a_cell_is_of_medians() -> None:
    """A cell's figures are the medians of its passes."""
    one = cell(TEN, (0.1, 0.1), (0.3, 0.03), (0.2, 0.1))
    assert one.ms_a_step == pytest.approx(20)
    assert one.steps_a_second == pytest.approx(50)
    assert one.times_floor == pytest.approx(2)


def test_a_step_of_every_run_counts() -> None:
    """Fifty runs of two steps are a hundred steps."""
    assert cell(PAIRS, (1.0, 0.1)).ms_a_step == pytest.approx(10)


def test_the_table_shows_three_figures() -> None:
    """Each workload has milliseconds a step, steps a second, and times the floor."""
    assert "| Ours | 4.00 · 250 · **4.0** | 10.00 · 100 · **10.0** |" in time_table(compared(OUR_ROW))


def test_what_is_missing_is_no_figure() -> None:
    """A workload over the limit or not reached has no ratio."""
    theirs = row("other", Cell(workload=TEN, over_s=300))
    assert "| Other | more than 300 s | - |" in time_table(compared(OUR_ROW, theirs))
    assert "| Other | - | - |" in ratio_table(compared(OUR_ROW, theirs))


def test_ratios_are_of_the_same_minute() -> None:
    """An engine is compared with our passes right after its own."""
    theirs = row("other", cell(TEN, (0.02, 0.01), ours_s=0.04), cell(PAIRS, (250.0, 0.1), ours_s=1.0))
    assert ratio_table(compared(OUR_ROW, theirs)).splitlines()[2:] == ["| Other | 0.50 | 250 |"]


def test_no_ratio_without_ours() -> None:
    """There is no ratio without a pass of ours, and no table without another engine."""
    assert ratio_table(compared(row("other", cell(TEN, (0.02, 0.01))))).endswith("| Other | - | - |")
    assert not ratio_table(compared(OUR_ROW))


def test_the_spread_is_shown() -> None:
    """The lowest and the highest ratio stand beside the median."""
    table = time_table(compared(row("other", cell(TEN, (0.1, 0.1), (0.3, 0.03), (0.2, 0.1)))))
    assert "| 20.00 · 50 · **2.0** (1.0 to 10.0) |" in table


def test_a_failure_is_a_line() -> None:
    """An engine that failed has a line with its reason."""
    result = compared(OUR_ROW, row("other", failed="pip found nothing"))
    assert failures(result) == "- Other: pip found nothing"
    assert "Other" not in time_table(result)
    assert "## Not measured\n\n- Other: pip found nothing" in document(result)


def test_a_section_without_content_is_left_out() -> None:
    """Without failures the page has no heading for them."""
    page = document(compared(OUR_ROW))
    assert "Not measured" not in page
    assert page.endswith(".\n")
    assert "\n\n\n" not in page
