"""What a run uses, and assumptions about how long actions take."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Final

from atom_client.cost.bill import Usage
from atom_client.cost.prices import Item
from atom_workflows.settings import Settings

LEAST_BILLED_BYTES: Final = 1000
"""Pub/Sub bills each publish and each push request as at least this many bytes."""

BILLED_STEP_S: Final = 0.1
"""Cloud Run rounds the duration of a request up to a multiple of this many seconds."""

DAYS_PER_MONTH: Final = 30


class NotEstimated(ValueError):
    """The run's cost cannot be estimated; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """The assumptions of an estimate.

    Times are in seconds, for a warm function in the same region.

    `job` is how long each job takes, or 0 if it has already ended when the response to its submission arrives. A job
    changes its state `new_states` times before it ends, and if the Task Runner `notifies`, its end is reported and
    need not be detected by polling. Every invocation is billed as if it were alone on an instance with `vcpu` vCPUs
    and `gib` GiB of memory; the checker, which mostly sleeps, has a smaller one. A document takes up `document_bytes`,
    including its index entries. A line of our log takes up `line_bytes`, including what Cloud Logging adds, and so does
    the line that Cloud Run writes for each request.
    """

    job: timedelta = timedelta(0)
    new_states: int = 1
    notifies: bool = False
    read_s: float = 0.010
    commit_s: float = 0.020
    publish_s: float = 0.020
    task_runner_s: float = 0.050
    cpu_s: float = 0.003
    tick: timedelta = timedelta(seconds=60)
    vcpu: float = 1.0
    gib: float = 0.5
    checker_vcpu: float = 0.167
    checker_gib: float = 0.25
    document_bytes: int = 2_500
    line_bytes: int = 800
    settings: Settings = field(default_factory=Settings)

    @property
    def is_at_once(self) -> bool:
        """True if jobs need no polls, since they end during their submission."""
        return not self.job


def has_usual_times(settings: Settings) -> bool:
    """Return True if the checker's polling settings have their default values.

    The values differ in a terminal where a local platform's variables have been exported.
    """
    usual = Settings()
    return (settings.check_interval, settings.burst) == (usual.check_interval, usual.burst)


@dataclass(slots=True)
class Tally:
    """The counts so far.

    A delivery is one push to a function; `dispatched_s` and `watched_s` are the durations of the dispatcher's and the
    checker's requests, each rounded up for billing; `took_s` is the duration of the run.
    """

    writes: int = 0
    reads: int = 0
    documents: int = 0
    messages: int = 0
    publishes: int = 0
    deliveries: int = 0
    message_bytes: int = 0
    submissions: int = 0
    polls: int = 0
    lines: int = 0
    objects_read: int = 0
    dispatched_s: float = 0.0
    watched_s: float = 0.0
    took_s: float = 0.0

    def publish(self, sizes: list[int], *, delivered: bool) -> None:
        """Count one publish request with messages of these sizes.

        `delivered` is True if each message triggers a function.
        """
        self.publishes += 1
        self.messages += len(sizes)
        self.message_bytes += max(LEAST_BILLED_BYTES, sum(sizes))
        if delivered:
            self.deliveries += len(sizes)
            self.message_bytes += sum(max(LEAST_BILLED_BYTES, size) for size in sizes)

    def usage(self, given: Assumptions) -> Usage:
        """Return the billed usage."""
        kept = given.settings.keep_runs.days / DAYS_PER_MONTH
        return {
            Item.WRITES: self.writes,
            Item.READS: self.reads,
            Item.DELETES: self.documents,
            Item.STORED: self.documents * given.document_bytes / 2**30 * kept,
            Item.MESSAGES: self.message_bytes,
            Item.REQUESTS: self.deliveries,
            Item.CPU: self.dispatched_s * given.vcpu + self.watched_s * given.checker_vcpu,
            Item.MEMORY: self.dispatched_s * given.gib + self.watched_s * given.checker_gib,
            Item.LOGS: (self.lines + self.deliveries) * given.line_bytes,
            Item.OBJECT_READS: self.objects_read,
        }


def idle_month(tick: Tally, given: Assumptions) -> Usage:
    """Return the usage for a month of ticks without open runs."""
    ticks = timedelta(days=DAYS_PER_MONTH) / given.tick
    return {item: amount * ticks for item, amount in tick.usage(given).items()} | {Item.SCHEDULES: 1}


def billed(seconds: float) -> float:
    """Round seconds up to the time that is billed for a request."""
    return max(1, ceil(round(seconds / BILLED_STEP_S, 6))) * BILLED_STEP_S
