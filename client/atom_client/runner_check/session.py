"""The calls that a check makes, through the coordinator's own client.

A check thus reads every response exactly as the coordinator does.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from atom_workflows.core.outcomes import has_ended
from atom_workflows.core.polling import MISSING_GRACE
from atom_workflows.errors import JobUnknown, RequestNotAccepted, TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer, StopAnswer, TaskRunner

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 5.0
BUSY_WAIT_S: Final = 2.0
"""The wait before repeating a submission refused for lack of capacity, unless the response says how long to wait."""

MAX_FAILED_POLLS: Final = 3
"""How many status calls in a row may fail before a check gives up."""

MOST_HANGING_S: Final = 60.0
"""How long unanswered calls may take in total. A call takes up to a minute, so checking a Task Runner that hangs takes
up to two minutes."""

WORKFLOW: Final = "atom-check"

_Answer = TypeVar("_Answer")


class NotCalled(TaskRunnerUnavailable):
    """The Task Runner has left too many calls unanswered."""

    def __init__(self) -> None:
        super().__init__(f"not called, as earlier calls went unanswered for {MOST_HANGING_S:g} s in total")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job to submit: its name, and fields that decide what runs."""

    name: str
    task: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A job that was polled.

    `answer` is the last response about it, and `states` are its states in order. `problem` says what was wrong with the
    last status call, if that call failed.
    """

    answer: JobAnswer
    states: tuple[str, ...]
    problem: str = ""

    @property
    def has_ended(self) -> bool:
        """True if the job ended in time."""
        return has_ended(self.answer.state)


@dataclass(slots=True, kw_only=True)
class Session:
    """A check of the Task Runner at `url`.

    `timeout_s` is how long a job may take to end. `grace_s` is how long a new job may be unknown to status calls.
    `slowest_s` holds the longest time that each kind of call has taken so far, in seconds.
    """

    task_runner: TaskRunner
    url: str
    timeout_s: float
    grace_s: float = MISSING_GRACE.total_seconds()
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    slowest_s: dict[str, float] = field(default_factory=dict)
    _hanging_s: float = 0.0
    _id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def key(self, step: str) -> str:
        """Return an idempotency key that no one else uses."""
        return f"{WORKFLOW}-{self._id}/{step}/1"

    def submit(self, job: Job, key: str) -> JobAnswer:
        """Submit a job, retrying while the Task Runner is busy.

        Raises the errors of `TaskRunner.submit`.
        """
        labels = {"workflow": WORKFLOW, "type": "step"}
        body = {"job_name": job.name, "scaleTier": "BASIC", **job.task, "labels": labels}
        timeout = timedelta(seconds=self.timeout_s)
        return self._patiently(
            "submission", lambda: self.task_runner.submit(self.url, body, idempotency_key=key, timeout=timeout)
        )

    def submit_twice(self, job: Job, key: str) -> tuple[JobAnswer, JobAnswer]:
        """Submit a job twice at the same time.

        Ctrl-C does not wait for the calls; it would if they ran in a thread pool. Raises the errors of `submit`.
        """
        calls: list[Future[JobAnswer]] = [Future(), Future()]

        def submit(call: Future[JobAnswer]) -> None:
            try:
                call.set_result(self.submit(job, key))
            except Exception as error:  # noqa: BLE001 (raised again where the result is read)
                call.set_exception(error)

        for call in calls:
            threading.Thread(target=submit, args=(call,), daemon=True).start()
        return calls[0].result(), calls[1].result()

    def status(self, job_id: str) -> JobAnswer:
        """Return a job's state. Raises the errors of `TaskRunner.status`."""
        return self._timed("status call", lambda: self.task_runner.status(self.url, job_id))

    def stop(self, job_id: str) -> StopAnswer:
        """Request that a job be stopped, retrying while told to wait.

        Raises the errors of `TaskRunner.stop`.
        """
        return self._patiently("stop", lambda: self.task_runner.stop(self.url, job_id))

    def look_up(self, key: str) -> JobAnswer | None:
        """Return the job with the given key, or None.

        Raises the errors of `TaskRunner.look_up`.
        """
        return self._patiently("lookup", lambda: self.task_runner.look_up(self.url, key))

    def find(self, key: str) -> JobAnswer | None:
        """Look up a key repeatedly until its job is found.

        This may take a while if the job is new.
        Returns None if it is not found in time. Raises the errors of `TaskRunner.look_up`.
        """
        wait_s, ends_at = FIRST_WAIT_S, self.now() + min(self.grace_s, self.timeout_s)
        while (found := self.look_up(key)) is None and self.now() < ends_at:
            self.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        return found

    def unknown_job(self) -> str:
        """Return the id of a job that no Task Runner knows."""
        return f"{WORKFLOW}-{self._id}-unknown"

    def follow(self, answer: JobAnswer) -> Followed:
        """Poll a job until it ends or time runs out.

        A few calls may fail, and a new job may be unknown for a while. Raises the errors of `TaskRunner.status`.
        """
        job_id, states, wait_s, failures = answer.job_id, [answer.state], FIRST_WAIT_S, 0
        problem = ""
        began = self.now()
        while not has_ended(answer.state) and self.now() < began + self.timeout_s:
            self.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            try:
                answer, failures, problem = self.status(job_id), 0, ""
            except JobUnknown as error:
                problem = str(error)
                if self.now() > began + self.grace_s or len(states) > 1:
                    raise
            except TaskRunnerUnavailable as error:
                problem = str(error)
                failures += 1
                if failures > MAX_FAILED_POLLS or isinstance(error, NotCalled):
                    raise
            if answer.state != states[-1]:
                states.append(answer.state)
        return Followed(answer=answer, states=tuple(states), problem=problem)

    def _patiently(self, call: str, make: Callable[[], _Answer]) -> _Answer:
        """Make a call, repeating it while the Task Runner says to wait."""
        ends_at = self.now() + self.timeout_s
        while True:
            try:
                return self._timed(call, make)
            except TaskRunnerUnavailable as error:
                is_busy = isinstance(error, RequestNotAccepted) and error.is_busy
                wait_s = error.retry_after_s or BUSY_WAIT_S
                if not (is_busy or error.retry_after_s is not None) or self.now() + wait_s > ends_at:
                    raise
            self.sleep(wait_s)

    def _timed(self, call: str, make: Callable[[], _Answer]) -> _Answer:
        if self._hanging_s >= MOST_HANGING_S:
            raise NotCalled
        began = self.now()
        try:
            return make()
        except TaskRunnerUnavailable:
            self._hanging_s += self.now() - began
            raise
        finally:
            self.slowest_s[call] = max(self.slowest_s.get(call, 0.0), self.now() - began)
