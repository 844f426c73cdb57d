"""A timer that reports each job when it ends, without checking the job in the meantime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from atom_emulator.task_runner.jobs import Jobs
from atom_workflows.messages.internal import JobEnded


class HintTimer:
    """Calls `publish` with the hints about jobs that have ended, on a separate thread.

    `now` is the clock of the jobs. Use it from the thread of the event loop only.
    """

    def __init__(self, jobs: Jobs, publish: Callable[[Sequence[JobEnded]], None], now: Callable[[], float]) -> None:
        self._jobs = jobs
        self._publish = publish
        self._now = now
        # One thread, so that a slow Pub/Sub cannot use up all of them; hints that come meanwhile wait.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="job-hints")
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None

    def arm(self) -> None:
        """Wait for the next end to report.

        Must be called when a job was added, or its end moved.
        """
        due = self._jobs.next_end
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due, self._timer = due, None
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(due - self._now(), 0.0), self._fire)

    def close(self) -> None:
        """Stop, dropping the hints that were not published yet."""
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _fire(self) -> None:
        self._due = self._timer = None
        if ended := self._jobs.take_ended(self._now()):
            self._thread.submit(self._publish, ended)
        self.arm()
