"""The attempts of a step, with their durations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from atom_client.text import between, counted, lasted
from atom_client.views.as_json import moment_text, rounded_seconds
from atom_client.views.reasons import last_start
from atom_client.views.seen import StepSeen
from atom_client.views.why_step import step_explanation
from atom_workflows.core.attempts import MOST_KEPT, Attempt, list_attempts
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState

WAITS: Final[Mapping[str, str]] = {
    "dependencies": "for its dependencies",
    "place": "for a place, since `maxParallel` limits the items",
    "dispatch": "for a dispatcher",
}
"""What a step waits for before its first attempt, worded to follow a time."""

PARTS: Final[Mapping[str, str]] = {
    "job": "in jobs",
    "queued": "of that before they were running",
    "back_off": "in back-off",
    "submitting": "until submissions were accepted",
}
"""The parts of attempts, worded to follow a time."""

_SHORTEST: Final = timedelta(milliseconds=1)


class TimedAttempt(NamedTuple):
    """An attempt and its durations.

    A duration is None if it is not known or did not occur. `back_off` is the time from the end of the previous attempt
    to the start of this one, including the time until the earlier job had stopped. If the first submission started
    nothing, `submitting` is the time until a later one was accepted. `job` is the time from the submission to the end,
    and `queued` its part before the job was first seen to be RUNNING.
    """

    attempt: Attempt
    back_off: timedelta | None
    submitting: timedelta | None
    queued: timedelta | None
    job: timedelta | None


def time_attempts(step: StepRecord, now: datetime) -> list[TimedAttempt]:
    """Return the known attempts of a step, in order, with their durations.

    If an attempt has not ended, its durations are measured up to `now`.
    """
    timed, before = list[TimedAttempt](), None
    for one in list_attempts(step):
        follows = before is not None and (before.number + 1, before.retries) == (one.number, one.retries)
        submitted_at = one.submitted_at or one.claimed_at
        ended_at = one.ended_at if one.kind else now
        timed.append(
            TimedAttempt(
                attempt=one,
                back_off=between(before.ended_at, one.claimed_at) if before is not None and follows else None,
                submitting=between(one.claimed_at, one.submitted_at),
                queued=between(submitted_at, one.running_at),
                job=between(submitted_at, ended_at) if one.job_id else None,
            )
        )
        before = one
    return timed


def time_step(seen: StepSeen, attempts: Sequence[TimedAttempt]) -> dict[str, timedelta]:
    """Return the durations of a step's waits and of its attempts' parts.

    The names are those of `WAITS` and `PARTS`. The duration of a part is the sum over the attempts. Durations that
    are not known or did not occur are left out. If the run was retried, only the time since the retry that last reset
    the step counts.
    """
    run, step = seen.run, seen.step
    # A retry of the run keeps some steps as they were.
    is_of_latest = step.retries == run.retries
    begun_at = last_start(run) if is_of_latest and run.started_at else None if step.retries else run.started_at
    known = [moment for moment in (begun_at, seen.released_at) if moment is not None]
    released_at = max(known) if known and seen.is_released else None
    waits_until = step.started_at or (None if step.state.is_terminal else seen.now)
    found = {
        # An item waits for what its step waits for.
        "dependencies": None if seen.is_item else between(begun_at, released_at or step.finished_at or seen.now),
        "place" if step.shard else "dispatch": between(released_at, waits_until),
    }
    current = [one for one in attempts if one.attempt.retries == step.retries]
    for name in PARTS:
        parts = [part for one in current if (part := getattr(one, name)) is not None]
        if name == "back_off" and step.state is StepState.RETRYING and current:
            parts.append(seen.now - (current[-1].attempt.ended_at or seen.now))
        found[name] = sum(parts, timedelta()) if parts else None
    # The clocks of two instances differ a little.
    return {name: max(part, timedelta()) for name, part in found.items() if part is not None}


def durations_text(durations: Mapping[str, timedelta | None], words: Mapping[str, str]) -> str:
    """Return durations, each with what it measures.

    Those too short to be shown are left out. For example `2 min 05 s in jobs, 30 s in back-off`.
    """
    named = ((durations.get(name), what) for name, what in words.items())
    return ", ".join(f"{lasted(took)} {what}" for took, what in named if took is not None and took >= _SHORTEST)


def unlisted_attempts(step: StepRecord, attempts: Sequence[TimedAttempt]) -> Iterator[str]:
    """Yield a sentence if not all attempts are known."""
    missing = step.attempt - len(attempts) if attempts else 0
    if missing:
        are = "is" if missing == 1 else "are"
        yield f"{counted(missing, 'earlier attempt')} {are} not listed: a step keeps its last {MOST_KEPT}."


def step_details(seen: StepSeen, attempts: Sequence[TimedAttempt]) -> dict[str, Any]:
    """Return everything about a step as an object for JSON output."""
    return {
        **step_explanation(seen),
        "durations": seconds_of(time_step(seen, attempts)),
        "attempts": [attempt_object(one) for one in attempts],
    }


def attempt_object(one: TimedAttempt) -> dict[str, Any]:
    """Return an attempt as an object for JSON output."""
    attempt = one.attempt
    return {
        "attempt": attempt.number,
        "kind": attempt.kind or None,
        "retries": attempt.retries,
        "job_id": attempt.job_id,
        **{
            name: moment_text(getattr(attempt, name))
            for name in ("claimed_at", "submitted_at", "running_at", "ended_at")
        },
        **seconds_of({name: getattr(one, name) for name in ("back_off", "submitting", "queued", "job")}),
        "message": attempt.message,
        "reason": attempt.reason,
        "logs_url": attempt.logs_url,
    }


def seconds_of(durations: Mapping[str, timedelta | None]) -> dict[str, float | None]:
    """Return durations as fields for JSON output, in seconds."""
    return {f"{name}_s": rounded_seconds(one) for name, one in durations.items()}
