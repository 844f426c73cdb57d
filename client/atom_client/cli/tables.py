"""Tables, as plain text for pipes and in color for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from textwrap import TextWrapper, wrap
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from atom_client.text import clip, counted, lasted, local_time, one_line
from atom_client.views.reasons import clock_time
from atom_client.views.run_list import Progress
from atom_client.views.run_times import time_in_all, time_taken
from atom_client.views.step_list import remark, taken_by
from atom_client.views.user_changes import is_reopened_by_mark
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.kinds import Phase
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import StepState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from atom_client.cli.output import Output
    from atom_client.cli.screen import Screen
    from atom_client.views.attempts import TimedAttempt
    from atom_client.views.loops import LoopView

COLORS: Final = {
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "INVALID": "bold red",
    "RUNNING": "cyan",
    "DISPATCHING": "cyan",
    "SEEDING": "cyan",
    "QUEUED": "yellow",
    "RETRYING": "yellow",
    "SKIPPED": "yellow",
    "CANCELLED": "magenta",
    "PENDING": "dim",
}
MOST_ROWS: Final = 60
_LONGEST_CELL: Final = 300
_LONGEST_VALUE: Final = 60
_GAP: Final = 2
_LEAST_MESSAGE: Final = 20
"""The minimum width of a column of sentences; a narrower column would be unreadable."""

_LEAST_LINES: Final = 2
"""The most lines that a sentence may take up in a table too wide for the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A heading and rows of cells, with each cell on one line.

    `state_column` is the index of the column that holds states. If `may_be_narrowed` is True, columns that do
    not fit on a narrow terminal are left out, since their content is also shown elsewhere, and a note names them. Ids,
    in the first column, are never cut.
    """

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    state_column: int
    may_be_narrowed: bool = False

    def plain(self) -> str:
        """Return columns aligned with spaces, with nothing cut off."""
        lines = [self.heading, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heading))]
        padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(line.rstrip() for line in padded)

    def rich(self, screen: Screen) -> RenderableType:
        """Return the sheet as a table that fits the terminal."""
        if not self.may_be_narrowed:
            return _table_of(self, screen)
        widths = [max(map(len, column)) for column in zip(self.heading, *self.rows, strict=True)]
        wanted = [*widths[:-1], min(widths[-1], _LEAST_MESSAGE)]
        kept, taken = list[int](), 0
        for column, width in enumerate(wanted):
            # A column that does not fit gives way to narrower ones behind it.
            if taken + width <= screen.width:
                kept.append(column)
                taken += width + _GAP
        if kept[:2] != [0, self.state_column]:
            return self._stack(screen)
        heading, *rows = (tuple(row[column] for column in kept) for row in (self.heading, *self.rows))
        if kept[-1] == len(self.heading) - 1:
            # Otherwise, long sentences in a narrow column would fill many screens.
            room = screen.width - sum(widths[column] + _GAP for column in kept[:-1])
            each = max(_LEAST_LINES, screen.height // max(1, len(rows)))
            cut = TextWrapper(room, max_lines=each, placeholder=screen.sign("…"), break_on_hyphens=False)
            rows = [(*row[:-1], cut.fill(row[-1])) for row in rows]
        table = _table_of(replace(self, heading=heading, rows=tuple(rows)), screen)
        hidden = [name for column, name in enumerate(self.heading) if column not in kept]
        if not hidden:
            return table
        from rich.console import Group  # noqa: PLC0415 (needed on terminals only)
        from rich.text import Text  # noqa: PLC0415 (needed on terminals only)

        lines = wrap(f"Not shown on this narrow terminal: {', '.join(hidden)}.", max(screen.width, 1))
        return Group(table, *(Text(line, style="dim") for line in lines))

    def _stack(self, screen: Screen) -> RenderableType:
        """Return two lines for each row.

        The first is the whole id, the second the cells that fit. This is for terminals on which an id and a state do
        not fit side by side.
        """
        from rich.console import Group  # noqa: PLC0415 (needed on terminals only)
        from rich.text import Text  # noqa: PLC0415 (needed on terminals only)

        lines = []
        for row in (self.heading, *self.rows):
            style = "bold" if row is self.heading else ""
            cells = [Text(screen.sign(cell), style=style or COLORS.get(cell, "")) for cell in row[1:]]
            below = Text(" " * _GAP).append_text(Text(" " * _GAP).join(cells))
            below.truncate(screen.width)
            below.rstrip()
            lines += [Text(screen.sign(row[0]), style=style, no_wrap=True, overflow="ignore"), below]
        return Group(*lines)


def _table_of(sheet: Sheet, screen: Screen) -> Table:
    from rich.table import Table  # noqa: PLC0415 (needed on terminals only)
    from rich.text import Text  # noqa: PLC0415 (needed on terminals only)

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column, name in enumerate(sheet.heading):
        stays = column == sheet.state_column or (sheet.may_be_narrowed and column == 0)
        table.add_column(name, no_wrap=stays, overflow="fold")
    for row in sheet.rows:
        cells = [Text(screen.sign(cell)) for cell in row]
        cells[sheet.state_column].style = COLORS.get(row[sheet.state_column], "")
        table.add_row(*cells)
    return table


_NO_LOOPS: Final[Mapping[str, LoopView]] = MappingProxyType({})


def steps_sheet(steps: Sequence[StepRecord], loops: Mapping[str, LoopView] = _NO_LOOPS, *, now: datetime) -> Sheet:
    """Return the steps of a run, including its `loops`, as a sheet."""
    return Sheet(
        heading=("STEP", "STATE", "ATTEMPTS", "DURATION", "MESSAGE"),
        rows=tuple(
            (
                step.id,
                step.state.value,
                str(step.attempt or ""),
                lasted(taken_by(step, now)),
                clip(remark(step, loops.get(step.id)), _LONGEST_CELL),
            )
            for step in steps
        ),
        state_column=1,
        may_be_narrowed=True,
    )


def items_sheet(items: Sequence[StepRecord], *, now: datetime) -> Sheet:
    """Return items of a step as a sheet."""
    return Sheet(
        heading=("ITEM", "STATE", "ATTEMPTS", "DURATION", "VALUE", "MESSAGE"),
        rows=tuple(
            (
                shown_id(item.id),
                item.state.value,
                str(item.attempt or ""),
                lasted(taken_by(item, now)),
                clip(one_line(item.item), _LONGEST_VALUE),
                clip(remark(item), _LONGEST_CELL),
            )
            for item in items
        ),
        state_column=1,
        may_be_narrowed=True,
    )


def attempts_sheet(step: StepRecord, attempts: Sequence[TimedAttempt], *, now: datetime) -> Sheet:
    """Return the attempts of a step as a sheet.

    For an attempt that has not ended, the state of the step is shown.
    """
    from atom_client.views.attempts import durations_text  # noqa: PLC0415 (only this table needs it)

    return Sheet(
        heading=("ATTEMPT", "END", "BEGAN", "WAITED", "JOB", "MESSAGE"),
        rows=tuple(
            (
                str(one.attempt.number),
                one.attempt.kind or step.state.value,
                clock_time(one.attempt.claimed_at, now),
                durations_text(one._asdict(), {"back_off": "back-off", "submitting": "to be accepted"}),
                ", ".join(filter(None, (lasted(one.job), durations_text(one._asdict(), {"queued": "of it queued"})))),
                clip(": ".join(filter(None, map(one_line, (one.attempt.reason, one.attempt.message)))), _LONGEST_CELL),
            )
            for one in attempts
        ),
        state_column=1,
    )


def show_rerun(
    output: Output, heading: Sequence[str], rows: Sequence[tuple[str, ...]], sentences: Iterable[str]
) -> None:
    """Print a table of steps to rerun, and sentences about the others."""
    if rows:
        output.show(Sheet(heading=tuple(heading), rows=tuple(rows[:MOST_ROWS]), state_column=1))
        if len(rows) > MOST_ROWS:
            output.say(f"and {counted(len(rows) - MOST_ROWS, 'more step')}")
        output.say()
    for sentence in sentences:
        output.say(sentence)


def show_steps(
    output: Output, steps: Sequence[StepRecord], loops: Mapping[str, LoopView] = _NO_LOOPS, *, now: datetime
) -> None:
    """Print the table of a run's steps; `loops` are those with `forEach`.

    Steps under `finally` have a table of their own.
    """
    for phase in Phase:
        part = [step for step in steps if step.phase is phase]
        if part and phase is Phase.FINALLY:
            output.say("\nfinally:")
        if part:
            output.show(steps_sheet(part, loops, now=now))


def runs_sheet(
    runs: Sequence[RunRecord], *, now: datetime, progress: Mapping[str, Progress] = MappingProxyType({})
) -> Sheet:
    """Return runs as a sheet.

    `progress` holds the progress of open runs, by run id. If any run was retried, a column shows the total times.
    """
    in_all = [_in_all(run, now) for run in runs]
    return Sheet(
        heading=("RUN", "STATE", "CREATED", "DURATION", *["IN ALL"] * any(in_all), "STEPS", "WORKFLOW"),
        rows=tuple(
            (
                run.id,
                run.state.value,
                local_time(run.created_at),
                _duration_of(run, now),
                *[total] * any(in_all),
                _size_of(run, progress.get(run.id, Progress())),
                clip(one_line(run.workflow), _LONGEST_CELL),
            )
            for run, total in zip(runs, in_all, strict=True)
        ),
        state_column=1,
        may_be_narrowed=True,
    )


def _in_all(run: RunRecord, now: datetime) -> str:
    """Return the time since a reopened run first started, or ""."""
    total = time_in_all(run, now)
    how = "reopened by a mark" if is_reopened_by_mark(run) else "retried"
    return "" if total is None else f"{lasted(total)}, {how}"


def _duration_of(run: RunRecord, now: datetime) -> str:
    """Return how long a run has taken, and whether it is late.

    Example: `3.0 s, late`.
    """
    return ", ".join(filter(None, (lasted(time_taken(run, now)), "late" if run.late else "")))


def _size_of(run: RunRecord, progress: Progress) -> str:
    """Return the counts of a run's steps and items.

    Example: `4 of 6, 273 of 300 items`.
    """
    steps = _count_of(progress.steps, f"{run.step_count:,}") if run.step_count else ""
    items = _count_of(progress.items, counted(run.item_count, "item")) if run.item_count else ""
    return ", ".join(filter(None, (steps, items)))


def _count_of(ended: int | None, total: str) -> str:
    return total if ended is None else f"{ended:,} of {total}"


def worth_showing(steps: Sequence[StepRecord]) -> list[StepRecord]:
    """Return the steps to show: all, or only unusual ones.

    For a large run, this is limited to a screen or two of steps that did not succeed on their first attempt.
    """
    if len(steps) <= MOST_ROWS:
        return list(steps)
    remarkable = [step for step in steps if step.state is not StepState.SUCCEEDED or step.attempt > 1]
    # Failed steps come first, then those that were skipped only because of them, then those skipped by choice.
    remarkable.sort(key=lambda step: (step.state is StepState.SKIPPED, step.by_choice))
    return remarkable[:MOST_ROWS]
