"""The Task Runner that handlers see. Each attempt goes as its script says, and answers may get lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from atom_emulator.testing.world import TASK_RUNNER_URL
from atom_workflows.errors import (
    JobConflict,
    JobRefused,
    JobUnknown,
    LookupUnsupported,
    RequestNotAccepted,
    TaskRunnerUnavailable,
)
from atom_workflows.ports import JobAnswer, StopAnswer
from simulation.calls import Calls
from simulation.evidence import GARBAGE, STOPPED, UNHEARD, UNKNOWN, Evidence, Reply, Submission, Try
from simulation.faults import Fault
from simulation.scenario import Ending, Scenario, StepPlan, Stops

SUBMIT_LIMIT_S: Final = 70.0
"""The client gives up on a submission before that."""

_STATUS_LIMIT_S: Final = 20.0
_RETRY_AFTER_S: Final = (None, 1, 30, 100)
_LOST_ANSWERS: Final = (
    "the connection was closed without an answer",
    "no answer in time",
    "HTTP 500",
    "HTTP 502",
    "HTTP 504",
    "HTTP 200 without a job",
)
_UNANSWERED: Final = ("HTTP 500", "HTTP 503", "HTTP 404 without the contract's body", "no answer in time")
_SILENT_S: Final = (70, 100, 150)
_ENDED: Final = {
    Ending.SUCCEEDS: "SUCCEEDED",
    Ending.BREAKS_ITS_WORD: "SUCCEEDED",
    Ending.FAILS: "FAILED",
    Ending.IS_CANCELLED: "CANCELLED",
}


@dataclass(slots=True)
class _Job:
    id: str
    of: Try
    ending: Ending
    ends_at: float
    began_at: float
    forgotten: tuple[float, float] | None = None
    silent: tuple[float, float] | None = None
    # The Task Runner said once that there is no such job, a request to stop it failed, or one was accepted.
    denied: bool = False
    was_stopped: bool = False
    stop_failed: bool = False
    stop_accepted_at: float | None = None
    # Whether its id is unknown to the coordinator can be found out by its key, if that is possible at all.
    can_be_found: bool = True
    is_placeholder: bool = False

    def runs_at(self, now: float) -> bool:
        """Return True if the job runs."""
        return self.ending is not Ending.VANISHES and (self.ending not in _ENDED or now < self.ends_at)


@dataclass(slots=True, kw_only=True)
class FaultyTaskRunner:
    """Implements `ports.TaskRunner`. `on_submit` gets every submission before it is answered.

    `on_look` gets every attempt whose job is polled. `on_end` gets the keys of jobs whose ends are reported, and when
    they end. `on_beside` gets each submission beside a job that should have been stopped, and that job. `scenario_of`
    is the script by run id. A status call of the first run takes `status_s`.
    """

    scenario_of: Callable[[str], Scenario]
    calls: Calls
    evidence: Evidence
    on_submit: Callable[[Submission, Mapping[str, Any]], None]
    on_look: Callable[[Try], None]
    on_end: Callable[[str, float], None]
    on_beside: Callable[[Try, str], None]
    status_s: float
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _by_key: dict[str, _Job] = field(default_factory=dict)

    def submit(
        self,
        base_url: str,
        body: Mapping[str, Any],
        *,
        idempotency_key: str,
        timeout: timedelta,  # noqa: ARG002 (no job is ended because of it)
    ) -> JobAnswer:
        """See `ports.TaskRunner.submit`."""
        assert base_url == self.scenario_of(Try.of(idempotency_key).run_id).task_runner_url
        return self.calls.make("submit", lambda: self._submit(body, idempotency_key))

    def status(self, base_url: str, job_id: str) -> JobAnswer:
        """See `ports.TaskRunner.status`."""
        assert base_url == self.scenario_of(self._jobs[job_id].of.run_id).task_runner_url
        return self.calls.make("status", lambda: self._status(job_id))

    def stop(self, base_url: str, job_id: str) -> StopAnswer:
        """See `ports.TaskRunner.stop`."""
        job = self._jobs.get(job_id)
        # The id of a job may be unknown; the key of its submission then finds out whether jobs can be stopped at all.
        of = Try.of(job_id) if job is None else job.of
        assert base_url == self.scenario_of(of.run_id).task_runner_url
        return self.calls.make("stop", lambda: self._refuse_stop(job_id, of) if job is None else self._stop(job))

    def look_up(self, base_url: str, idempotency_key: str) -> JobAnswer | None:
        """See `ports.TaskRunner.look_up`."""
        scenario = self.scenario_of(Try.of(idempotency_key).run_id)
        assert base_url == scenario.task_runner_url
        return self.calls.make("look up", lambda: self._look_up(idempotency_key, scenario))

    def _look_up(self, key: str, scenario: Scenario) -> JobAnswer | None:
        if self.calls.strikes(Fault.LOOKUP_SLOW):
            self.calls.scheduler.sleep(self.calls.faults.chance.uniform(1, _STATUS_LIMIT_S))
        if self.calls.strikes(Fault.LOOKUP_FAILED):
            self.evidence.unheard_keys.add(key)
            raise TaskRunnerUnavailable(self.calls.faults.chance.choice(_UNANSWERED))
        if not scenario.looks_up:
            raise LookupUnsupported("HTTP 404")
        job = self._by_key.get(key)
        now = self.calls.scheduler.now
        is_listed = job is not None and now >= job.began_at + scenario.listed_after_s
        if scenario.takes_keys and not is_listed:
            return self._take(key, job)
        if job is None or not is_listed or job.ending is Ending.VANISHES or self._is_forgotten(job):
            if job is not None and is_listed:
                job.denied = True
            self.calls.trace.note("no job", key)
            return None
        return self._look(job)

    def _take(self, key: str, job: _Job | None) -> JobAnswer:
        """Take a key for which no job is listed, unless it has one."""
        if job is not None:
            raise TaskRunnerUnavailable("HTTP 503")
        now = self.calls.scheduler.now
        job = _Job(
            id=f"job-{len(self._jobs) + 1}",
            of=Try.of(key),
            ending=Ending.IS_CANCELLED,
            ends_at=now,
            began_at=now - self.scenario_of(Try.of(key).run_id).listed_after_s,
            is_placeholder=True,
        )
        self._jobs[job.id] = self._by_key[key] = job
        return self._look(job)

    def _submit(self, body: Mapping[str, Any], key: str) -> JobAnswer:
        of = Try.of(key)
        submission = Submission(key=key, at=self.calls.scheduler.now, by=self.calls.scheduler.current.root)
        self.on_submit(submission, body)
        self.evidence.add(submission)
        self.calls.trace.note("submit", key)
        if self.calls.strikes(Fault.SUBMIT_FAILED):
            submission.reply = Reply.NOT_ACCEPTED
            self._hide(key)
            raise self._not_accepted()
        if self.calls.strikes(Fault.SUBMIT_LOST):
            submission.reply = Reply.LOST
            self._hide(key)
            raise self._lost()
        if key in self._by_key and self.calls.strikes(Fault.SUBMIT_CONFLICT):
            submission.reply = Reply.LOST
            self._hide(key)
            raise JobConflict(409, "a request with this key is being worked on")
        try:
            answer = self._accept(of, key)
        except JobRefused:
            submission.reply = Reply.NOT_ACCEPTED
            raise
        if self.calls.strikes(Fault.SUBMIT_SLOW):
            self.calls.scheduler.sleep(self.calls.faults.chance.choice([1, 10, 40, SUBMIT_LIMIT_S]))
        if self.calls.strikes(Fault.SUBMIT_FAILED_AFTER):
            submission.reply = Reply.LOST
            raise self._lost()
        if self.calls.strikes(Fault.SUBMIT_GARBAGE):
            submission.reply = Reply.LOST
            return JobAnswer(job_id="", state="\x1b[31m?")
        submission.reply = Reply.GIVEN
        # An attempt whose key was taken has ended, so this is no news of how it went.
        if not self._jobs[answer.job_id].is_placeholder:
            self.evidence.record_answer(of, answer.state)
        return answer

    def _not_accepted(self) -> RequestNotAccepted:
        """Return the client's error if nothing can have been started."""
        chance = self.calls.faults.chance
        reason = chance.choice(["the connection was refused", "HTTP 429", "HTTP 503"])
        is_busy, retry_after_s = reason == "HTTP 429", chance.choice(_RETRY_AFTER_S)
        return RequestNotAccepted(reason, retry_after_s=retry_after_s, is_busy=is_busy)

    def _lost(self) -> TaskRunnerUnavailable:
        """Return the client's error if a job may have been started."""
        return TaskRunnerUnavailable(self.calls.faults.chance.choice(_LOST_ANSWERS))

    def _accept(self, of: Try, key: str) -> JobAnswer:
        scenario = self.scenario_of(of.run_id)
        plan = scenario.script_of(of.step)
        ending = plan.ending(of.attempt)
        if ending is Ending.IS_REFUSED:
            self.evidence.record_answer(of, "REFUSED")
            raise JobRefused(422, "the script refuses it")
        job = self._by_key.get(key) if scenario.honors_keys else None
        if job is None:
            ends_at = self.calls.scheduler.now + plan.duration_s
            job = _Job(
                id=f"job-{len(self._jobs) + 1}",
                of=of,
                ending=ending,
                ends_at=ends_at,
                began_at=self.calls.scheduler.now,
            )
            self._check_alone(of)
            self._jobs[job.id] = self._by_key[key] = job
            self.evidence.jobs[job.id] = of
            if ending in _ENDED:
                self._set_end(job, ends_at)
        return self._look(job)

    def _status(self, job_id: str) -> JobAnswer:
        job = self._jobs[job_id]
        self.on_look(job.of)
        if self.status_s and self.scenario_of(job.of.run_id).task_runner_url == TASK_RUNNER_URL:
            self.calls.scheduler.sleep(self.status_s)
        if self.calls.strikes(Fault.STATUS_SLOW):
            self.calls.scheduler.sleep(self.calls.faults.chance.uniform(1, _STATUS_LIMIT_S))
        try:
            answer = self._status_of(job)
        except TaskRunnerUnavailable:
            self.evidence.record_look(job.id, UNHEARD)
            raise
        except JobUnknown:
            self.evidence.record_look(job.id, UNKNOWN)
            self.calls.trace.note("unknown", job_id)
            raise
        self.evidence.record_look(job.id, answer.state)
        return answer

    def _refuse_stop(self, key: str, of: Try) -> StopAnswer:
        """Answer a request to stop a job that is named by its key, which no job has for an id."""
        if self.calls.strikes(Fault.STOP_FAILED):
            self._hide(key)
            raise TaskRunnerUnavailable(self.calls.faults.chance.choice(_UNANSWERED))
        return StopAnswer.CANNOT if self.scenario_of(of.run_id).stops is Stops.CANNOT else StopAnswer.GONE

    def _hide(self, key: str) -> None:
        """Note that a call which would have found out a job was not answered, and may not be before it is given up."""
        if (job := self._by_key.get(key)) is not None:
            job.can_be_found = False

    def _stop(self, job: _Job) -> StopAnswer:
        """Stop the job as its Task Runner does."""
        scenario = self.scenario_of(job.of.run_id)
        if self.calls.strikes(Fault.STOP_SLOW):
            self.calls.scheduler.sleep(self.calls.faults.chance.uniform(1, _STATUS_LIMIT_S))
        if self.calls.strikes(Fault.STOP_FAILED):
            job.stop_failed = True
            raise TaskRunnerUnavailable(self.calls.faults.chance.choice(_UNANSWERED))
        if scenario.stops is Stops.CANNOT:
            return StopAnswer.CANNOT
        if job.ending is Ending.VANISHES or self._is_forgotten(job):
            job.denied = True
            return StopAnswer.GONE
        now = self.calls.scheduler.now
        if job.stop_accepted_at is None:
            job.stop_accepted_at = now
            self._begin_to_stop(job, scenario, now)
        self.calls.trace.note("stop", job.id, scenario.stops)
        if self.calls.strikes(Fault.STOP_ANSWER_LOST):
            raise TaskRunnerUnavailable(self.calls.faults.chance.choice(_LOST_ANSWERS))
        return StopAnswer.STOPPING

    def _begin_to_stop(self, job: _Job, scenario: Scenario, now: float) -> None:
        ends_at = now + (scenario.stop_after_s if scenario.stops is Stops.SLOWLY else 0.0)
        if scenario.stops is not Stops.NEVER and (job.ending not in _ENDED or ends_at < job.ends_at):
            job.ending, job.was_stopped = Ending.IS_CANCELLED, True
            self._set_end(job, ends_at)

    def _set_end(self, job: _Job, ends_at: float) -> None:
        job.ends_at = ends_at
        self.evidence.visible_from[job.id] = ends_at
        if self.scenario_of(job.of.run_id).notifies:
            self.on_end(f"{job.of.run_id}/{job.of.step}/{job.of.attempt}", ends_at)

    def _check_alone(self, of: Try) -> None:
        """Look for jobs of other attempts that run when this one begins.

        Those of earlier attempts should have been stopped; a later attempt should not have begun before this one could
        begin no more.
        """
        scenario = self.scenario_of(of.run_id)
        if scenario.stops is Stops.CANNOT:
            return
        for job in self._jobs.values():
            is_of_step = (job.of.run_id, job.of.step) == (of.run_id, of.step)
            if not is_of_step or job.of.attempt == of.attempt or not job.runs_at(self.calls.scheduler.now):
                continue
            is_excused = job.denied or (job.stop_failed and job.stop_accepted_at is None)
            # Its key finds it, and a key that is taken starts no other job.
            is_found = scenario.honors_keys and job.can_be_found
            is_known = is_found or (job.of.attempt < of.attempt and job.id in self.evidence.known_jobs)
            if is_known and not is_excused:
                self.on_beside(of, job.id)

    def _status_of(self, job: _Job) -> JobAnswer:
        if self.calls.strikes(Fault.STATUS_FAILED):
            chance = self.calls.faults.chance
            raise TaskRunnerUnavailable(chance.choice(_UNANSWERED), retry_after_s=chance.choice(_RETRY_AFTER_S))
        if self.calls.strikes(Fault.STATUS_GARBAGE):
            return JobAnswer(job_id="", state=GARBAGE, message="<html>")
        if self.calls.strikes(Fault.JOB_FALTERS):
            self._falter(job)
        if job.silent is not None and job.silent[0] <= self.calls.scheduler.now < job.silent[1]:
            raise TaskRunnerUnavailable("HTTP 503")
        if job.ending is Ending.VANISHES or self._is_forgotten(job):
            job.denied = True
            raise JobUnknown(job.id)
        answer = self._look(job)
        # It was we who ended a job that was stopped, so that is no news of how its attempt went.
        is_news = not job.was_stopped or answer.state != "CANCELLED"
        self.evidence.record_answer(job.of, answer.state if is_news else STOPPED)
        return answer

    def _falter(self, job: _Job) -> None:
        """Let a job be unknown, unanswered, then unknown once more.

        After that it is known again.
        """
        chance, now = self.calls.faults.chance, self.calls.scheduler.now
        silent_from = now + chance.choice([0.001, 5, 30])
        silent_until = silent_from + chance.choice(_SILENT_S)
        job.silent = (silent_from, silent_until)
        self._forget(job, silent_until + chance.choice([5, 15]))

    def _is_forgotten(self, job: _Job) -> bool:
        now = self.calls.scheduler.now
        if job.forgotten is None and self.calls.strikes(Fault.JOB_FORGOTTEN):
            self._forget(job, now + self.calls.faults.chance.choice([5, 20, 40, 100, 200]))
        return job.forgotten is not None and job.forgotten[0] <= now < job.forgotten[1]

    def _forget(self, job: _Job, known_again: float) -> None:
        job.forgotten = (self.calls.scheduler.now, known_again)
        if job.id in self.evidence.visible_from:
            self.evidence.visible_from[job.id] = max(job.ends_at, known_again)

    def _look(self, job: _Job) -> JobAnswer:
        is_over = self.calls.scheduler.now >= job.ends_at and job.ending in _ENDED
        state = _ENDED[job.ending] if is_over else "RUNNING"
        self.calls.trace.note("answer", job.id, state)
        scenario = self.scenario_of(job.of.run_id)
        if not is_over:
            return JobAnswer(job_id=job.id, state=state, notifies=scenario.notifies)
        plan = scenario.script_of(job.of.step)
        reason = "" if state == "SUCCEEDED" else plan.reason(job.of.attempt)
        return JobAnswer(job_id=job.id, state=state, reason=reason, outputs=self._outputs(job, plan))

    def _outputs(self, job: _Job, plan: StepPlan) -> str:
        """Return the outputs of a job that has ended, and note those that its step may be given."""
        if not plan.numbers or job.ending not in {Ending.SUCCEEDS, Ending.BREAKS_ITS_WORD}:
            return ""
        if job.ending is Ending.BREAKS_ITS_WORD:
            return json.dumps({"n": "none", "job": job.id})
        returned = {"n": plan.number(job.of.attempt), "job": job.id}
        self.evidence.returned[job.id] = returned
        return json.dumps({**returned, "more": [1]})
