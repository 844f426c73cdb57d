"""The colors of states in files.

A color never appears without the name of its state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from atom_workflows.core.states import StepState


class Colors(NamedTuple):
    """The fill, the border and the text of a box."""

    fill: str
    border: str
    text: str


PLAIN: Final = Colors("#f6f8fa", "#57606a", "#1f2328")
PLAIN_DARK: Final = Colors("#21262d", "#8b949e", "#e6edf3")

_GREEN: Final = Colors("#dafbe1", "#1a7f37", "#1f2328")
_BLUE: Final = Colors("#ddf4ff", "#0969da", "#1f2328")
_RED: Final = Colors("#ffebe9", "#cf222e", "#1f2328")
_YELLOW: Final = Colors("#fff8c5", "#9a6700", "#1f2328")
_PURPLE: Final = Colors("#fbefff", "#8250df", "#1f2328")

LIGHT: Final[Mapping[StepState, Colors]] = {
    StepState.PENDING: PLAIN,
    StepState.DISPATCHING: _BLUE,
    StepState.RUNNING: _BLUE,
    StepState.RETRYING: _YELLOW,
    StepState.SUCCEEDED: _GREEN,
    StepState.FAILED: _RED,
    StepState.SKIPPED: _YELLOW,
    StepState.CANCELLED: _PURPLE,
}

DARK: Final[Mapping[StepState, Colors]] = {
    StepState.PENDING: PLAIN_DARK,
    StepState.DISPATCHING: Colors("#0c2d6b", "#58a6ff", "#e6edf3"),
    StepState.RUNNING: Colors("#0c2d6b", "#58a6ff", "#e6edf3"),
    StepState.RETRYING: Colors("#4b2900", "#d29922", "#e6edf3"),
    StepState.SUCCEEDED: Colors("#033a16", "#3fb950", "#e6edf3"),
    StepState.FAILED: Colors("#67060c", "#f85149", "#e6edf3"),
    StepState.SKIPPED: Colors("#4b2900", "#d29922", "#e6edf3"),
    StepState.CANCELLED: Colors("#3c1e70", "#a371f7", "#e6edf3"),
}
