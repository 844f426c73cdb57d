"""The live display of a run on a terminal.

Each step has one line. Its id and its state come first; remarks use the rest of the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.text import Text

from atom_client.cli.screen import Screen
from atom_client.cli.tables import COLOURS
from atom_client.text import one_line
from atom_client.views.progress import RunView, StepView

_LINES_AROUND: Final = 6
"""The number of screen lines that do not show steps: the heading, the bar, the counts and the prompt."""

_MOST_STEPS: Final = 40
_LONGEST_BAR: Final = 60
_GAP: Final = 2
_ROOM_FOR_REMARKS: Final = 24
"""The width reserved for remarks, if there are any. Ids get the rest, but never less than `_LEAST_ID`."""

_LEAST_ID: Final = 12
_TRACEBACK: Final = "Traceback (most recent call last)"


def picture(view: RunView, *, elapsed_s: float, screen: Screen) -> RenderableType:
    """Draw the run's progress, no larger than the screen."""
    rows = view.rows(max(1, min(screen.height - _LINES_AROUND, _MOST_STEPS)))
    length = min(screen.width, _LONGEST_BAR)
    done = length * view.ended // max(1, view.total)
    bar = Text.assemble((screen.sign("━") * done, "green"), (screen.sign("─") * (length - done), "dim"))
    counts = [Text(f"{count:,} {state}", style=COLOURS.get(state, "")) for state, count in view.counts.items()]
    progress = Text.assemble(f"{view.ended:,} of {view.total:,} ended: ", Text(", ").join(counts))
    minutes, seconds = divmod(int(elapsed_s), 60)
    clock = f"  {minutes}:{seconds:02}"
    if view.main_state is not None and not view.state.is_terminal:
        clock = f" (main part {view.main_state}, `finally` running){clock}"
    state = Text(view.state.value, style=COLOURS.get(view.state, ""))
    room = screen.width - len("Run ") - len(" ") - len(state) - len(clock)
    heading = Text.assemble("Run ", (screen.ends(view.run_id, max(room, 1)), "bold"), " ", state, clock)
    parts: list[RenderableType] = [_cut(heading, screen), bar, progress]
    if view.waits:
        parts.append(_cut(Text(screen.head(view.waits, screen.width)), screen))
    if rows:
        parts += [Text(), *_steps(rows, screen)]
    return Group(*parts)


def _steps(rows: Sequence[StepView], screen: Screen) -> list[Text]:
    remarks = [_remark(step) for step in rows]
    states = max(len(step.state.value) for step in rows)
    # Ids use the width that the states leave, but keep some of it free for remarks.
    room = screen.width - states - _GAP
    if any(remarks):
        room = min(max(room - _GAP - _ROOM_FOR_REMARKS, _LEAST_ID), room)
    ids = min(max(cell_len(screen.sign(step.id)) for step in rows), max(1, room))
    left = screen.width - ids - states - 2 * _GAP
    gap = " " * _GAP
    lines = []
    for step, remark in zip(rows, remarks, strict=True):
        name = set_cell_size(screen.ends(step.id, ids), ids)
        state = (step.state.value.ljust(states), COLOURS.get(step.state, ""))
        lines.append(_cut(Text.assemble(name, gap, state, gap, screen.head(remark, max(left, 0))), screen))
    return lines


def _cut(line: Text, screen: Screen) -> Text:
    """Cut off what does not fit on a very narrow screen."""
    line.rstrip()
    line.truncate(screen.width, overflow="crop")
    return line


def _remark(step: StepView) -> str:
    attempt = f"attempt {step.attempt}" if step.attempt > 1 else ""
    job = step.job_state if not step.state.is_terminal and step.job_state not in {"", step.state.value} else ""
    lines = step.message.rstrip().splitlines()
    # The last line of a traceback names the error.
    is_traceback = bool(lines) and lines[0].startswith(_TRACEBACK)
    message = one_line(replace(step, message=lines[-1] if is_traceback else step.message).remark)
    return "  ".join(filter(None, (attempt, job, message)))
