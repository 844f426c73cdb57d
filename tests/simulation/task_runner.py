"""The Task Runner that handlers see: it does to each attempt what the script says, and its answers may get lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from atom_workflows.errors import JobRefused, JobUnknown, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer
from simulation.calls import Calls
from simulation.evidence import Evidence, Submission, Try
from simulation.faults import Fault
from simulation.scenario import Ending, Scenario
from support.world import TASK_RUNNER_URL

SUBMIT_LIMIT_S: Final = 70.0
"""The client gives up on a submission before that."""

_STATUS_LIMIT_S: Final = 20.0
_ENDED: Final = {Ending.SUCCEEDS: "SUCCEEDED", Ending.FAILS: "FAILED", Ending.IS_CANCELLED: "CANCELLED"}


@dataclass(slots=True)
class _Job:
    id: str
    of: Try
    ending: Ending
    ends_at: float
    forgotten: tuple[float, float] | None = None


@dataclass(slots=True, kw_only=True)
class FaultyTaskRunner:
    """Implements `ports.TaskRunner`. `on_submit` is told of every submission before it is answered.

    `scenario_of` is the script by run id.
    """

    scenario_of: Callable[[str], Scenario]
    calls: Calls
    evidence: Evidence
    on_submit: Callable[[Submission, Mapping[str, Any]], None]
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _by_key: dict[str, _Job] = field(default_factory=dict)

    def submit(self, base_url: str, body: Mapping[str, Any], *, idempotency_key: str) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        assert base_url == TASK_RUNNER_URL
        return self.calls.make("submit", lambda: self._submit(body, idempotency_key))

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        assert base_url == TASK_RUNNER_URL
        return self.calls.make("status", lambda: self._status(job_id))

    def _submit(self, body: Mapping[str, Any], key: str) -> JobAnswer:
        submission = Submission(key=key, at=self.calls.scheduler.now, by=self.calls.scheduler.current.root)
        self.on_submit(submission, body)
        self.evidence.add(submission)
        self.calls.trace.note("submit", key)
        if self.calls.strikes(Fault.SUBMIT_FAILED):
            submission.is_unsure = True
            raise TaskRunnerUnavailable("HTTP 503")
        answer = self._accept(Try.of(key), key)
        if self.calls.strikes(Fault.SUBMIT_SLOW):
            self.calls.scheduler.sleep(self.calls.faults.chance.choice([1, 10, 40, SUBMIT_LIMIT_S]))
        if self.calls.strikes(Fault.SUBMIT_FAILED_AFTER):
            submission.is_unsure = True
            raise TaskRunnerUnavailable("the connection was closed without an answer")
        if self.calls.strikes(Fault.SUBMIT_GARBAGE):
            submission.is_unsure = True
            return JobAnswer(job_id="", state="\x1b[31m?")
        self.evidence.hears(Try.of(key), answer.state)
        return answer

    def _accept(self, of: Try, key: str) -> JobAnswer:
        scenario = self.scenario_of(of.run_id)
        plan = scenario.by_id[of.step]
        ending = plan.ending(of.attempt)
        if ending is Ending.IS_REFUSED:
            self.evidence.hears(of, "REFUSED")
            raise JobRefused(422, "the script refuses it")
        job = self._by_key.get(key) if scenario.honours_keys else None
        if job is None:
            ends_at = self.calls.scheduler.now + plan.duration_s
            job = _Job(id=f"job-{len(self._jobs) + 1}", of=of, ending=ending, ends_at=ends_at)
            self._jobs[job.id] = self._by_key[key] = job
            if ending in _ENDED:
                self.evidence.told_from[job.id] = ends_at
        return self._look(job)

    def _status(self, job_id: str) -> JobAnswer:
        job = self._jobs[job_id]
        if self.calls.strikes(Fault.STATUS_SLOW):
            self.calls.scheduler.sleep(self.calls.faults.chance.uniform(1, _STATUS_LIMIT_S))
        if self.calls.strikes(Fault.STATUS_FAILED):
            raise TaskRunnerUnavailable("HTTP 500")
        if self.calls.strikes(Fault.STATUS_GARBAGE):
            return JobAnswer(job_id="", state="OUT TO LUNCH", message="<html>")
        if job.ending is Ending.VANISHES or self._is_forgotten(job):
            self.evidence.misses(job.of)
            self.calls.trace.note("unknown", job_id)
            raise JobUnknown(job_id)
        answer = self._look(job)
        self.evidence.hears(job.of, answer.state)
        return answer

    def _is_forgotten(self, job: _Job) -> bool:
        now = self.calls.scheduler.now
        if job.forgotten is None and self.calls.strikes(Fault.JOB_FORGOTTEN):
            known_again = now + self.calls.faults.chance.choice([5, 20, 40, 100, 200])
            job.forgotten = (now, known_again)
            if job.id in self.evidence.told_from:
                self.evidence.told_from[job.id] = max(job.ends_at, known_again)
        return job.forgotten is not None and job.forgotten[0] <= now < job.forgotten[1]

    def _look(self, job: _Job) -> JobAnswer:
        is_over = self.calls.scheduler.now >= job.ends_at and job.ending in _ENDED
        state = _ENDED[job.ending] if is_over else "RUNNING"
        self.calls.trace.note("answer", job.id, state)
        return JobAnswer(job_id=job.id, state=state)
