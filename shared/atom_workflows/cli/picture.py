"""The live picture of a run for a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from atom_workflows.cli.sheets import COLOURS
from atom_workflows.cli.text import clip, one_line
from atom_workflows.cli.view import RunView, StepView

_LINES_AROUND: Final = 6
"""Lines of the screen that the steps must leave: the heading, the bar, the counts and the prompt."""

_MOST_STEPS: Final = 40
_LONGEST_BAR: Final = 60
_LONGEST_ID: Final = 40


def picture(view: RunView, *, elapsed_s: float, width: int, height: int) -> RenderableType:
    """The run at that moment, at most that large."""
    rows = view.rows(max(1, min(height - _LINES_AROUND, _MOST_STEPS)))
    parts: list[RenderableType] = [_heading(view, elapsed_s), _bar(view, width), _counts(view)]
    if rows:
        parts += [Text(), _steps(rows, width)]
    return Group(*parts)


def _heading(view: RunView, elapsed_s: float) -> Text:
    minutes, seconds = divmod(int(elapsed_s), 60)
    state = Text(view.state.value, style=COLOURS.get(view.state, ""))
    return Text.assemble("Run ", (view.run_id, "bold"), " ", state, f"  {minutes}:{seconds:02}")


def _bar(view: RunView, width: int) -> Text:
    length = min(width, _LONGEST_BAR)
    done = length * view.ended // max(1, view.total)
    return Text.assemble(("━" * done, "green"), ("─" * (length - done), "dim"))


def _counts(view: RunView) -> Text:
    parts = [Text(f"{count:,} {state}", style=COLOURS.get(state, "")) for state, count in view.counts.items()]
    return Text.assemble(f"{view.ended:,} of {view.total:,} ended: ", Text(", ").join(parts))


def _steps(rows: list[StepView], width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for step in rows:
        state = Text(step.state.value, style=COLOURS.get(step.state, ""))
        table.add_row(Text(clip(step.id, _LONGEST_ID)), state, Text(clip(_remark(step), width)))
    return table


def _remark(step: StepView) -> str:
    attempt = f"attempt {step.attempt}" if step.attempt > 1 else ""
    job = step.job_state if not step.state.is_terminal and step.job_state not in {"", step.state.value} else ""
    return "  ".join(filter(None, (attempt, job, one_line(step.message))))
