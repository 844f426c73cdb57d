"""The judge itself: a run that ended well passes, and each thing that could be wrong with it is found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chaos.judge import Ended, Judge, Verdict, crowded_groups
from chaos.submissions import SubmissionWatch
from chaos.tally import Fault, Tally
from chaos.workloads import Workload

BEGAN = datetime.now(UTC) - timedelta(minutes=1)
"""A minute before whatever a test does to the platform."""

WORKLOAD = Workload(shape="test", edges={"first": [], "bad-one": ["first"], "frail-2s": ["first"], "last": ["bad-one"]})
ENDS = {"first": "SUCCEEDED", "bad-one": "FAILED", "frail-2s": "SUCCEEDED", "last": "SKIPPED"}


@dataclass
class Story:
    """What there is to be judged; a test spoils it."""

    run: dict[str, Any] = field(
        default_factory=lambda: {
            "state": "FAILED",
            "errors": [{"step": "bad-one", "message": "no"}],
            "finished_at": BEGAN + timedelta(seconds=60),
        }
    )
    steps: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            step: {
                "state": state,
                "message": "",
                "depends_on": WORKLOAD.edges[step],
                "remaining": 0,
                "unsuccessful": int(step == "last"),
                "attempt": 1,
            }
            for step, state in ENDS.items()
        }
    )
    log: list[Mapping[str, Any]] = field(
        default_factory=lambda: [submit("first", 1), submit("bad-one", 2, "FAILED"), submit("frail-2s", 3)]
    )
    tally: Tally = field(default_factory=Tally)

    def findings(self) -> list[str]:
        """Return the judge's findings without the run's name."""
        judge = Judge(
            tally=self.tally,
            watch=SubmissionWatch(),
            log={"r": [json.dumps(entry) for entry in self.log]},
            calm_at=BEGAN.timestamp(),
        )
        verdict = Verdict()
        judge.judge(Ended(run_id="r", workload=WORKLOAD, run=self.run, steps=deepcopy(self.steps)), verdict)
        return [finding.removeprefix("r (test): ") for finding in verdict.findings]


def submit(step: str, second: float, state: str = "SUCCEEDED", **fields: Any) -> dict[str, Any]:
    """Return a submission in the Task Runner's log."""
    return {
        "time": (BEGAN + timedelta(seconds=second)).isoformat(),
        "call": "submit",
        "idempotency_key": f"r/{step}/1",
        "status": 200,
        "state": state,
        "job_id": f"job-{step}",
        "fault": None,
    } | fields


def test_a_run_that_ended_well_passes() -> None:
    """A run without violations has no findings."""
    assert Story().findings() == []


def _wrong_end(story: Story) -> None:
    story.steps["last"]["state"] = "CANCELLED"


def _failed_frail_step(story: Story) -> None:
    story.steps["frail-2s"] |= {"state": "FAILED", "message": "some other reason"}


def _wrong_run(story: Story) -> None:
    story.run["state"] = "SUCCEEDED"


def _missing_step(story: Story) -> None:
    del story.steps["last"]


def _wrong_counter(story: Story) -> None:
    story.steps["last"]["unsuccessful"] = 0


def _still_due(story: Story) -> None:
    story.steps["first"]["due_at"] = BEGAN


def _too_many_attempts(story: Story) -> None:
    story.steps["first"]["attempt"] = 2


def _too_early(story: Story) -> None:
    story.log.insert(0, submit("frail-2s", 0))


def _too_late(story: Story) -> None:
    story.log.append(submit("first", 61))


def _again_for_no_reason(story: Story) -> None:
    story.log.append(submit("first", 10))


def _another_job(story: Story) -> None:
    story.log.append(submit("first", 10, job_id="job-other"))


def _another_key(story: Story) -> None:
    story.log.append(submit("first", 10, idempotency_key="r/first/2"))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_wrong_end, "last is CANCELLED instead of SKIPPED"),
        (_failed_frail_step, "frail-2s is FAILED instead of SUCCEEDED: some other reason"),
        (_wrong_run, "the run is SUCCEEDED instead of FAILED"),
        (_missing_step, "last is None instead of SKIPPED"),
        (_wrong_counter, "last has (0, 0) remaining and unsuccessful; its dependencies say (0, 1)"),
        (_still_due, "first has ended and is still due"),
        (_too_many_attempts, "first was tried 2 times, at most 1 are right"),
        (_too_early, "frail-2s was submitted before first had succeeded"),
        (_too_late, "r/first/1 was submitted 1.00 s after the run had ended"),
        (_again_for_no_reason, "r/first/1 was submitted again after 9.00 s for no reason"),
        (_another_key, "r/first/2 was submitted, but first was tried 1 times only"),
        (_another_job, "r/first/1 was given the jobs job-first and job-other"),
    ],
)
def test_what_is_wrong_is_found(spoil: Callable[[Story], None], found: str) -> None:
    """Each broken promise is reported."""
    story = Story()
    spoil(story)
    assert any(finding.startswith(found) for finding in story.findings()), story.findings()


def test_a_job_may_be_asked_for_again_with_reason() -> None:
    """A job may be repeated after an error or a death."""
    story = Story()
    story.log.insert(0, submit("first", 0, fault="drop"))
    assert story.findings() == []
    story.tally.add(Fault.WORKER_KILLED, "dispatcher")
    story.run["finished_at"] = BEGAN + timedelta(hours=2)
    story.log += [submit("first", 3_600), submit("frail-2s", 3_601)]
    why = "the dispatcher was killed before it could record the job"
    assert story.findings() == [f"r/frail-2s/1 was submitted again, though onLost is fail and {why}"]


def test_a_death_that_comes_later_is_a_reason_until_then() -> None:
    """A process whose parent was killed may submit a job before it ends, too."""
    tally, now = Tally(), time.time()
    tally.add(Fault.FUNCTION_KILLED, "dispatcher", within_s=60.0)
    killed = frozenset({Fault.FUNCTION_KILLED})
    assert tally.is_any(killed, "dispatcher", now + 30, now + 40)
    assert not tally.is_any(killed, "dispatcher", now + 70, now + 80)
    assert not tally.is_any(killed, "dispatcher", now - 20, now - 10)


LOOP = Workload(edges={"each-1s": []}, more={"each-1s": {"forEach": [1, 2], "maxParallel": 1}})


@pytest.mark.parametrize(
    ("second_begins", "handed_out", "found"),
    [
        (5, 3, []),
        (4, 3, ["2 items of each-1s were at work at the same time, at most 1 are right"]),
        (5, 2, ["~places.each-1s~1.0 handed out 2 places; it had 1, and 2 items ended"]),
    ],
)
def test_places_of_a_loop_are_checked(second_begins: int, handed_out: int, found: list[str]) -> None:
    """No more items are at work than there are places, and each item that ended gave its place back."""
    shard = "~places.each-1s~1.0"
    done = {"state": "SUCCEEDED", "attempt": 1}
    times = [{"claimed_at": at(0), "finished_at": at(5)}, {"claimed_at": at(second_begins), "finished_at": at(9)}]
    items = {f"each-1s[{index}]": {**done, **spans, "shard": shard} for index, spans in enumerate(times)}
    places = {"state": "SUCCEEDED", "kind": "places", "places": 1, "next": handed_out}
    steps = {**items, "each-1s": {**done, "depends_on": [*items]}, shard: places}
    judge = Judge(tally=Tally(), watch=SubmissionWatch(), log={}, calm_at=0.0)
    verdict = Verdict()
    judge.judge(Ended(run_id="r", workload=LOOP, run={"state": "SUCCEEDED"}, steps=steps), verdict)
    assert [finding.removeprefix("r (): ") for finding in verdict.findings] == found


@pytest.mark.parametrize(("second_begins", "is_crowded"), [(5, False), (4, True)])
def test_runs_of_a_group_are_checked(second_begins: int, is_crowded: bool) -> None:  # noqa: FBT001 - a parameter
    """A run asks for its first job only after enough others of its group have ended."""
    turns = Workload(shape="turns", edges={"a": []}, rules={"concurrency": {"limit": 1}})
    runs = [
        Ended(run_id=name, workload=turns, run={"finished_at": at(until)}, steps={})
        for name, until in (("r", 5), ("q", 9))
    ]
    log = {"r": [json.dumps(submit("a", 0))], "q": [json.dumps(submit("a", second_begins))]}
    said = "2 runs (turns) were at work at the same time, at most 1 are right"
    assert list(crowded_groups(runs, log)) == ([said] if is_crowded else [])


def at(second: float) -> datetime:
    """Return a time after the test began."""
    return BEGAN + timedelta(seconds=second)
