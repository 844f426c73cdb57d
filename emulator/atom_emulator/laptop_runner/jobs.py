"""The jobs of this Task Runner: which run, which wait, and how they ended."""

from __future__ import annotations

import hmac
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol
from urllib.parse import quote, unquote

from atom_emulator.laptop_runner.ends import End, Result, StopReason, conclude, conclude_queued, explain_wait
from atom_emulator.laptop_runner.files import JobFiles
from atom_emulator.laptop_runner.records import Record, Records, RecordUnusable
from atom_workflows.errors import RequestRefused
from atom_workflows.runner.reports import JobReport, JobState
from atom_workflows.runner.request import JobRequest


class RunningJob(Protocol):
    """A job that an engine has started."""

    def stop(self) -> None:
        """Ask the job to end, and kill it after a while.

        May be called twice.
        """


class Engine(Protocol):
    """What runs jobs: processes or containers."""

    def find_refusal(self, request: JobRequest) -> str:
        """Explain why the engine can never run a job, or return ""."""

    def start(self, request: JobRequest, files: JobFiles, on_end: Callable[[End], None]) -> RunningJob:
        """Start a job.

        `on_end` is called once, later, when nothing of the job is running anymore. Raises `OSError` if the job's files
        cannot be used; nothing is started then.
        """

    def clean_up(self, runner: str) -> None:
        """End and remove what a killed Task Runner left of its jobs."""


class Timer(Protocol):
    """A call scheduled for later."""

    def cancel(self) -> None:
        """Do not make the call."""


class Timers(Protocol):
    """A clock that calls back, such as an event loop."""

    def call_later(self, delay: float, callback: Callable[[str], None], key: str, /) -> Timer:
        """Call back after some seconds."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """A job that has not ended."""

    request: JobRequest
    record: Record
    files: JobFiles
    running: RunningJob | None = None
    stopped: StopReason | None = None
    timer: Timer | None = None

    @property
    def state(self) -> JobState:
        if self.running is None:
            return JobState.QUEUED
        return JobState.RUNNING if self.stopped is None else JobState.CANCELLING


@dataclass(slots=True, kw_only=True)
class Jobs:
    """Runs at most `slots` jobs at the same time, in the order of their submission.

    `logs_url` completes the address of a log. `on_end`, if given, is called with a job's key when the job has ended.
    """

    engine: Engine
    records: Records
    timers: Timers
    slots: int
    logs_url: Callable[[str], str]
    on_end: Callable[[str], None] | None = None
    _open: dict[str, _Job] = field(default_factory=dict)
    _queue: deque[_Job] = field(default_factory=deque)
    _used: int = 0
    # Jobs that ended while the disk was full.
    _unsaved: dict[str, Record] = field(default_factory=dict)
    _is_closed: bool = False

    def take_over(self) -> None:
        """Report the jobs of Task Runners that have died as failed."""
        for record in self.records.take_over(self.engine.clean_up):
            self._tell(record.key)

    def submit(self, request: JobRequest) -> JobReport:
        """Start a job, or return the one that has its key.

        Raises `OSError` if nothing can be written, in which case nothing was started, and `RecordUnusable`.
        """
        if known := self.find(request.key):
            return known
        record = self.records.add(request.key)
        job = _Job(request=request, record=record, files=self.records.files(request.key))
        self._open[request.key] = job
        self._queue.append(job)
        if request.timeout is not None:
            job.timer = self.timers.call_later(request.timeout.total_seconds(), self._time_out, request.key)
        self._start_next()
        return self.find(request.key) or self._report(record, job)

    def find(self, job_id: str) -> JobReport | None:
        """Return the state of a job, or None if it is unknown.

        Raises `RecordUnusable`.
        """
        if job := self._open.get(job_id):
            return self._report(job.record, job)
        try:
            record = self._unsaved.get(job_id) or self.records.find(job_id)
        except RequestRefused:  # It is not the id of any job.
            return None
        return None if record is None else self._report(record, None)

    def stop(self, job_id: str) -> JobReport | None:
        """Stop a job, and return its state, or None if it is unknown.

        May be called twice.
        """
        if job := self._open.get(job_id):
            self._stop(job, StopReason.CALLER)
        return self.find(job_id)

    def log(self, address: str) -> JobFiles | None:
        """Return the files of the job whose log has this address, which an earlier Task Runner may have given out."""
        key, _, log_id = unquote(address).rpartition("/")
        try:
            job = self._open.get(key)
            record = job.record if job else self._unsaved.get(key) or self.records.read(key)
        except (RequestRefused, RecordUnusable, OSError):
            return None
        # The key can be guessed.
        if record is None or not hmac.compare_digest(record.log_id.encode("utf-8", "replace"), log_id.encode()):
            return None
        return self.records.files(key)

    def close(self) -> None:
        """Start no more jobs, and record no more ends.

        The next Task Runner reports the jobs that are open now.
        """
        self._is_closed = True
        self.records.close(is_done=not self._open)

    def _stop(self, job: _Job, reason: StopReason) -> None:
        job.stopped = job.stopped or reason
        if job.running is not None:
            job.running.stop()
        else:
            self._queue.remove(job)
            self._settle(job, conclude_queued(job.stopped, timeout=job.request.timeout, slots=self.slots))

    def _time_out(self, key: str) -> None:
        self._stop(self._open[key], StopReason.TIMEOUT)

    def _start_next(self) -> None:
        while self._queue and self._used < self.slots:
            job = self._queue.popleft()
            try:
                job.running = self.engine.start(job.request, job.files, partial(self._finish, job))
            except OSError as error:
                self._settle(job, self._conclude(job, End(error=f"its files cannot be used: {error}")))
            else:
                self._used += 1

    def _finish(self, job: _Job, end: End) -> None:
        if self._is_closed:
            return
        self._used -= 1
        self._settle(job, self._conclude(job, end))
        self._start_next()

    @staticmethod
    def _conclude(job: _Job, end: End) -> Result:
        return conclude(
            end,
            stopped=job.stopped,
            timeout=job.request.timeout,
            last_lines=job.files.last_lines(),
            outputs=job.files.read_outputs,
        )

    def _settle(self, job: _Job, result: Result) -> None:
        key = job.request.key
        del self._open[key]
        if job.timer is not None:
            job.timer.cancel()
        try:
            self.records.end(job.record, result)
        except OSError as error:
            self._unsaved[key] = replace(job.record, result=result)
            logging.getLogger(__name__).warning("the end of job %s cannot be written: %s", key, error)
        self._tell(key)

    def _tell(self, key: str) -> None:
        if self.on_end is not None:
            self.on_end(key)

    def _report(self, record: Record, job: _Job | None) -> JobReport:
        result: Result = record.result
        is_queued = job is not None and job.running is None
        return JobReport(
            job_id=record.key,
            state=result.state if job is None else job.state,
            message=explain_wait(self.slots) if is_queued else result.message,
            reason=result.reason,
            outputs=result.outputs,
            logs_url=self.logs_url(f"{quote(record.key)}/{record.log_id}"),
            # The start of a job is not reported, so whoever waits for it has to poll.
            notifies=self.on_end is not None and not is_queued,
        )
