"""Show a run in progress, live on terminals and as text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from atom_client.cli.output import Output, screen_of
from atom_client.text import clip, one_line
from atom_client.views.progress import RunView, StepView
from atom_workflows.core.states import StepState

if TYPE_CHECKING:
    from rich.live import Live

REDRAW_EVERY_S: Final = 0.25
CLOCK_EVERY_S: Final = 1.0
SMALL_RUN: Final = 50
"""In a run with at most this many steps, every change is printed on a line of its own."""

PROGRESS_EVERY_S: Final = 5.0
MOST_FAILURE_LINES: Final = 20
_LONGEST_MESSAGE: Final = 400

Monotonic = Callable[[], float]


class Show(Protocol):
    """A display of a run.

    `update` may be called often, even with an unchanged view.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, view: RunView) -> None:
        """Show everything that has changed."""
        ...

    def finish(self, view: RunView) -> None:
        """Show everything that has been held back.

        This must be the last call.
        """
        ...


def show_on(output: Output, view: RunView) -> Show:
    """Return the kind of display that suits the output."""
    return Picture(output, view) if output.is_terminal else Lines(output, view)


class Lines:
    """Prints a run's changes line by line.

    For a small run, every change is printed; for a large run, only progress and failures. The progress of a large run
    is printed every few seconds, and so is the progress of a step's items, however few they are.
    """

    def __init__(self, output: Output, view: RunView, monotonic: Monotonic = time.monotonic) -> None:
        self._output = output
        self._shown = view
        self._monotonic = monotonic
        self._started = monotonic() - view.already_s
        self._progress_at = monotonic()
        self._progressed = view
        self._failures = 0
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, view: RunView) -> None:
        """Print lines for everything that has changed."""
        # An unchanged view is the same object.
        if view is not self._shown:
            for item in view.failed_items(self._shown):
                self._failures += 1
                # The others are only counted.
                if self._failures <= MOST_FAILURE_LINES:
                    self._say_of(item.id, step_line(item))
            news = view.news(self._shown)
            if view.waits != self._shown.waits:
                self._say(view.waits or "it now has a place in its group and is starting")
            if view.main_state is not None and self._shown.main_state is None:
                of_main = [step for step in news if view.main_ended_at is None or step.at <= view.main_ended_at]
                self._say_steps(of_main, view)
                self._say(f"main part {view.main_state}; now running the steps under `finally`")
                news = news[len(of_main) :]
            self._say_steps(news, view)
            self._shown = view
        if self._monotonic() - self._progress_at >= PROGRESS_EVERY_S:
            self._progress_at = self._monotonic()
            self._say_progress(view)

    def finish(self, view: RunView) -> None:
        """See `Show.finish`."""
        self.update(view)
        self._say_progress(view)

    def _say_steps(self, news: Sequence[StepView], view: RunView) -> None:
        for step in news:
            failed = step.state is StepState.FAILED and not step.tolerated
            self._failures += failed
            # In a large run, only the first failures get lines.
            if view.total > SMALL_RUN and not (failed and self._failures <= MOST_FAILURE_LINES):
                continue
            line = step_line(step)
            # A new job state reported by the Task Runner, for example, does not change the line.
            self._say_of(step.id, line)

    def _say_progress(self, view: RunView) -> None:
        """Print the progress of a large run and of its loops."""
        if view is self._progressed:
            return
        self._progressed = view
        if view.total > SMALL_RUN:
            self._say(counts_line(view))
        for step in view.loops:
            # The line for its end has been printed.
            if not step.state.is_terminal:
                self._say_of(step.id, step_line(step))

    def _say_of(self, step_id: str, line: str) -> None:
        """Print a line about a step unless it repeats the last one."""
        if line != self._last.get(step_id):
            self._last[step_id] = line
            self._say(line)

    def _say(self, text: str) -> None:
        self._output.say(f"[{self._monotonic() - self._started:7.1f} s] {text}")


class Picture:
    """A display that is never larger than the screen.

    It is redrawn at most four times a second.
    """

    def __init__(self, output: Output, view: RunView, monotonic: Monotonic = time.monotonic) -> None:
        from rich.live import Live  # noqa: PLC0415 (needed on terminals only)

        self._monotonic = monotonic
        self._started = monotonic() - view.already_s
        self._drawn_at = monotonic() - CLOCK_EVERY_S
        self._drawn = view
        self._console = output.console()
        self._live: Live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def update(self, view: RunView) -> None:
        """Redraw the display if a redraw is due."""
        since = self._monotonic() - self._drawn_at
        if since >= (CLOCK_EVERY_S if view is self._drawn else REDRAW_EVERY_S):
            self._draw(view)

    def finish(self, view: RunView) -> None:
        """See `Show.finish`."""
        self._draw(view)

    def _draw(self, view: RunView) -> None:
        from atom_client.cli.live_view import picture  # noqa: PLC0415 (needed on terminals only)

        self._drawn, self._drawn_at = view, self._monotonic()
        elapsed_s = self._drawn_at - self._started
        drawn = picture(view, elapsed_s=elapsed_s, screen=screen_of(self._console), now=datetime.now(UTC))
        self._live.update(drawn, refresh=True)


def step_line(step: StepView) -> str:
    """Return a line such as `load RUNNING (attempt 2): message`."""
    attempt = f" (attempt {step.attempt})" if step.attempt > 1 else ""
    message = clip(one_line(step.remark), _LONGEST_MESSAGE)
    return f"{step.id} {step.state}{attempt}{': ' if message else ''}{message}"


def counts_line(view: RunView) -> str:
    """Describe a run's progress on one line.

    For example `120 of 2,122 steps ended: 8 RUNNING, 120 SUCCEEDED`.
    """
    counts = ", ".join(f"{count:,} {state}" for state, count in view.counts.items())
    return f"{view.ended:,} of {view.total:,} steps ended: {counts}"
