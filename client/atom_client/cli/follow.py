"""Follow a run to its end, as `run`, `start --wait`, `runs watch` and `runs retry --wait` do.

The run's events keep the display up to date. They may be late or lost, so the run's document, read once a second,
decides when the run is over, and the steps' documents fill the table at the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Protocol

import click

from atom_client.cli.history import require_platform
from atom_client.cli.live import SMALL_RUN, Show, show_on
from atom_client.cli.output import Output
from atom_client.cli.platform import FIRESTORE_HOST, connect_to
from atom_client.cli.tables import show_steps, worth_showing
from atom_client.deployment import with_place
from atom_client.errors import INVALID_USE, RUN_FAILED, Failure
from atom_client.text import counted, lasted
from atom_client.views.as_json import json_document, run_with_steps
from atom_client.views.items import count_anew, read_loops
from atom_client.views.lines import line_text, read_line
from atom_client.views.loops import LoopView
from atom_client.views.progress import RunView
from atom_client.views.queries import in_order, read_nodes_of_steps, read_run
from atom_client.views.rerun_plan import AS_STARTED
from atom_client.views.summary import verdict
from atom_workflows.coordinator.services import Services
from atom_workflows.core.durations import parse_duration
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.errors import AtomWorkflowsError, StoreUnavailable

LOOK_EVERY_S: Final = 1.0
DESCRIBE_EVERY_S: Final = 10.0
"""How often to look up a QUEUED run's position in line, or to count the items of a run with very many."""

WAIT_FOR_EVENTS_S: Final = 0.25
LAST_EVENTS_WITHIN_S: Final = 1.0
_LOOKS_AFTER_THE_END: Final = 40
"""How many times to look for a run's end in the history after its platform is gone; this takes ten seconds."""

APPEARS_WITHIN_S: Final = 60.0
PATIENCE_S: Final = 300.0
"""How long the store may be unreachable while a run is followed.

The run continues in the meantime, and the network may recover or the laptop may wake up.
"""


class Feed(Protocol):
    """A source of changes to a run."""

    def take(self, timeout_s: float) -> Sequence[Mapping[str, Any]]:
        """Return all changes that have arrived.

        Waits up to `timeout_s` for the first one.
        """
        ...


def follow(  # noqa: PLR0913 (all but the first are keyword-only)
    view: RunView,
    *,
    feed: Feed,
    read_run: Callable[[], RunRecord | None],
    show: Show,
    timeout_s: float | None = None,
    patience_s: float = PATIENCE_S,
    superseded: RunRecord | None = None,
    describe_wait: Callable[[RunRecord], str] = lambda _: "",
    recount: Callable[[RunView], RunView] = lambda view: view,
    monotonic: Callable[[], float] = time.monotonic,
) -> RunRecord:
    """Show the run until it has ended or time is up.

    Returns the run as last read. `superseded` is an INVALID run from an earlier start: as long as the store holds it,
    the new run has not yet replaced it. `describe_wait` describes a QUEUED run's position in line, and `recount` counts
    items if their changes alone do not show how many have ended.

    Raises `Failure` if the run is deleted, or does not appear because no function handled the start message. Raises
    `StoreUnavailable` if the store is unreachable at the start, or later stays unreachable for longer than
    `patience_s`.
    """
    reader = _PatientReader(read_run, patience_s, monotonic)
    started = monotonic()
    looked_at = described_at = started - DESCRIBE_EVERY_S
    run: RunRecord | None = None
    while True:
        before = view
        if changes := feed.take(WAIT_FOR_EVENTS_S):
            view = view.with_changes(changes)
        now = monotonic()
        if view.state.is_terminal or now - looked_at >= LOOK_EVERY_S or _may_begin_finally(view, before, reader.last):
            looked_at = now
            found, was_there = reader.run(), run is not None
            run = None if found == superseded else found
            if was_there and found is None:
                raise Failure(f"run {view.run_id} was deleted while it was being followed: its document is gone")
            if run is not None and run.state.is_terminal:
                view = _take_last_events(view, feed, monotonic)
            view = view if run is None else view.with_run(run)
            if run is not None and not run.state.is_terminal and now - described_at >= DESCRIBE_EVERY_S:
                described_at = now
                view = replace(view, waits=describe_wait(run)) if run.state is RunState.QUEUED else recount(view)
            is_time_up = timeout_s is not None and now - started >= timeout_s
            if run is not None and (run.state.is_terminal or is_time_up):
                show.finish(view)
                return run
            if run is None and now - started >= min(APPEARS_WITHIN_S, timeout_s or APPEARS_WITHIN_S):
                raise Failure(_not_started(view.run_id, now - started, is_superseded=found is not None))
        show.update(view)


def _may_begin_finally(view: RunView, before: RunView, run: RunRecord | None) -> bool:
    """Return True if a new step may belong to `finally`.

    Only the run's document reports the end of the main part, and it does so before these steps begin.
    """
    may_follow = view.main_state is None and (run is None or run.finally_timeout is not None)
    # In a large run, steps have no lines of their own, and reading its document for each of them would be expensive.
    return may_follow and view.total <= SMALL_RUN and not view.steps.keys() <= before.steps.keys()


def _take_last_events(view: RunView, feed: Feed, monotonic: Callable[[], float]) -> RunView:
    """Wait briefly for the last events of an ended run.

    They are published right after its document is written.
    """
    ends_at = monotonic() + LAST_EVENTS_WITHIN_S
    while not view.state.is_terminal and monotonic() < ends_at:
        view = view.with_changes(feed.take(WAIT_FOR_EVENTS_S))
    return view


class _PatientReader:
    """Reads the run; returns the `last` copy while the store is unreachable."""

    def __init__(self, read: Callable[[], RunRecord | None], patience_s: float, monotonic: Callable[[], float]) -> None:
        self._read = read
        self._patience_s = patience_s
        self._monotonic = monotonic
        self.last: RunRecord | None = None
        self._read_at = 0.0

    def run(self) -> RunRecord | None:
        try:
            self.last = self._read()
        except StoreUnavailable:
            if self.last is None or self._monotonic() - self._read_at >= self._patience_s:
                raise
        else:
            self._read_at = self._monotonic()
        return self.last


def seconds_of(text: str) -> float:
    """Convert a time limit such as `90`, `90s` or `10m` to seconds.

    Raises ValueError if it is not a positive duration.
    """
    seconds = float(text) if text.replace(".", "", 1).isdecimal() else parse_duration(text).total_seconds()
    if seconds <= 0:
        raise ValueError("it must be more than 0")
    return seconds


def _not_started(run_id: str, waited_s: float, *, is_superseded: bool) -> str:
    waited = lasted(timedelta(seconds=waited_s))
    if is_superseded:
        # A start that is refused for the same reasons writes nothing, so it looks as if it had not been handled yet.
        return (
            f"run {run_id} is still INVALID from an earlier start: either this start was refused for the same "
            f"reasons, which `{with_place(f'runs show {run_id}')}` lists, or the start function has not handled it "
            f"within {waited}. Look at the start function's log."
        )
    return (
        f"run {run_id} has not appeared within {waited}: the start message was published, but the start function has "
        "not handled it. Look at the start function's log."
    )


"""Tells users who have just corrected the file that a retry does not read it again."""

INTERRUPTIONS: Final = (KeyboardInterrupt, SystemExit)
"""Ctrl-C, or a termination signal."""

_EXIT_CODES: Final = {RunState.SUCCEEDED: 0, RunState.INVALID: INVALID_USE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that was followed, and its steps as users see them.

    `nodes` holds all nodes that make up the steps, and `loops` the steps with `forEach`, both by id.
    """

    run: RunRecord
    nodes: Mapping[str, StepRecord]
    steps: Sequence[StepRecord]
    loops: Mapping[str, LoopView]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A command that waits for a run.

    `view` is the latest known state of the run. If `outlives` is True, the run continues after the command has ended.
    If `reads_history` is True, the run is read from the history, which outlasts its platform. For `superseded`, see
    `follow`.
    """

    services: Services
    view: RunView
    output: Output
    as_json: bool = False
    timeout_s: float | None = None
    outlives: bool = True
    reads_history: bool = False
    superseded: RunRecord | None = None
    more_json: Mapping[str, Any] = field(default_factory=dict)

    def to_end(self, begin: Callable[[], str], *, catch_up: Callable[[], RunView] | None = None) -> Ended:
        """Begin the run and show it until it ends.

        Stops early if the time limit is reached. `begin` starts the run and returns a line that says so. If the run has
        already begun, `catch_up` reads what has happened so far; it is called once changes are being received.
        """
        from atom_workflows.adapters.pubsub.change_feed import ChangeFeed  # noqa: PLC0415 (slow to import)

        require_platform(self.services)
        run_id = self.view.run_id
        show_command = with_place(f"runs show {run_id}")
        cancel_command = with_place(f"runs cancel {run_id}")
        goes_on = f"Run {run_id} continues: `{show_command}` shows it, `{cancel_command}` ends it."
        not_followed = f"Run {run_id} was not followed to its end; `{show_command}` shows its state."
        with ChangeFeed(self.services.settings, run_id) as feed:
            if feed.problem:
                self.output.say(f"Steps cannot be shown live, only after the run has ended: {feed.problem}")
            uncertain = f"If the run was started, it continues; `{with_place('runs list')}` shows it."
            with self._report_if_interrupted(uncertain):
                begun = begin()
            with (
                self._report_if_interrupted(goes_on),
                self._report_if_interrupted(not_followed, by=(AtomWorkflowsError,)),
            ):
                self.output.say(begun)
                view = self.view if catch_up is None else catch_up()
                with show_on(self.output, view) as show:
                    run = follow(
                        view,
                        feed=feed,
                        read_run=self._reader(),
                        show=show,
                        timeout_s=self.timeout_s,
                        patience_s=0 if os.environ.get(FIRESTORE_HOST) else PATIENCE_S,
                        superseded=self.superseded,
                        describe_wait=self._describe_wait,
                        recount=self._recount,
                    )
        return self.read_result(run)

    def to_exit_code(self, begin: Callable[[], str]) -> int:
        """Follow the run from start to end, and return the exit code."""
        ended = self.to_end(begin)
        self.print_result(ended)
        self.print_next_steps(ended.run)
        return exit_code(ended.run)

    def read_result(self, run: RunRecord) -> Ended:
        """Return a run with its steps.

        The file's steps come first, in the order of the file, followed by all others.
        """
        nodes = read_nodes_of_steps(self.services.store, run)
        steps = {step.id: step for step in in_order(nodes.values())}
        named = [steps.pop(name) for name in self.view.order if name in steps]
        loops = read_loops(self.services.store, run, nodes)
        return Ended(run=run, nodes=nodes, steps=[*named, *steps.values()], loops=loops)

    def _reader(self) -> Callable[[], RunRecord | None]:
        """Return a function that reads the run.

        A local platform runs nothing once it has stopped, so the wait ends then. Google's client would keep trying to
        connect for half a minute.
        """
        address = os.environ.get(FIRESTORE_HOST, "")

        def read() -> RunRecord | None:
            return read_run(self.services.store, self.view.run_id)

        def read_if_up() -> RunRecord | None:
            # The platform of a single run ends with it, or, if it is interrupted, ends it once its parts have ended.
            for _ in range(_LOOKS_AFTER_THE_END if self.reads_history else 1):
                is_up = not _refuses(address)
                run = read() if is_up or self.reads_history else None
                if is_up or (run is not None and run.state.is_terminal):
                    return run
                time.sleep(WAIT_FOR_EVENTS_S)
            raise Failure(
                f"the local platform at {address} has stopped, and run {self.view.run_id} with it. "
                "`atom-workflows local up` in the same folder resumes the run, unless the platform was started "
                "with --in-memory."
            )

        is_local = bool(address) and (self.reads_history or not _refuses(address))
        return read_if_up if self.outlives and is_local else read

    def _describe_wait(self, run: RunRecord) -> str:
        try:
            line = read_line(self.services, run)
        except StoreUnavailable:
            return ""
        return "" if line is None else line_text(run, line, self.services.clock.now())

    def _recount(self, view: RunView) -> RunView:
        try:
            return view if not view.counted else count_anew(self.services.store, view)
        except StoreUnavailable:
            return view

    def print_result(self, ended: Ended) -> None:
        """Print the table of steps and a summary of the run.

        With `as_json`, a JSON object replaces the table.
        """
        run, steps = ended.run, ended.steps
        rows = worth_showing(steps)
        if self.as_json:
            click.echo(json_document({**run_with_steps(run, steps, loops=ended.loops), **self.more_json}))
        elif rows:
            self.output.say()
            show_steps(self.output, rows, ended.loops, now=self.services.clock.now())
        if not self.as_json and 0 < len(rows) < len(steps):
            more = counted(len(steps) - len(rows), "more step")
            self.output.say(f"\n({more} not shown; `--json` lists all {len(steps):,}.)")
        self.output.say()
        for sentence in verdict(run, steps, now=self.services.clock.now(), loops=ended.loops):
            self.output.say(sentence)

    def print_next_steps(self, run: RunRecord, *, may_retry: bool = True, otherwise: str = "") -> None:
        """Print what to do about a run that has not succeeded.

        If the run does not outlive the command, `otherwise` says what happens to the run.
        """
        if not run.state.is_terminal:
            look = f"The run continues: `{with_place(f'runs show {run.id}')}` shows it."
            self.output.say(f"Stopped waiting after {self.timeout_s:g} s. {look if self.outlives else otherwise}")
        elif run.state in {RunState.FAILED, RunState.CANCELLED} and may_retry:
            self.output.say(f"`{with_place(f'runs retry {run.id}')}` runs the unsuccessful steps again, {AS_STARTED}")

    def _report_if_interrupted(
        self, sentence: str, by: tuple[type[BaseException], ...] = INTERRUPTIONS
    ) -> AbstractContextManager[None]:
        """Print the given sentence if the block is interrupted.

        Does nothing if the run ends with this command, since the end of its platform is then reported instead.
        """
        return report_if_interrupted(sentence, by) if self.outlives else nullcontext()


def _refuses(address: str) -> bool:
    """Return True if nothing is listening at an address.

    Returns False for a server that is merely slow.
    """
    try:
        connect_to(address)
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


@contextmanager
def report_if_interrupted(sentence: str, by: tuple[type[BaseException], ...] = INTERRUPTIONS) -> Iterator[None]:
    """Print the given sentence if one of these exceptions ends the block."""
    try:
        yield
    except by:
        click.echo(sentence, err=True)
        raise


def exit_code(run: RunRecord) -> int:
    """Return a run's exit code, which is 0 only for SUCCEEDED."""
    return _EXIT_CODES.get(run.state, RUN_FAILED)
