"""The live display of a run on a terminal.

Each step has one line. Its id and its state come first; remarks use the rest of the width. An id is shown in full
whenever it fits beside the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.text import Text

from atom_client.cli.screen import Screen
from atom_client.cli.tables import COLORS
from atom_client.text import one_line
from atom_client.views.progress import RunView, StepView
from atom_workflows.core.states import StepState

_LINES_AROUND: Final = 6
"""The number of screen lines that do not show steps: the heading, the bar, the counts and the prompt."""

_MOST_STEPS: Final = 40
_LONGEST_BAR: Final = 60
_GAP: Final = 2
_ROOM_FOR_REMARKS: Final = 24
"""The width reserved for remarks, if there are any. Ids get the rest, but never less than `_LEAST_ID`."""

_LEAST_ID: Final = 12
_TIMED: Final = (StepState.DISPATCHING, StepState.RUNNING)
_TRACEBACK: Final = "Traceback (most recent call last)"


def picture(view: RunView, *, elapsed_s: float, screen: Screen, now: datetime | None = None) -> RenderableType:
    """Draw the run's progress, no larger than the screen.

    With `now`, steps under way show how long their attempts have taken so far.
    """
    progress = _progress(view, screen)
    rows = view.rows(max(1, min(screen.height - _LINES_AROUND - len(progress) + 1, _MOST_STEPS)))
    length = min(screen.width, _LONGEST_BAR)
    done = length * view.ended // max(1, view.total)
    bar = Text.assemble((screen.sign("━") * done, "green"), (screen.sign("─") * (length - done), "dim"))
    clock = f"  {_clock(timedelta(seconds=elapsed_s))}"
    if view.main_state is not None and not view.state.is_terminal:
        clock = f" (main part {view.main_state}, `finally` running){clock}"
    state = Text(view.state.value, style=COLORS.get(view.state, ""))
    room = screen.width - len("Run ") - len(" ") - len(state) - len(clock)
    heading = Text.assemble("Run ", (screen.ends(view.run_id, max(room, 1)), "bold"), " ", state, clock)
    parts: list[RenderableType] = [_cut(heading, screen), bar, *progress]
    if view.waits:
        parts.append(_cut(Text(screen.head(view.waits, screen.width)), screen))
    if rows:
        parts += [Text(), *_steps(rows, screen, now)]
    return Group(*parts)


def _progress(view: RunView, screen: Screen) -> list[Text]:
    """Return lines with the number of steps in each state.

    Lines are never broken between a number and its state.
    """
    lines = [Text(f"{view.ended:,} of {view.total:,} ended:")]
    counts = list(view.counts.items())
    for place, (state, count) in enumerate(counts, start=1):
        comma = "," if place < len(counts) else ""
        part = Text.assemble((f"{count:,} {state}", COLORS.get(state, "")), comma)
        if len(lines[-1]) + 1 + len(part) <= screen.width:
            lines[-1].append(" ").append_text(part)
        else:
            lines.append(part)
    return [_cut(line, screen) for line in lines]


def _steps(rows: Sequence[StepView], screen: Screen, now: datetime | None) -> list[Text]:
    remarks = [_remark(step, now) for step in rows]
    states = max(len(step.state.value) for step in rows)
    # Ids use the width that the states leave, but keep some of it free for remarks.
    widest = max(1, screen.width - states - _GAP)
    room = min(max(widest - _GAP - _ROOM_FOR_REMARKS, _LEAST_ID), widest) if any(remarks) else widest
    lengths = [cell_len(screen.sign(step.id)) for step in rows]
    ids = min(max(lengths), room)
    gap = " " * _GAP
    lines = []
    for step, remark, length in zip(rows, remarks, lengths, strict=True):
        # An id that is longer than the column takes what it needs from its own remark, or, if it does not fit at all,
        # what a short remark leaves.
        spared = widest - (_GAP + min(cell_len(remark), _ROOM_FOR_REMARKS) if remark else 0)
        taken = max(ids, length if length <= widest else spared)
        name = set_cell_size(screen.ends(step.id, taken), taken)
        state = (step.state.value.ljust(states), COLORS.get(step.state, ""))
        left = max(screen.width - taken - states - 2 * _GAP, 0)
        lines.append(_cut(Text.assemble(name, gap, state, gap, screen.head(remark, left)), screen))
    return lines


def _cut(line: Text, screen: Screen) -> Text:
    """Cut off what does not fit on a very narrow screen."""
    line.rstrip()
    line.truncate(screen.width, overflow="crop")
    return line


def _clock(elapsed: timedelta) -> str:
    """Format an elapsed time as `1:05` or `2:01:05`, whose width rarely changes."""
    minutes, seconds = divmod(max(0, int(elapsed.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _remark(step: StepView, now: datetime | None) -> str:
    taken = ""
    if now is not None and step.began_at is not None and step.state in _TIMED:
        taken = _clock(now - step.began_at)
    attempt = f"attempt {step.attempt}" if step.attempt > 1 else ""
    job = step.job_state if not step.state.is_terminal and step.job_state not in {"", step.state.value} else ""
    lines = step.message.rstrip().splitlines()
    # The last line of a traceback names the error.
    is_traceback = bool(lines) and lines[0].startswith(_TRACEBACK)
    message = one_line(replace(step, message=lines[-1] if is_traceback else step.message).remark)
    return "  ".join(filter(None, (taken, attempt, job, message)))
