"""Watching a run with events that come, that are late, or that never come."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from atom_client.cli.follow import LAST_EVENTS_WITHIN_S, follow, seconds_of
from atom_client.cli.live import Lines
from atom_client.cli.live_view import picture
from atom_client.cli.output import Output
from atom_client.cli.screen import Screen
from atom_client.errors import Failure
from atom_client.views.progress import RunView
from atom_emulator.testing.world import START
from atom_workflows.adapters.pubsub.change_feed import changes_in
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.errors import StoreUnavailable
from unit.client.changes import change, run_change

RUNNING = RunRecord(id="r1", workflow="flow", state=RunState.RUNNING, created_at=START, step_count=2)
SUCCEEDED = replace(RUNNING, state=RunState.SUCCEEDED)
INVALID = replace(RUNNING, state=RunState.INVALID, step_count=0, errors=({"step": None, "message": "no such file"},))
Changes = Sequence[Mapping[str, Any]]


@dataclass
class Scene:
    """A run whose changes and documents are given, one of each a look; a look takes a second."""

    changes: list[Changes] = field(default_factory=list)
    documents: list[RunRecord | None] = field(default_factory=list)
    now: float = 0.0
    away: tuple[float, float] = (0.0, 0.0)
    looks: int = 0

    def take(self, timeout_s: float) -> Changes:
        """Return the next changes after the time that waiting takes."""
        self.now += timeout_s
        return self.changes.pop(0) if self.changes else []

    def read_run(self) -> RunRecord | None:
        """Return the next document, at the end always the last one."""
        self.looks += 1
        if self.away[0] <= self.now < self.away[1]:
            self.now += 30
            raise StoreUnavailable("Firestore did not answer")
        return self.documents.pop(0) if len(self.documents) > 1 else self.documents[0]

    def monotonic(self) -> float:
        """Return the time of this scene."""
        return self.now

    def follow(
        self, *, total: int = 2, timeout_s: float | None = None, superseded: RunRecord | None = None
    ) -> tuple[RunRecord, list[str]]:
        """Watch; the run, and the lines that were printed."""
        view = RunView(run_id="r1", total=total)
        printed = io.StringIO()
        with redirect_stdout(printed), Lines(Output(), view, self.monotonic) as show:
            run = follow(
                view,
                feed=self,
                read_run=self.read_run,
                show=show,
                timeout_s=timeout_s,
                superseded=superseded,
                monotonic=self.monotonic,
            )
        return run, [line.partition("] ")[2] for line in printed.getvalue().splitlines()]


def test_a_store_that_is_away_for_minutes_ends_nothing() -> None:
    """A store that is away for minutes does not end following."""
    run, _ = Scene(documents=[RUNNING, SUCCEEDED], away=(1, 240)).follow()
    assert run.state is RunState.SUCCEEDED


def test_time_is_up_while_the_store_is_away() -> None:
    """After the time limit the run is returned as last seen."""
    scene = Scene(documents=[RUNNING], away=(1, 1e9))
    assert scene.follow(timeout_s=60)[0] is RUNNING
    assert scene.now < 100


@pytest.mark.parametrize("away", [(0, 1e9), (1, 1e9)])
def test_a_store_that_stays_away_is_reported(away: tuple[float, float]) -> None:
    """A store that stays away raises StoreUnavailable within minutes."""
    scene = Scene(documents=[RUNNING], away=away)
    with pytest.raises(StoreUnavailable):
        scene.follow()
    assert scene.now < 400


@pytest.mark.parametrize("documents", [[RUNNING, None], [RUNNING, RUNNING, None]])
def test_a_run_that_is_deleted_is_not_one_that_never_appeared(documents: list[RunRecord | None]) -> None:
    """A run that was there and is gone is reported at once as deleted."""
    scene = Scene(documents=documents)
    with pytest.raises(Failure, match="run r1 was deleted while it was being followed"):
        scene.follow()
    assert scene.now < 5


def test_every_change_of_a_small_run_is_a_line() -> None:
    """Changes are printed as they come, until the run's end."""
    first = [change("a", "RUNNING", at=1)]
    last = [change("a", "SUCCEEDED", at=2), change("b", "FAILED", at=3, message="no\x1b[2J disk"), run_change("FAILED")]
    scene = Scene([first, last], [RUNNING, replace(RUNNING, state=RunState.FAILED)])
    run, lines = scene.follow()
    assert run.state is RunState.FAILED
    assert lines == ["a RUNNING", "a SUCCEEDED", "b FAILED: no disk"]


def test_a_line_says_why_a_job_ended_and_whether_that_is_tolerated() -> None:
    """The reason and `tolerated` stand before the message."""
    failed = {**change("a", "FAILED", at=1, message="no memory"), "reason": "OOM", "tolerated": True}
    scene = Scene(changes=[[failed], [run_change("SUCCEEDED")]], documents=[SUCCEEDED])
    assert "a FAILED: tolerated: OOM: no memory" in "\n".join(scene.follow()[1])


def test_the_end_of_the_main_part_is_a_line() -> None:
    """Once the steps under `finally` begin, the main part's result is shown."""
    after_main = replace(RUNNING, main_state=RunState.FAILED)
    documents: list[RunRecord | None] = [RUNNING, after_main, after_main, replace(after_main, state=RunState.FAILED)]
    printed = "\n".join(Scene(documents=documents).follow()[1])
    assert printed.count("main part FAILED; now running the steps under `finally`") == 1


AFTER_MAIN = replace(
    RUNNING,
    main_state=RunState.FAILED,
    finally_timeout=timedelta(hours=1),
    deadline=START + timedelta(hours=1, seconds=2),
)
"""The run once its main part has ended after two seconds."""

OF_MAIN = [change("a", "RUNNING", at=1), change("a", "FAILED", at=2)]
OF_FINALLY = [change("clean", "RUNNING", at=3), change("clean", "SUCCEEDED", at=4)]


@pytest.mark.parametrize(
    ("changes", "documents"),
    [
        # The document is due a second after the last look, but the steps under `finally` are shown at once.
        ([OF_MAIN[:1], OF_MAIN[1:], OF_FINALLY], [replace(RUNNING, finally_timeout=timedelta(hours=1)), AFTER_MAIN]),
        ([OF_MAIN, OF_FINALLY[:1], OF_FINALLY[1:]], [None, AFTER_MAIN]),
        # All of it happens between two looks.
        ([[*OF_FINALLY, *OF_MAIN]], [AFTER_MAIN]),
        ([[*OF_MAIN, *OF_FINALLY, run_change("FAILED")]], []),
    ],
)
def test_the_end_of_the_main_part_is_between_its_steps_and_those_under_finally(
    changes: list[Changes], documents: list[RunRecord | None]
) -> None:
    """The line about the main part follows those of its steps, and precedes those of the steps under `finally`."""
    ended = replace(AFTER_MAIN, state=RunState.FAILED)
    _, lines = Scene(changes, [*documents, *documents[-1:] * 20, ended]).follow()
    ends = "main part FAILED; now running the steps under `finally`"
    assert [line for line in lines if "RUNNING" not in line] == ["a FAILED", ends, "clean SUCCEEDED"]
    assert not any(line.startswith("clean") for line in lines[: lines.index(ends)])


def test_the_picture_names_the_main_parts_result() -> None:
    """The heading says that the steps under `finally` are at work."""
    view = RunView(run_id="r1", total=2, state=RunState.RUNNING, main_state=RunState.FAILED)
    drawn = picture(view, elapsed_s=5, screen=Screen(width=80, height=24))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        console.print(drawn)
    assert capture.get().splitlines()[0].startswith("Run r1 RUNNING (main part FAILED, `finally` running)  0:05")


def test_a_change_that_reads_like_the_last_one_is_no_line() -> None:
    """A step's line is not printed twice in a row."""
    changes = [
        [change("a", "RUNNING", at=1)],
        [change("a", "RUNNING", at=2)],
        [change("a", "RUNNING", attempt=2, at=3)],
    ]
    _, lines = Scene(list(changes), [*[RUNNING] * 2, SUCCEEDED]).follow()
    assert lines == ["a RUNNING", "a RUNNING (attempt 2)"]


def test_the_end_is_seen_without_any_event() -> None:
    """The run's document shows its end even if events are lost."""
    run, _ = Scene(documents=[None, RUNNING, RUNNING, SUCCEEDED]).follow()
    assert run is SUCCEEDED


def test_the_document_is_read_once_a_second() -> None:
    """Watching costs a read a second, however many events come."""
    scene = Scene([[change("a", "RUNNING", at=i)] for i in range(40)], [*[RUNNING] * 10, SUCCEEDED])
    scene.follow()
    assert scene.looks == 11
    assert scene.now == pytest.approx(10.25 + LAST_EVENTS_WITHIN_S)


def test_items_that_were_not_read_are_counted_every_ten_seconds() -> None:
    """A view of a run with very many items is corrected rarely, and never while the run waits."""
    scene = Scene([], [*[replace(RUNNING, state=RunState.QUEUED)] * 5, *[RUNNING] * 20, SUCCEEDED])
    counted_at = list[float]()

    def recount(view: RunView) -> RunView:
        counted_at.append(scene.now)
        return view

    view = RunView(run_id="r1", total=2)
    with redirect_stdout(io.StringIO()), Lines(Output(), view, scene.monotonic) as show:
        follow(view, feed=scene, read_run=scene.read_run, show=show, recount=recount, monotonic=scene.monotonic)
    assert counted_at == pytest.approx([10.25, 20.25], abs=1)


def test_the_last_events_are_waited_for() -> None:
    """Events that come after the document's end are still printed."""
    last = [change("b", "FAILED", at=2), run_change("FAILED")]
    scene = Scene([[change("a", "SUCCEEDED", at=1)], [], last], [replace(RUNNING, state=RunState.FAILED)])
    _, lines = scene.follow()
    assert lines == ["a SUCCEEDED", "b FAILED"]
    assert scene.now < LAST_EVENTS_WITHIN_S


def test_waiting_ends_when_time_is_up() -> None:
    """A time limit answers the run as it stands."""
    scene = Scene(documents=[RUNNING])
    run, _ = scene.follow(timeout_s=3)
    assert run is RUNNING
    assert scene.now < 5


@pytest.mark.parametrize(("timeout_s", "least"), [(None, 60.0), (5.0, 5.0)])
def test_a_run_that_does_not_appear_is_an_error(timeout_s: float | None, least: float) -> None:
    """A start message that no one takes is noticed."""
    scene = Scene(documents=[None])
    with pytest.raises(Failure, match="has not appeared"):
        scene.follow(timeout_s=timeout_s)
    assert least <= scene.now < least + 2


def test_an_invalid_run_of_an_earlier_start_is_not_the_outcome() -> None:
    """An INVALID run that an earlier start left is not the result."""
    run, _ = Scene(documents=[INVALID, INVALID, RUNNING, SUCCEEDED]).follow(superseded=replace(INVALID))
    assert run is SUCCEEDED


def test_a_new_invalid_run_is_the_outcome() -> None:
    """A start that is refused for a new reason is reported with that reason."""
    other = replace(INVALID, errors=({"step": None, "message": "no Task Runner"},))
    run, _ = Scene(documents=[INVALID, other]).follow(superseded=INVALID)
    assert run is other


def test_an_invalid_run_that_stays_is_an_error() -> None:
    """A run that stays INVALID as an earlier start left it is an error."""
    scene = Scene(documents=[INVALID])
    with pytest.raises(Failure, match="is still INVALID from an earlier start"):
        scene.follow(timeout_s=5, superseded=INVALID)
    assert 5 <= scene.now < 7


def test_a_large_run_prints_a_line_every_few_seconds() -> None:
    """2,000 steps print progress and each failure, not 2,000 lines."""
    changes = [[change(f"s{i}", "SUCCEEDED", at=i)] for i in range(40)]
    changes[3] = [change("s3", "FAILED", message="broken")]
    _, lines = Scene(list(changes), [*[RUNNING] * 12, SUCCEEDED]).follow(total=2000)
    assert lines[0] == "s3 FAILED: broken"
    assert lines[-1] == "40 of 2,000 steps ended: 1,960 PENDING, 39 SUCCEEDED, 1 FAILED"
    assert len(lines) <= 5


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b"{}", b'{"changes": 3}', b"\xff", b"null"])
def test_foreign_messages_are_ignored(content: bytes) -> None:
    """A message of another program is no error."""
    assert changes_in(content, "run") == []


def test_changes_of_other_runs_are_ignored() -> None:
    """A subscription may deliver what its filter should have kept away."""
    content = json.dumps({"run_id": "run", "changes": [{"step": "a"}]}).encode()
    assert changes_in(content, "run") == [{"step": "a"}]
    assert changes_in(content, "other") == []


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5", 1.5), ("2m", 120), ("1h30m", 5400)])
def test_time_limits_are_seconds_or_durations(text: str, seconds: float) -> None:
    """`90` and `90s` are the same."""
    assert seconds_of(text) == seconds


def drawn(view: RunView, *, width: int = 60, height: int = 12, encoding: str = "utf-8") -> list[str]:
    """Return the picture as plain text."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(picture(view, elapsed_s=65, screen=Screen(width=width, height=height, encoding=encoding)))
    return capture.get().splitlines()


def test_the_picture_of_a_small_run() -> None:
    """Heading, bar, counts, and every step with what is known of it."""
    view = RunView(run_id="r1", total=2, order=("first", "second"), state=RunState.RUNNING)
    lines = drawn(view.with_changes([change("first", "RUNNING", attempt=2, message="[b]go[/b]")]))
    assert lines[0] == "Run r1 RUNNING  1:05"
    assert lines[2] == "0 of 2 ended: 1 PENDING, 1 RUNNING"
    assert lines[4].split() == ["first", "RUNNING", "attempt", "2", "[b]go[/b]"]
    assert lines[5].split() == ["second", "PENDING"]


LONG = "the warehouse refused the load job because its table has another schema than the file,\nas column 5 shows"
TRACEBACK = f"Traceback (most recent call last):\n  {LONG}\nKeyError: 'id'"
ROWS = (
    change("extract-customers", "SUCCEEDED"),
    change("load-orders-of-europe", "FAILED", message=LONG),
    change("load-orders-of-america", "RETRYING", message=TRACEBACK),
)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_message_takes_only_the_room_that_id_and_state_leave(width: int) -> None:
    """Ids and states are shown before any part of a message."""
    names = [change["step"] for change in ROWS]
    lines = drawn(RunView(run_id="r1", total=3, order=tuple(names)).with_changes(ROWS), width=width)[-3:]
    assert all(change["state"] in line for change, line in zip(ROWS, lines, strict=True))
    shown = [line.split()[0] for line in lines]
    if width >= 60:
        assert shown == names
        assert "the warehouse" in lines[1]
        assert lines[2].split(maxsplit=2)[2:] == ["KeyError: 'id'"]
    else:
        beginnings_and_ends = [(name[:3], name[-2:]) for name in names]
        assert [(one[:3], one[-2:]) for one in shown] == beginnings_and_ends
    assert max(map(len, lines)) <= width


def test_an_outlier_among_ids_leaves_room_for_messages() -> None:
    """A very long id takes its room from its own message, and is shortened only if it does not fit beside its state."""
    changes = [*ROWS, change("y" * 60, "RUNNING"), change("x" * 90 + "-end", "RUNNING")]
    view = RunView(run_id="r1", total=5, order=tuple(change["step"] for change in changes)).with_changes(changes)
    lines = drawn(view, width=80)
    assert "the warehouse refused" in lines[-4]
    assert lines[-2].split() == ["y" * 60, "RUNNING"]
    assert lines[-1].split()[0].startswith("xxx")
    assert lines[-1].split()[0].endswith("-end")
    assert "x" * 90 + "-end" in drawn(view, width=200)[-1]


def test_a_count_is_never_parted_from_its_state() -> None:
    """Counts that need two lines are broken between two states, and the rows leave room for them."""
    states = ("SUCCEEDED", "FAILED", "RUNNING", "DISPATCHING", "RETRYING", "SKIPPED", "CANCELLED")
    changes = [change(f"step-{i:03}", states[i % 7]) for i in range(280)]
    lines = drawn(RunView(run_id="r1", total=300).with_changes(changes), width=60, height=12)
    assert lines[2:5] == [
        "160 of 300 ended: 20 PENDING, 40 DISPATCHING, 40 RUNNING,",
        "40 RETRYING, 40 SUCCEEDED, 40 FAILED, 40 SKIPPED,",
        "40 CANCELLED",
    ]
    assert len(lines) < 12


def test_an_id_that_does_not_fit_gets_what_a_short_remark_leaves() -> None:
    """An id that is wider than the screen is cut no shorter than its remark requires."""
    changes = [*ROWS, change("x" * 60, "RETRYING", attempt=2)]
    lines = drawn(
        RunView(run_id="r1", total=4, order=tuple(one["step"] for one in changes)).with_changes(changes), width=60
    )
    assert lines[-1].endswith("RETRYING   attempt 2")
    assert len(lines[-1]) == 60


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_and_states_of_a_large_run_are_readable(width: int) -> None:
    """With 300 steps and long messages, every line has a whole id and its state, at any width."""
    changes = [change(f"load-orders-of-the-region-{i:03}-daily", STATES[i % 4], message=LONG * 3) for i in range(300)]
    view = RunView(run_id="nightly-0123456789ab", total=300).with_changes(changes)
    lines = drawn(view, width=width, height=24)
    rows = [line.split() for line in lines[lines.index("") + 1 :]]
    assert len(rows) > 10
    assert {(row[0], row[1]) for row in rows} <= {(change["step"], change["state"]) for change in changes}
    assert max(map(len, lines)) <= width
    assert len(lines) < 24


STATES = ("SUCCEEDED", "FAILED", "RUNNING", "DISPATCHING")


def test_what_runs_shows_how_long_its_attempt_has_taken() -> None:
    """The time counts from the first change of the attempt; steps that wait or have ended show none."""
    changes = [change("a", "DISPATCHING"), change("a", "RUNNING", at=3), change("b", "SUCCEEDED", at=5)]
    view = RunView(run_id="r1", total=3, order=("a", "b", "c")).with_changes(changes)
    again = view.with_changes([change("a", "RUNNING", at=65, attempt=2)])
    for seen, shown in ((view, ["1:05"]), (again, ["0:00", "attempt", "2"])):
        console = Console(file=io.StringIO(), width=60, color_system=None)
        with console.capture() as capture:
            screen = Screen(width=60, height=24)
            console.print(picture(seen, elapsed_s=65, screen=screen, now=START + timedelta(seconds=65)))
        lines = capture.get().splitlines()
        assert [line.split()[2:] for line in lines[-3:]] == [shown, [], []]


def test_the_picture_uses_no_sign_that_the_terminal_lacks() -> None:
    """Signs that the terminal lacks are replaced, and measured as replaced."""
    view = RunView(run_id="r1", total=2).with_changes([change("a", "FAILED", message="Umsätze ✗ " * 20)])
    lines = drawn(view, encoding="ascii", width=60)
    assert "".join(lines).isascii()
    assert lines[1] == "=" * 30 + "-" * 30
    assert lines[-1].startswith(r"a  FAILED  Ums\xe4tze \u2717")
    assert lines[-1].endswith("...")


@pytest.mark.parametrize("height", [3, 12, 24, 400])
@pytest.mark.parametrize("width", [20, 80])
def test_the_picture_never_outgrows_the_screen(height: int, width: int) -> None:
    """A run of 2,000 steps fits any screen that holds the heading."""
    changes = [change(f"a-rather-long-step-name-{i}", "RUNNING", at=i, message="m" * 300) for i in range(2000)]
    view = RunView(run_id="r1", total=2000).with_changes(changes)
    lines = drawn(view, width=width, height=height)
    assert len(lines) <= max(height, 8)
    assert max(map(len, lines)) <= width
