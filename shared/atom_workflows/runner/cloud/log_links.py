"""Links to the pages of Google Cloud that show a job's log."""

from __future__ import annotations

from urllib.parse import quote

_PAGE = "https://console.cloud.google.com/logs/query;query="


def batch_log_link(project: str, uid: str, created: str) -> str:
    """Return the URL of a Batch job's log.

    Returns "" while the job has no uid.
    """
    return _link(project, f'labels.job_uid="{uid}"', created) if uid else ""


def cloud_run_log_link(project: str, name: str, created: str) -> str:
    """Return the URL of a Cloud Run job's log."""
    query = f'resource.type="cloud_run_job"\nresource.labels.job_name="{name}"'
    return _link(project, query, created)


def _link(project: str, query: str, created: str) -> str:
    """Return the URL of a log query.

    The time in the query overrides the hour that the page shows by default.
    """
    if created:
        query += f'\ntimestamp>="{created}"'
    return f"{_PAGE}{quote(query, safe='')}?project={quote(project, safe='')}"
