"""The logic of the mock Task Runner, which answers each call. It has no socket and no clock; time is passed in."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from atom_emulator.task_runner.contract import find_breaches
from atom_emulator.task_runner.script import (
    FOREVER,
    TERMINAL_STATES,
    Behavior,
    Fault,
    Loss,
    Script,
)
from atom_workflows.messages.internal import JobEnded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Chosen = TypeVar("Chosen")

StepKey: TypeAlias = tuple[str, ...]
"""The identity of a step of a run, as far as calls reveal it."""

_ATTEMPT_KEY: Final = re.compile(r"(.+)[^0-9A-Za-z]\d{1,4}")
"""An idempotency key that ends in an attempt number: `run/step/2`."""

_STEP_KEY: Final = re.compile(r"[^/]+/([^/]+)/\d+")

_SHORTEST_POLLED_S: Final = 0.001
"""The duration of a job that ends at the first poll."""
"""Our coordinator's idempotency keys: a run, a step and an attempt."""

_HAS_NO_CALL: Final = frozenset({405, 501})
_OK: Final = 200
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to send after `delay_s`. With a `fault`, the answer is corrupted accordingly.

    `key` is repeated if the call looked it up; without a `state`, the answer is that there is no job with this key.
    """

    status: int
    key: str = ""
    job_id: str = ""
    state: str = ""
    message: str = ""
    outputs: Mapping[str, Any] | None = None
    reason: str | None = None
    logs_url: str | None = None
    notifies: bool = False
    delay_s: float = 0.0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """A submission that became a job, and its time: with any request to stop it, all that is needed to restore it.

    Without a `behavior`, as older servers recorded it, the script determines it anew.
    """

    job_id: str
    job: Mapping[str, Any]
    idempotency_key: str | None
    at: float
    behavior: Behavior | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequest:
    """A request to stop a job that was accepted, and its time."""

    job_id: str
    at: float


class JobJournal(Protocol):
    """A record of accepted jobs."""

    def add(self, accepted: Acceptance | StopRequest) -> None:
        """Record a job, or that it is to stop, before the call is answered."""

    def clear(self) -> None:
        """Forget all jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    id: str
    step: StepKey
    idempotency_key: str | None
    behavior: Behavior
    started: float
    duration_s: float
    end: str
    message: str
    outputs: Mapping[str, Any] | None
    reason: str | None
    lost: bool
    is_stopping: bool = False

    @property
    def ends_at(self) -> float:
        """The time of the end, which is infinite for a job that never ends."""
        return self.started + self.duration_s

    @property
    def hint(self) -> JobEnded:
        """The hint that this job has ended. A key that is not our coordinator's would mean nothing to it."""
        key = self.idempotency_key
        return JobEnded(idempotency_key=key) if key and _STEP_KEY.fullmatch(key) else JobEnded(job_id=self.id)

    def state_at(self, now: float) -> str:
        if now >= self.ends_at:
            return self.end
        states = self._states()
        return states[self._place(now, len(states))]

    def next_change(self, now: float) -> float | None:
        """Return when the job next changes state, None if it ended or never ends."""
        if now >= self.ends_at or math.isinf(self.duration_s):
            return None
        states = len(self._states())
        return self.started + (self._place(now, states) + 1) * self.duration_s / states

    def answer_at(self, now: float) -> Answer:
        state, behavior = self.state_at(now), self.behavior
        answer = Answer(
            status=_OK,
            job_id=self.id,
            state=state,
            logs_url=behavior.logs_url,
            notifies=behavior.notifies,
            delay_s=behavior.delay_s,
        )
        if state not in TERMINAL_STATES:
            return answer
        return replace(answer, message=self.message, outputs=self.outputs, reason=self.reason)

    def stop_at(self, now: float) -> _Job:
        """Return the job once it is asked to stop. One that is stopping or has ended stays as it is."""
        if self.is_stopping or now >= self.ends_at:
            return self
        stop = self.behavior.stop
        return replace(
            self,
            behavior=replace(self.behavior, states=("CANCELLING",)),
            started=now,
            duration_s=math.inf if stop.ignored else stop.after_s,
            end="CANCELLED",
            message="stopped on request",
            outputs=None,
            is_stopping=True,
        )

    def _states(self) -> list[str]:
        return [state for state in self.behavior.states if state not in TERMINAL_STATES] or ["RUNNING"]

    def _place(self, now: float, states: int) -> int:
        """Return the place of the current state among the states before the end."""
        return min(int(states * (now - self.started) / self.duration_s), states - 1)


class Jobs:
    """All jobs since the last reset.

    Job ids start with `id_prefix`, so that a restarted server does not repeat any. With a `journal`, its contents can
    be passed to `restore` after a restart.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        default_duration_s: float = 0.0,
        id_prefix: str = "job",
        journal: JobJournal | None = None,
    ) -> None:
        self.script = script or Script()
        self._default_duration_s = default_duration_s
        self._id_prefix = id_prefix
        self._journal = journal
        self._made = 0
        self._forget()

    @property
    def made(self) -> int:
        """The number of jobs that were started, whether or not an answer named them."""
        return self._made

    def reset(self) -> None:
        """Forget every job, and restart every fault list.

        Job ids continue.
        """
        self._forget()
        if self._journal is not None:
            self._journal.clear()

    def restore(self, accepted: Iterable[Acceptance | StopRequest]) -> None:
        """Take over the jobs that an earlier server accepted, in their order.

        They keep the behavior that they had there, whatever the script is now; only the default duration is this
        server's. Ends that it may have reported are reported again.
        """
        for one in accepted:
            if isinstance(one, Acceptance):
                behavior = one.behavior or self._behavior_for(one.job, one.idempotency_key)
                self._keep(self._make(behavior, one.job, one.idempotency_key, one.at, one.job_id))
            elif one.job_id in self._jobs:
                self._keep(self._jobs[one.job_id].stop_at(one.at))

    def _forget(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._ids_by_key: dict[str, str] = {}
        # The jobs whose ends are still to be reported, and when to look for them. A job whose end has moved has several
        # times, of which only that of its end counts.
        self._unreported: set[str] = set()
        self._ends: list[tuple[float, str]] = []
        self._attempts: Counter[StepKey] = Counter()
        self._faults_used: Counter[tuple[str, StepKey]] = Counter()

    def next_change(self, now: float) -> float | None:
        """Return when a job next changes state, None if all ended."""
        changes = (job.next_change(now) for job in self._jobs.values())
        return min((at for at in changes if at is not None), default=None)

    def skip(self, seconds: float, now: float) -> None:
        """Bring the end of all running jobs nearer by this duration."""
        for job in list(self._jobs.values()):
            if job.next_change(now) is not None:
                self._keep(replace(job, started=job.started - seconds))

    @property
    def next_end(self) -> float | None:
        """When to call `take_ended` next, None if no end is to be reported."""
        return self._ends[0][0] if self._ends else None

    def take_ended(self, now: float) -> list[JobEnded]:
        """Return the hints about the jobs that have ended since the last call, of those that notify."""
        ended = []
        while self._ends and self._ends[0][0] <= now:
            _, job_id = heappop(self._ends)
            if job_id in self._unreported and self._jobs[job_id].ends_at <= now:
                self._unreported.remove(job_id)
                ended.append(self._jobs[job_id].hint)
        return ended

    def submit(self, job: Any, idempotency_key: str | None, now: float) -> Answer:
        """Answer a `POST /job`."""
        wrong = find_breaches(job)
        if wrong:
            return Answer(status=400, message="; ".join(wrong))
        behavior = self._behavior_for(job, idempotency_key)
        fault = self._next_fault("submit", _step_key(job, idempotency_key), behavior.submit_errors)
        if fault is not None and not fault.accepted:
            return Answer(status=fault.status, delay_s=behavior.delay_s, fault=fault)
        answer = self._accept(job, behavior, idempotency_key, now).answer_at(now)
        return answer if fault is None else replace(answer, status=fault.status, fault=fault)

    def status(self, job_id: str, now: float) -> Answer:
        """Answer a `GET /jobstatus`."""
        job = self._jobs.get(job_id)
        if job is None:
            return Answer(status=404, job_id=job_id, message=f"there is no job {job_id}")
        fault = self._next_fault("status", job.step, job.behavior.status_errors)
        if fault is not None and fault.accepted:
            return replace(job.answer_at(now), status=fault.status, fault=fault)
        if fault is not None:
            return Answer(status=fault.status, job_id=job_id, delay_s=job.behavior.delay_s, fault=fault)
        if job.lost:
            message = f"there is no job {job_id}"
            return Answer(status=404, job_id=job_id, message=message, delay_s=job.behavior.delay_s)
        return job.answer_at(now)

    def look_up(self, key: str, now: float) -> Answer:
        """Answer a `GET /jobstatus` with a key."""
        if not self.script.idempotent:
            # A Task Runner without keys does not know the parameter.
            return self.status("", now)
        job_id = self._ids_by_key.get(key)
        answer = Answer(status=_OK) if job_id is None else self.status(job_id, now)
        if answer.status == _NOT_FOUND and answer.fault is None:
            answer = replace(answer, status=_OK, message="")
        return replace(answer, key=key)

    def stop(self, job_id: str, now: float) -> Answer:
        """Answer a `DELETE /job`."""
        job = self._jobs.get(job_id)
        if job is None and (refusal := self.script.default.stop.fault) and refusal.status in _HAS_NO_CALL:
            # A Task Runner without this call does not look at the job.
            return Answer(status=refusal.status, job_id=job_id, fault=refusal)
        if job is None:
            return Answer(status=404, job_id=job_id, message=f"there is no job {job_id}")
        fault = self._next_fault("stop", job.step, job.behavior.stop_errors) or job.behavior.stop.fault
        if fault is not None and not fault.accepted:
            return Answer(status=fault.status, job_id=job_id, delay_s=job.behavior.delay_s, fault=fault)
        if job.lost:
            message = f"there is no job {job_id}"
            return Answer(status=404, job_id=job_id, message=message, delay_s=job.behavior.delay_s)
        stopped = job.stop_at(now)
        if stopped is not job:
            self._keep(stopped)
            if self._journal is not None:
                self._journal.add(StopRequest(job_id=job_id, at=now))
        answer = stopped.answer_at(now)
        return answer if fault is None else replace(answer, status=fault.status, fault=fault)

    def _behavior_for(self, job: Mapping[str, Any], idempotency_key: str | None) -> Behavior:
        of_step = _STEP_KEY.fullmatch(idempotency_key or "")
        return self.script.behavior_for(job, of_step[1] if of_step else "")

    def _accept(self, job: Mapping[str, Any], behavior: Behavior, idempotency_key: str | None, now: float) -> _Job:
        if self.script.idempotent and idempotency_key in self._ids_by_key:
            return self._jobs[self._ids_by_key[idempotency_key]]
        self._made += 1
        made = self._make(behavior, job, idempotency_key, now, f"{self._id_prefix}-{self._made:06d}")
        self._keep(made)
        if self._journal is not None:
            accepted = Acceptance(
                job_id=made.id, job=job, idempotency_key=idempotency_key, at=now, behavior=made.behavior
            )
            self._journal.add(accepted)
        return made

    def _keep(self, job: _Job) -> None:
        """Keep a new job, or one that has changed."""
        is_new = job.id not in self._jobs
        self._jobs[job.id] = job
        if job.idempotency_key:
            self._ids_by_key[job.idempotency_key] = job.id
        if not job.behavior.notifies or job.lost:
            return
        # The answer to its submission reports a job that has ended by then.
        if is_new and job.duration_s > 0:
            self._unreported.add(job.id)
        if job.id in self._unreported and not math.isinf(job.duration_s):
            heappush(self._ends, (job.ends_at, job.id))

    def _make(
        self, behavior: Behavior, job: Mapping[str, Any], idempotency_key: str | None, now: float, job_id: str
    ) -> _Job:
        step = _step_key(job, idempotency_key)
        self._attempts[step] += 1
        attempt = self._attempts[step]
        end = _choose_end(behavior, attempt)
        duration_s = self._default_duration_s if behavior.duration_s is None else behavior.duration_s
        lost = behavior.lose_job is Loss.ALWAYS or (behavior.lose_job is Loss.ONCE and attempt == 1)
        if lost or behavior.status_errors:
            # If the submission were answered with the end of the job, no one would ask for its status.
            duration_s = max(duration_s, _SHORTEST_POLLED_S)
        return _Job(
            id=job_id,
            step=step,
            idempotency_key=idempotency_key,
            behavior=behavior,
            started=now,
            duration_s=0.0 if behavior.synchronous else duration_s,
            end=end,
            message=_choose_message(behavior, end, attempt),
            outputs=_choose(behavior.outputs, attempt) if end == "SUCCEEDED" else None,
            reason=_choose(behavior.reasons, attempt) if end != "SUCCEEDED" else None,
            lost=lost,
        )

    def _next_fault(self, call: str, step: StepKey, faults: tuple[Fault, ...]) -> Fault | None:
        if not faults:
            return None
        used = self._faults_used[call, step]
        self._faults_used[call, step] += 1
        for fault in faults:
            if fault.times == FOREVER or used < fault.times:
                return fault
            used -= fault.times
        return None


def _step_key(job: Mapping[str, Any], idempotency_key: str | None) -> StepKey:
    """Return the identity of a job's step in its run.

    It is taken from the idempotency key if that ends in an attempt number, else from the labels.
    """
    counted = _ATTEMPT_KEY.fullmatch(idempotency_key) if idempotency_key else None
    if counted:
        return (counted[1], job["job_name"])
    labels = job["labels"]
    return (labels["workflow"], labels.get("run", ""), job["job_name"])


def _choose_end(behavior: Behavior, attempt: int) -> str:
    if behavior.always_fail or attempt <= behavior.fail_times:
        return "FAILED"
    last = behavior.states[-1]
    return last if last in TERMINAL_STATES else "SUCCEEDED"


def _choose(by_attempt: tuple[Chosen | None, ...], attempt: int) -> Chosen | None:
    """Return the entry for an attempt, which is the last one for attempts beyond the list."""
    return by_attempt[min(attempt, len(by_attempt)) - 1] if by_attempt else None


def _choose_message(behavior: Behavior, end: str, attempt: int) -> str:
    if end == "SUCCEEDED":
        return behavior.message if behavior.message and not behavior.fail_times else ""
    return behavior.message or f"attempt {attempt} {end.lower()} as the script says"
