"""The oracle's judgement of jobs, by what was answered when, and to whom."""

from __future__ import annotations

from typing import Any, Final, TypeAlias, cast

import pytest

from simulation.dice import dice
from simulation.evidence import UNHEARD, UNKNOWN, Evidence, Look
from simulation.scheduler import Scheduler

Answers: TypeAlias = list[tuple[float, str]]

NO_ONE: Final = cast("Any", None)
UNRECORDED: Final = "!"
"""Before an answer that whoever got it could not write down."""


def evidence_of(answers: Answers, *, now: float = 0.0) -> Evidence:
    """Return evidence of these answers about the job `j`."""
    evidence = Evidence(Scheduler(dice("none"), 0.0))
    evidence.scheduler.now = now
    for at, word in answers:
        answer = word.removeprefix(UNRECORDED)
        evidence.looks["j"].append(Look(at, NO_ONE, answer, is_recorded=not word.startswith(UNRECORDED)))
    return evidence


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ([], 0),
        ([(10, UNKNOWN)], 0),
        ([(10, UNKNOWN), (70, UNKNOWN)], 60),
        ([(10, UNKNOWN), (40, UNHEARD), (70, UNKNOWN)], 0),
        ([(10, UNKNOWN), (40, "RUNNING"), (70, UNKNOWN), (80, UNKNOWN)], 10),
        ([(10, UNKNOWN), (40, UNRECORDED), (70, UNKNOWN)], 60),
        ([(10, UNKNOWN), (70, UNKNOWN), (80, "RUNNING")], 60),
    ],
)
def test_only_uninterrupted_answers_lose_a_job(answers: Answers, seconds: float) -> None:
    """A different answer restarts the time after which a job is lost."""
    assert evidence_of(answers).unknown_for_s("j") == seconds


@pytest.mark.parametrize(
    ("answers", "now", "may"),
    [
        ([], 1_000, False),
        ([(99, "RUNNING")], 1_000, False),
        ([(100, "RUNNING")], 100, True),
        ([(100, "SUCCEEDED")], 1_000, False),
        ([(100, UNHEARD)], 159, False),
        ([(100, UNHEARD)], 160, True),
        ([(100, UNKNOWN)], 110, False),
        ([(100, UNHEARD), (150, "SUCCEEDED")], 1_000, False),
        ([(100, "OUT TO LUNCH"), (110, UNHEARD)], 111, True),
    ],
)
def test_no_job_times_out_unheard(answers: Answers, now: float, *, may: bool) -> None:
    """A job times out if it was seen running late, or after a minute of silence."""
    assert evidence_of(answers, now=now).was_running_since("j", 100, patience_s=60) is may
