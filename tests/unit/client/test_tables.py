"""Tables on terminals of any width."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from atom_client.cli.screen import Screen
from atom_client.cli.tables import Sheet, runs_sheet
from atom_client.views.run_list import Progress
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState

T0 = datetime(2026, 1, 1, tzinfo=UTC)

IDS = ("extract", "load-orders-of-europe-2025")
SHEET = Sheet(
    heading=("STEP", "STATE", "MESSAGE"),
    rows=((IDS[0], "SUCCEEDED", ""), (IDS[1], "FAILED", "its table has another schema than the file " * 5)),
    state_column=1,
    may_be_narrowed=True,
)


def printed(sheet: Sheet, width: int) -> list[str]:
    """Return the table as a terminal shows it."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(sheet.rich(Screen(width=width, height=24)), soft_wrap=True)
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_ids_are_whole_and_messages_take_what_is_left(width: int) -> None:
    """Ids are whole beside any message, so they can be copied."""
    lines = printed(SHEET, width)
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["STEP", *IDS]
    assert len(lines) > 3
    assert max(map(len, lines)) <= width


def test_long_messages_of_many_steps_do_not_fill_many_screens() -> None:
    """If not everything fits on the screen, a message takes two lines, and one that is cut says so."""
    rows = tuple((f"load-{number:03}", "FAILED", "no space is left on the device " * 9) for number in range(50))
    lines = printed(replace(SHEET, rows=rows), 60)
    assert len(lines) == 1 + 2 * len(rows)
    assert lines[1::2] == [
        f"load-{number:03}  FAILED  no space is left on the device no space is" for number in range(50)
    ]
    assert set(lines[2::2]) == {" " * 18 + "left on the device no space is left on…"}


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (72, ["RUN", "STATE", "CREATED", "STEPS", "WORKFLOW"]),
        (71, ["RUN", "STATE", "CREATED", "STEPS"]),
        (49, ["RUN", "STATE", "CREATED"]),
        (42, ["RUN", "STATE", "STEPS"]),
        (40, ["RUN", "STATE"]),
    ],
)
def test_a_narrow_terminal_goes_without_what_does_not_fit(width: int, shown: list[str]) -> None:
    """On a narrow terminal columns that do not fit are left out, never parts of ids, and a line names them."""
    run = ("nightly-pipeline-3cca0fea", "RUNNING", "10:00", "12", "nightly-pipeline-of-the-shop")
    heading = ("RUN", "STATE", "CREATED", "STEPS", "WORKFLOW")
    lines = printed(Sheet(heading=heading, rows=(run,), state_column=1, may_be_narrowed=True), width)
    assert lines[0].split() == shown
    hidden = ", ".join(name for name in heading if name not in shown)
    assert " ".join(lines[-2:]).endswith(f"terminal: {hidden}.") is bool(hidden)
    assert ("narrow" in " ".join(lines)) is bool(hidden)
    assert lines[1].split()[:2] == list(run[:2])
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [20, 30, 36])
def test_an_id_without_room_has_a_line_of_its_own(width: int) -> None:
    """On the narrowest terminals ids are still whole, above their states."""
    lines = printed(SHEET, width)
    assert lines[2:] == [
        IDS[0],
        "  SUCCEEDED",
        IDS[1],
        f"  {'FAILED  its table has another schema'[: width - 2]}".rstrip(),
    ]
    assert max(map(len, lines)) <= max(width, len(IDS[1]))


def test_a_table_keeps_a_last_column_that_is_shown_nowhere_else() -> None:
    """Formulas are folded, however narrow the terminal."""
    bill = Sheet(heading=("A RUN", "USD", "FORMULA"), rows=(("Firestore", "0.01", "reads x price"),), state_column=0)
    assert "FORMULA" in printed(bill, 30)[0]


def test_a_run_shows_its_duration_so_far_and_whether_it_is_late() -> None:
    """An open run has a duration until now, unless it waits for its turn."""
    now = T0 + timedelta(seconds=65)
    run = RunRecord(id="r1", workflow="flow", state=RunState.RUNNING, created_at=T0, started_at=T0, late=True)
    ended = replace(run, state=RunState.SUCCEEDED, finished_at=T0 + timedelta(seconds=3))
    waits = replace(run, state=RunState.QUEUED, started_at=None, late=False)
    again = replace(ended, state=RunState.RUNNING, reopened_at=T0 + timedelta(seconds=60), late=False)
    waits_again = replace(again, state=RunState.QUEUED)
    sheet = runs_sheet([run, ended, waits, again, waits_again], now=now)
    assert [row[3] for row in sheet.rows] == ["1 min 05 s, late", "3.0 s, late", "", "5.0 s", ""]
    assert sheet.heading[4] == "IN ALL"
    assert [row[4] for row in sheet.rows] == ["", "", "", "1 min 05 s, retried", ""]
    assert "IN ALL" not in runs_sheet([run], now=now).heading


def test_steps_of_an_open_run_are_counted() -> None:
    """What has ended is shown beside what there is, for steps and for items."""
    run = RunRecord(id="r1", workflow="flow", state=RunState.RUNNING, created_at=T0, step_count=300, item_count=20)
    counts = (Progress(steps=273), Progress(steps=273, items=4), Progress())
    assert [runs_sheet([run], now=T0, progress={"r1": one}).rows[0][4] for one in counts] == [
        "273 of 300, 20 items",
        "273 of 300, 4 of 20 items",
        "300, 20 items",
    ]
