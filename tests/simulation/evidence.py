"""Evidence from the outside world, by which the watch judges whether a decision was justified."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import StepState
from simulation.scheduler import Invocation, Scheduler


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt of one step."""

    run_id: str
    step: str
    attempt: int

    @classmethod
    def of(cls, idempotency_key: str) -> Try:
        """Return the attempt that a submission's key names."""
        run_id, step, attempt = idempotency_key.rsplit("/", 2)
        return cls(run_id, step, int(attempt))


class Reply(StrEnum):
    """The answer to a submission, by the script alone."""

    NONE = "none yet, or whoever asked died"
    NOT_ACCEPTED = "not accepted, and nothing was started"
    LOST = "lost, and the job may have been started"
    GIVEN = "given"


@dataclass(slots=True, eq=False)
class Submission:
    """A job was asked for.

    It `is_recorded` once whoever asked has written what came of it: a job that goes on, or how the attempt ended.
    """

    key: str
    at: float
    by: Invocation
    reply: Reply = Reply.NONE
    is_recorded: bool = False

    @property
    def of(self) -> Try:
        """The attempt that it is for."""
        return Try.of(self.key)


UNKNOWN: Final = "unknown"
"""The Task Runner's word on a job that it does not know, in its contract's form."""

UNHEARD: Final = ""
"""No answer, or none in the contract's form."""

GARBAGE: Final = "OUT TO LUNCH"
"""A state of which the contract knows nothing."""

STOPPED: Final = "stopped"
"""The end of a job that was stopped."""

_NO_NEWS: Final = frozenset({UNKNOWN, UNHEARD})
_ENDS: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(slots=True, eq=False)
class Look:
    """A job was asked for: what was answered, and when.

    It `is_recorded` once whoever asked has written to the step since: who dies before takes the answer along.
    """

    at: float
    by: Invocation
    word: str
    is_recorded: bool = False


@dataclass(slots=True)
class Evidence:
    """Claims, submissions, looks at jobs, what the Task Runner said, and files that are gone.

    `searches` are the keys of earlier attempts that the holder of a lease may submit again, to find out their jobs, and
    since when no one else submits these. `unheard_keys` are those whose lookup has failed.
    `rounds` are how often a run had been retried when an attempt was claimed, by its key. `visible_from` is when
    each job that ends will be seen to have ended, by whoever asks. `returned` are the outputs of jobs that ended well,
    by job. `known_jobs` are those whose ids were once recorded, and `jobs` all, with their attempts. `last_claims` are
    by whom an attempt was claimed last.
    """

    scheduler: Scheduler
    submissions: dict[str, list[Submission]] = field(default_factory=lambda: defaultdict(list))
    leases: dict[tuple[str, Invocation], datetime] = field(default_factory=dict)
    searches: dict[tuple[str, Invocation], datetime] = field(default_factory=dict)
    unheard_keys: set[str] = field(default_factory=set)
    last_claims: dict[str, Invocation] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    said: dict[Try, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    looks: dict[str, list[Look]] = field(default_factory=lambda: defaultdict(list))
    visible_from: dict[str, float] = field(default_factory=dict)
    returned: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    known_jobs: set[str] = field(default_factory=set)
    jobs: dict[str, Try] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    calm_at: float | None = None

    def add(self, submission: Submission) -> None:
        """Record a submission."""
        self.submissions[submission.key].append(submission)

    def submissions_of(self, of: Try) -> list[Submission]:
        """Return submissions of an attempt and the ones before it.

        Attempts of earlier rounds of the run are left out.
        """
        keys = [f"{of.run_id}/{of.step}/{attempt}" for attempt in range(1, of.attempt + 1)]
        same = [key for key in keys if self.rounds.get(key) == self.rounds.get(keys[-1])]
        return [one for key in same for one in self.submissions.get(key, ())]

    def record_claim(self, step: StepRecord, until: datetime) -> None:
        """Give the running invocation the right to submit until its lease ends."""
        holder = self.scheduler.current.root
        self.leases[step.idempotency_key, holder] = until
        since = step.unresolved_since or step.stop_since or until
        self.searches |= {(f"{step.run_id}/{step.id}/{attempt}", holder): since for attempt in step.unresolved}
        self.rounds[step.idempotency_key] = step.retries
        self.last_claims[step.idempotency_key] = self.scheduler.current.root

    def record_answer(self, of: Try, word: str) -> None:
        """Record the Task Runner's word on an attempt.

        Whoever got the answer may have died since.
        """
        self.said[of].setdefault(word, self.scheduler.now)

    def record_look(self, job_id: str, word: str) -> None:
        """Record the answer to a status call."""
        self.looks[job_id].append(Look(self.scheduler.now, self.scheduler.current.root, word))

    def record_write(self, step: StepRecord) -> None:
        """Mark the running invocation's last evidence as written to the step."""
        by = self.scheduler.current.root
        self.known_jobs.update({step.job_id, *step.leftovers})
        if step.state is not StepState.DISPATCHING:
            for one in self.submissions.get(step.idempotency_key, ()):
                one.is_recorded = one.is_recorded or one.by is by
        # An invocation may poll a job twice before it saves what it heard first.
        is_missing = step.missing_since is not None and not step.unanswered
        looks = self.looks.get(step.job_id, ())
        heard = [one for one in looks if one.by is by and (one.word == UNKNOWN) is is_missing]
        if heard:
            heard[-1].is_recorded = True

    def unknown_for_s(self, job_id: str) -> float:
        """Return the longest time for which the job was unknown.

        In seconds. Any other answer, or none, ends such a time, unless its caller died before writing it down.
        """
        since, longest = None, 0.0
        for one in self.looks.get(job_id, ()):
            if one.word == UNKNOWN:
                since = one.at if since is None else since
                longest = max(longest, one.at - since)
            elif one.is_recorded:
                since = None
        return longest

    def was_running_since(self, job_id: str, since: float, patience_s: float) -> bool:
        """Return True if a poll since then found the job in progress.

        Also if the last poll got no news and so much time has passed.
        """
        words = [one.word for one in self.looks.get(job_id, ()) if one.at >= since]
        if any(word not in _NO_NEWS and word not in _ENDS for word in words):
            return True
        return bool(words) and words[-1] in _NO_NEWS and self.scheduler.now >= since + patience_s

    def is_late_for(self, job_id: str, limit_s: float) -> bool:
        """Return True if the job's end should have been noticed.

        It could have been seen for longer than the limit, and nothing went wrong meanwhile.
        """
        visible_from = self.visible_from.get(job_id)
        if visible_from is None or self.calm_at is None:
            return False
        return self.scheduler.now - max(visible_from, self.calm_at) > limit_s
