"""Labels of jobs, in the form that Google Cloud accepts."""

from __future__ import annotations

import re
from typing import Final

from atom_workflows.runner.request import JobRequest

DEPLOYMENT: Final = "atom-deployment"
"""The label by which a deployment finds its own jobs."""

MAX_LABELS: Final = 40
"""Fewer than the 64 labels that a resource may have, since the services add their own."""

_MAX_LENGTH: Final = 63
_OTHER: Final = re.compile(r"[^a-z0-9_-]")
_RESERVED: Final = ("goog", "atom-")


def job_labels(request: JobRequest, deployment: str) -> dict[str, str]:
    """Return the task's own labels, and labels that identify the job.

    A label that Google Cloud would reject is adapted; the job's environment has the exact values.
    """
    # A label's name must begin with a letter.
    own = {_value(name).lstrip("0123456789_-"): _value(text) for name, text in request.labels.items()}
    kept = {name: text for name, text in own.items() if name and not name.startswith(_RESERVED)}
    return {
        **dict(list(kept.items())[:MAX_LABELS]),
        DEPLOYMENT: deployment_label(deployment),
        "atom-run": _value(request.run_id),
        "atom-step": _value(request.step_id),
        "atom-attempt": str(request.attempt),
    }


def deployment_label(deployment: str) -> str:
    """Return the value of the deployment label for a topic prefix."""
    return _value(deployment.removesuffix("-")) or "none"


def _value(text: str) -> str:
    return _OTHER.sub("_", text.lower())[:_MAX_LENGTH]
