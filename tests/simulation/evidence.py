"""What was seen of the outside world, by which the watch judges whether a decision was justified."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from simulation.scheduler import Invocation, Scheduler


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt of one step."""

    run_id: str
    step: str
    attempt: int

    @classmethod
    def of(cls, idempotency_key: str) -> Try:
        """The one that a submission's key names."""
        run_id, step, attempt = idempotency_key.rsplit("/", 2)
        return cls(run_id, step, int(attempt))


@dataclass(slots=True, eq=False)
class Submission:
    """A job was asked for. `is_unsure`: whoever asked cannot tell whether it was created."""

    key: str
    at: float
    by: Invocation
    is_unsure: bool = False

    @property
    def of(self) -> Try:
        """The attempt that it is for."""
        return Try.of(self.key)


@dataclass(slots=True)
class Evidence:
    """Claims, submissions, what the Task Runner said, and files that are gone.

    `told_from` is when each job that ends will be seen to have ended, by whoever asks.
    """

    scheduler: Scheduler
    submissions: dict[str, list[Submission]] = field(default_factory=lambda: defaultdict(list))
    leases: dict[tuple[str, Invocation], datetime] = field(default_factory=dict)
    said: dict[Try, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    missed: dict[Try, list[float]] = field(default_factory=lambda: defaultdict(list))
    told_from: dict[str, float] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    calm_at: float | None = None

    def add(self, submission: Submission) -> None:
        """A job was asked for."""
        self.submissions[submission.key].append(submission)

    def claims(self, key: str, until: datetime) -> None:
        """The invocation that runs has the right to submit, until its lease is over."""
        self.leases[key, self.scheduler.current.root] = until

    def hears(self, of: Try, word: str) -> None:
        """The Task Runner said how a job is doing, to somebody who may have died since."""
        self.said[of].setdefault(word, self.scheduler.now)

    def misses(self, of: Try) -> None:
        """The Task Runner said that it does not know the job."""
        self.missed[of].append(self.scheduler.now)

    def was_missed_for(self, of: Try) -> float:
        """The time in seconds from the first to the last such answer."""
        times = self.missed.get(of)
        return times[-1] - times[0] if times else 0.0

    def is_late_for(self, job_id: str, limit_s: float) -> bool:
        """Whether that job's end could have been noticed for so long, and nothing went wrong meanwhile."""
        told_from = self.told_from.get(job_id)
        if told_from is None or self.calm_at is None:
            return False
        return self.scheduler.now - max(told_from, self.calm_at) > limit_s
