"""What is measured of long runs: idle time is skipped, and what cannot succeed is refused."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_client.cost import idle_time
from atom_client.cost.estimate import chain
from atom_client.cost.measurement import measure
from atom_client.cost.usage import Assumptions, NotEstimated, Tally
from atom_workflows.language.parser import parse_workflow
from atom_workflows.settings import Settings
from support.workflows import fan

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
LONGEST: Final = {"timeout": "7d"}


def measured(definition: bytes, job_s: float, **settings: Any) -> Tally:
    """What a run takes."""
    given = Assumptions(job=timedelta(seconds=job_s), settings=Settings(**settings))
    return measure(parse_workflow(definition, filename="flow.yaml"), definition, given)


def played(definition: bytes, job_s: float, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Tally:
    """What a run takes if nothing of it is skipped."""
    with monkeypatch.context() as patched:
        # No repetition is ever rare enough to have been seen.
        patched.setattr(idle_time, "LONGEST_AUDIT", timedelta(days=10_000))
        return measured(definition, job_s, **settings)


def steps(*of: dict[str, Any], **workflow: Any) -> bytes:
    """A workflow of these steps."""
    return json.dumps({"steps": [{"task": {"imageUri": "x"}, **step} for step in of], **workflow}).encode()


@pytest.mark.parametrize(
    ("definition", "job_s", "settings"),
    [
        (chain(1), 4 * HOUR, {}),
        (chain(2), 9.5 * HOUR, {}),
        (chain(3), 3 * HOUR + 61.5, {}),
        (fan(40).encode(), 5 * HOUR, {}),
        (chain(1), 6 * HOUR, {"check_interval": timedelta(seconds=30)}),
        (chain(1), 6 * HOUR, {"check_interval": timedelta(seconds=7)}),
        (chain(1), 6 * HOUR, {"burst": timedelta(seconds=1)}),
    ],
    ids=["4 h", "chain", "no whole minutes", "fan", "every 30 s", "every 7 s", "short bursts"],
)
def test_what_is_skipped_is_what_would_have_been_played(
    definition: bytes, job_s: float, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skipping idle time changes no count, and no second."""
    assert asdict(measured(definition, job_s, **settings)) == pytest.approx(
        asdict(played(definition, job_s, monkeypatch, **settings))
    )


def test_polls_that_drift_differ_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an interval that is no part of a minute, each poll comes a moment later in it; that makes a hundredth."""
    settings = {"check_interval": timedelta(seconds=90)}
    assert asdict(measured(chain(1), 6 * HOUR, **settings)) == pytest.approx(
        asdict(played(chain(1), 6 * HOUR, monkeypatch, **settings)), rel=0.01
    )


def test_a_job_of_days_is_not_played_poll_by_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six days are more than 8,000 polls, most of which are counted without being made."""
    ticks: list[idle_time.IdleTime] = []
    skip = idle_time.IdleTime.skip

    def counted(idle: idle_time.IdleTime) -> None:
        ticks.append(idle)
        skip(idle)

    monkeypatch.setattr(idle_time.IdleTime, "skip", counted)
    tally = measured(steps({"id": "a", **LONGEST}), 6 * DAY)
    assert tally.polls > 8_000
    assert tally.took_s == pytest.approx(6 * DAY, abs=60)
    assert len(ticks) < 200


@pytest.mark.parametrize(
    ("definition", "job_s", "reason"),
    [
        (steps({"id": "a", "timeout": "5m"}), 300, "step a would time out after 5m"),
        (
            steps(
                {"id": "a", **LONGEST},
                {"id": "b", "dependsOn": "a", **LONGEST},
                {"id": "c", "dependsOn": "b", **LONGEST},
            ),
            6 * DAY,
            "the run would take more than 15 days",
        ),
        (steps({"id": "a"}, timeout="30m"), HOUR, "the run would end as FAILED: the workflow's timeout of 30m expired"),
        (steps({"id": "a"}, timeout="5h"), 6 * HOUR, "the run would be stopped by its timeout of 5h"),
    ],
)
def test_a_run_that_would_not_succeed_is_refused_with_the_reason(definition: bytes, job_s: float, reason: str) -> None:
    """An estimate is of a run that succeeds; the reason is a sentence's end."""
    with pytest.raises(NotEstimated, match=reason):
        measured(definition, job_s)


def test_measuring_prints_no_log_and_leaves_logging_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    """Lines of the log are counted as what they would cost, and shown to no one."""
    logger = logging.getLogger("atom_workflows")
    before = (logger.level, logger.propagate, list(logger.handlers))
    assert measured(chain(3), 0).lines > 3
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert capfd.readouterr() == ("", "")
