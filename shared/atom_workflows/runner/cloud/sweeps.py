"""Remove what ended jobs left behind: Cloud Run jobs and outputs files.

A region may have only 1,000 Cloud Run jobs. A sweep runs as part of a request, since a function has CPU time only
during requests. It is therefore limited in time and in the number of removals, and each instance sweeps only
occasionally. The bucket's lifecycle rule removes outputs that no sweep finds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from atom_workflows.errors import GoogleUnavailable
from atom_workflows.runner.cloud import outputs_files, run_answers, run_requests
from atom_workflows.runner.cloud.batch_requests import MAX_DURATION
from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.job_ids import NAME_PREFIX
from atom_workflows.runner.cloud.labels import DEPLOYMENT, deployment_label
from atom_workflows.runner.cloud.rest import Call, GoogleRest

EVERY: Final = timedelta(minutes=10)
KEPT: Final = timedelta(days=3)
"""How long the state of an ended job remains available, since a checker may be down for that long."""

KEPT_OUTPUTS: Final = MAX_DURATION + KEPT
"""A job may write its outputs as soon as it starts, but they are read only after it has ended."""

KEPT_IN_A_CROWD: Final = timedelta(hours=1)
EVERY_IN_A_CROWD: Final = timedelta(minutes=1)
CROWD: Final = 700
"""With this many Cloud Run jobs in the region, ended ones are removed sooner, since a region allows only 1,000."""

MAX_TIME: Final = timedelta(seconds=5)
MAX_REMOVALS: Final = 20
MAX_OUTPUTS: Final = 10
"""The maximum number of outputs that one sweep removes: fewer than `MAX_REMOVALS`, so that jobs are removed too."""

MAX_PAGES: Final = 10
"""Enough pages for all jobs that a region may have."""

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Sweeper:
    """Removes old jobs and outputs at intervals of `EVERY`.

    Sweeps are more frequent if there are many jobs.
    """

    rest: GoogleRest
    settings: CloudSettings
    now: Callable[[], datetime]
    _next: datetime = _LONG_AGO
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sweep_sometimes(self) -> None:
        """Sweep unless this instance has done so recently.

        Never raises, since the request that triggers it has already succeeded.
        """
        with self._lock:
            if self.now() < self._next:
                return
            self._next = self.now() + EVERY
        with suppress(GoogleUnavailable):  # The next sweep finds the same.
            self.sweep()

    def sweep(self) -> int:
        """Remove some old jobs and outputs.

        Returns how many were removed.
        """
        ends_at = self.now() + MAX_TIME
        removed = 0
        for removal in self._removals(ends_at):
            if removed >= MAX_REMOVALS or self.now() >= ends_at:
                break
            removed += self.rest.send(removal).is_ok
        return removed

    def _removals(self, ends_at: datetime) -> Iterator[Call]:
        """Yield requests that remove old outputs and jobs.

        Jobs are listed only after the outputs have been removed.
        """
        # Names are hashes, so each time of day begins at another part of the list.
        start = f"{NAME_PREFIX}{int(self.now().timestamp() / EVERY.total_seconds()) * 37 % 256:02x}"
        listed = self.rest.send(outputs_files.list_call(self.settings, start))
        for name in outputs_files.written_before(listed.document, self.now() - KEPT_OUTPUTS)[:MAX_OUTPUTS]:
            yield outputs_files.delete_call(self.settings, name)
        for name in self._old_jobs(ends_at):
            yield run_requests.delete_call(self.settings, self.settings.region, name)

    def _old_jobs(self, ends_at: datetime) -> list[str]:
        """Return the names of this deployment's old, ended Cloud Run jobs."""
        jobs = list(self._jobs(ends_at))
        is_crowded = len(jobs) >= CROWD
        if is_crowded:
            self._next = self.now() + EVERY_IN_A_CROWD
        before = self.now() - (KEPT_IN_A_CROWD if is_crowded else KEPT)
        return [
            str(job["name"]).rpartition("/")[2]
            for job in jobs
            if self._is_own(job) and (ended := run_answers.ended_at(job)) is not None and ended < before
        ]

    def _jobs(self, ends_at: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield the region's Cloud Run jobs, as far as time allows.

        They include jobs that do not belong to this deployment.
        """
        page_token = ""
        for _ in range(MAX_PAGES):
            listed = self.rest.send(run_requests.list_call(self.settings, page_token)).document
            jobs = listed.get("jobs")
            yield from (one for one in (jobs if isinstance(jobs, list) else ()) if isinstance(one, Mapping))
            page_token = str(listed.get("nextPageToken") or "")
            if not page_token or self.now() >= ends_at:
                return

    def _is_own(self, job: Mapping[str, Any]) -> bool:
        labels = job.get("labels")
        label = labels.get(DEPLOYMENT) if isinstance(labels, Mapping) else None
        name = str(job.get("name", "")).rpartition("/")[2]
        return label == deployment_label(self.settings.topic_prefix) and name.startswith(NAME_PREFIX)
