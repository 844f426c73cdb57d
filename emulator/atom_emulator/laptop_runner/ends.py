"""What the end of a job's process says about the job."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from atom_workflows.core.durations import format_duration
from atom_workflows.errors import OutputsUnusable
from atom_workflows.runner.outputs import read_outputs
from atom_workflows.runner.reports import JobState

RUNNER_DIED: Final = "RUNNER_DIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a job's first process ended: with an exit `code` or a `signal`, or with an `error` that kept it from running.

    All are empty if the process that supervised it was killed.
    """

    code: int | None = None
    signal: int = 0
    error: str = ""

    # True if the system killed it for lack of memory.
    oom: bool = False

    # The system's code of an error, 0 if there is none.
    errno: int = 0

    # What the user may do about an error or an exit code.
    hint: str = ""

    # Why the log could not be written to its end, such as a full disk.
    log_error: str = ""


class StopReason(StrEnum):
    """Why a job was stopped."""

    CALLER = "caller"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The last state of a job. `outputs` is None if it has none."""

    state: JobState
    reason: str = ""
    message: str = ""
    outputs: Mapping[str, Any] | None = None


DIED: Final = Result(
    state=JobState.FAILED,
    reason=RUNNER_DIED,
    message="the Task Runner on this machine ended before the job did, and its processes were killed with it",
)


def conclude_queued(stopped: StopReason, *, timeout: timedelta | None, slots: int) -> Result:
    """Return the result of a job that was stopped before it was started.

    `slots` is how many jobs run at a time.
    """
    why = explain_wait(slots)
    if stopped is StopReason.CALLER:
        return Result(state=JobState.CANCELLED, message=f"stopped on request before it was started, while {why}")
    waited = "its whole time limit" if timeout is None else format_duration(timeout)
    message = f"never started: for {waited}, it was {why}"
    return Result(state=JobState.FAILED, reason="TIMEOUT", message=message)


def explain_wait(slots: int) -> str:
    """Return why a job is not started yet."""
    return f"waiting for a free processor, as at most {slots:,} {'job runs' if slots == 1 else 'jobs run'} at a time"


def conclude(
    end: End,
    *,
    stopped: StopReason | None,
    timeout: timedelta | None,
    last_lines: str,
    outputs: Callable[[], bytes | None],
) -> Result:
    """Return the result of a job that was started and has ended.

    `last_lines` is the end of its log. `outputs` returns the content of its outputs file, None if there is no such
    file, and may raise `OutputsUnusable`.
    """
    result = _conclude(end, stopped=stopped, timeout=timeout, last_lines=last_lines, outputs=outputs)
    if not end.log_error:
        return result
    said = f"its log is incomplete: {end.log_error}"
    return replace(result, message=f"{said}; {result.message}" if result.message else said)


def _conclude(
    end: End,
    *,
    stopped: StopReason | None,
    timeout: timedelta | None,
    last_lines: str,
    outputs: Callable[[], bytes | None],
) -> Result:
    if stopped is StopReason.CALLER:
        return Result(state=JobState.CANCELLED, message="stopped on request")
    if stopped is StopReason.TIMEOUT:
        limit = "" if timeout is None else f" of {format_duration(timeout)}"
        message = _join(f"stopped at its time limit{limit}", last_lines)
        return Result(state=JobState.FAILED, reason="TIMEOUT", message=message)
    if end.error:
        return Result(state=JobState.FAILED, reason="NOT_STARTED", message=_add(end.error, end.hint))
    if end.code == 0:
        try:
            content = outputs()
            return Result(state=JobState.SUCCEEDED, outputs=None if content is None else read_outputs(content))
        except OutputsUnusable as error:
            return Result(state=JobState.SUCCEEDED, message=str(error))
    reason, sentence = _explain(end)
    return Result(state=JobState.FAILED, reason=reason, message=_join(_add(sentence, end.hint), last_lines))


def _explain(end: End) -> tuple[str, str]:
    """Return the reason and a sentence."""
    if end.oom:
        return "OOM", "killed because memory ran out"
    if end.signal:
        name = signal.Signals(end.signal).name if end.signal in set(signal.Signals) else f"signal {end.signal}"
        return f"SIGNAL_{end.signal}", f"killed by {name}"
    if end.code is None:
        return RUNNER_DIED, "the process that supervised the job was killed, and the job with it"
    return f"EXIT_{end.code}", f"exit code {end.code}"


def _add(sentence: str, hint: str) -> str:
    return f"{sentence}; {hint}" if hint else sentence


def _join(sentence: str, last_lines: str) -> str:
    return f"{sentence}; the end of its log:\n{last_lines}" if last_lines else sentence
