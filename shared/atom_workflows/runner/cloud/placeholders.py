"""Placeholders: jobs that run nothing and only reserve an idempotency key.

For several minutes, an API may report that a new job does not exist, so such a response alone never shows that a key
has no job. A name, however, can be used only once. If no job is found for a key, a placeholder is therefore created
under the name that the key's job would have. Either the name is already taken, so there is a job, or no submission with
this key can start one from now on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atom_workflows.runner.cloud.job_ids import Place
from atom_workflows.runner.cloud.labels import job_labels
from atom_workflows.runner.reports import JobReport, JobState
from atom_workflows.runner.request import JobRequest, split_key

LABEL: Final = "atom-placeholder"
"""The label by which a placeholder is recognized. A task cannot set it: see `labels.job_labels`."""


def placeholder_request(key: str) -> JobRequest:
    """Return a submission that only names the key.

    Raises `RequestRefused` for a key that no submission can have.
    """
    run_id, step_id, attempt = split_key(key)
    return JobRequest(key=key, run_id=run_id, step_id=step_id, attempt=attempt, workflow="", name=step_id, labels={})


def placeholder_labels(request: JobRequest, deployment: str) -> dict[str, str]:
    """Return the labels of a placeholder.

    They are the labels that the job itself would have had, plus one that marks it as a placeholder.
    """
    return {**job_labels(request, deployment), LABEL: "true"}


def is_placeholder(job: Mapping[str, Any]) -> bool:
    """Return True if a Batch or Cloud Run job is a placeholder."""
    labels = job.get("labels")
    return isinstance(labels, Mapping) and LABEL in labels


def report_placeholder(place: Place) -> JobReport:
    """Report a placeholder as a cancelled job."""
    message = "no job was started: the key was looked up before the job was submitted, so it can no longer be used"
    return JobReport(job_id=place.job_id, state=JobState.CANCELLED, message=message, is_placeholder=True)
