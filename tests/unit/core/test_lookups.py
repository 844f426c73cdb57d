"""What the lookup of a key decides about the next attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from atom_workflows.core.changes import StepChange, apply_change
from atom_workflows.core.counts import Counts
from atom_workflows.core.endings import reset
from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.core.polling import MISSING_GRACE
from atom_workflows.core.states import StepState
from atom_workflows.core.stopping import KeyLookup, judge_lookup, judge_unresolved
from atom_workflows.core.transitions import apply_outcome, claim, repeat_or_fail
from atom_workflows.core.workflow import OnLost
from unit.core.test_stopping import LIMIT, SECOND, waiting_for
from unit.core.test_transitions import NOW, step

LEASE: Final = timedelta(minutes=3)
FINAL: Final = LEASE + MISSING_GRACE


@pytest.mark.parametrize(
    ("lookup", "on_lost", "since_end", "waited", "verdict"),
    [
        (KeyLookup.FOUND, OnLost.FAIL, timedelta(0), timedelta(0), "resolved"),
        (KeyLookup.FOUND, OnLost.RETRY, timedelta(0), timedelta(0), "resolved"),
        (KeyLookup.NONE, OnLost.FAIL, FINAL - SECOND, timedelta(0), "waits"),
        (KeyLookup.NONE, OnLost.FAIL, FINAL - SECOND, LIMIT, "waits"),
        (KeyLookup.NONE, OnLost.RETRY, FINAL - SECOND, timedelta(0), "submitted again"),
        (KeyLookup.NONE, OnLost.FAIL, FINAL, timedelta(0), "resolved"),
        (KeyLookup.NONE, OnLost.RETRY, FINAL, timedelta(0), "resolved"),
        (KeyLookup.CANNOT, OnLost.FAIL, LEASE - SECOND, timedelta(0), "waits"),
        (KeyLookup.CANNOT, OnLost.FAIL, LEASE, timedelta(0), "submitted again"),
        (KeyLookup.CANNOT, OnLost.RETRY, timedelta(0), timedelta(0), "submitted again"),
        (KeyLookup.UNANSWERED, OnLost.FAIL, LIMIT, LIMIT - SECOND, "waits"),
        (KeyLookup.UNANSWERED, OnLost.FAIL, LIMIT, LIMIT, "submitted again"),
        (KeyLookup.UNANSWERED, OnLost.RETRY, timedelta(0), timedelta(0), "submitted again"),
    ],
)
def test_what_a_lookup_leads_to(
    lookup: KeyLookup, on_lost: OnLost, since_end: timedelta, waited: timedelta, verdict: str
) -> None:
    """That there is no job is believed once the last that may be submitted is listed; `onLost: fail` waits for that."""
    one = waiting_for(leftovers=(), unresolved=(1,), stop_since=NOW - waited, unresolved_since=NOW - since_end)
    one = replace(one, policies=replace(one.policies, on_lost=on_lost))
    job_id = "found" if lookup is KeyLookup.FOUND else ""
    found = judge_lookup(one, lookup, job_id, now=NOW, lease=LEASE, stop_timeout=LIMIT, check_interval=10 * SECOND)
    kinds = {dict: "resolved", StepChange: "waits", type(None): "submitted again"}
    assert kinds[type(found)] == verdict
    if isinstance(found, dict):
        assert (found["unresolved"], found.get("leftovers", ())) == ((), ("found",) if job_id else ())


def test_a_submission_without_an_answer_may_still_start_a_job() -> None:
    """After it, a lookup that finds none is not believed for as long as after the attempt itself."""
    one = waiting_for(leftovers=(), unresolved=(1,), unresolved_since=NOW - LIMIT)
    for was_sent, since in ((True, NOW), (False, NOW - LIMIT)):
        waits = judge_unresolved(
            one, job_id=None, was_sent=was_sent, now=NOW, longest=LIMIT, check_interval=10 * SECOND
        )
        assert isinstance(waits, StepChange)
        assert apply_change(one, waits).unresolved_since == since


def test_the_end_of_an_attempt_is_remembered_until_its_job_is_known() -> None:
    """A reset keeps when it ended, a later claim keeps that, and a claim without a reset counts from itself."""
    ended = step(StepState.FAILED, job_id="", job_state="", unsure_attempt=1, finished_at=NOW - LIMIT)
    again = apply_change(ended, reset(ended, remaining=0, kept=Counts(), retries=1, expire_at=None))
    claimed = apply_change(again, claim(again, now=NOW, lease=LIMIT))
    assert (claimed.unresolved, claimed.unresolved_since, claimed.stop_since) == ((1,), NOW - LIMIT, NOW)
    retrying = step(StepState.RETRYING, job_id="", job_state="", unsure_attempt=1)
    assert apply_change(retrying, claim(retrying, now=NOW, lease=LIMIT)).unresolved_since == NOW


@pytest.mark.parametrize("on_lost", list(OnLost))
def test_an_attempt_whose_submission_was_lost_may_have_a_job(on_lost: OnLost) -> None:
    """Whether the answer got lost or the dispatcher died, a retry of the run knows of it."""
    one = step(StepState.DISPATCHING, job_id="", job_state="", answered=False, due_at=NOW)
    one = replace(one, policies=replace(one.policies, on_lost=on_lost))
    unheard = repeat_or_fail(one, reason="no answer in time", now=NOW, retry_after_s=None)
    assert apply_change(one, unheard).is_unsure
    died = apply_outcome(one, Outcome(step_id="s", attempt=1, kind=OutcomeKind.LOST), now=NOW)
    assert died is not None
    assert apply_change(one, died).is_unsure
