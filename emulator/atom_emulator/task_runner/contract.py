"""Check the shape of a submitted job strictly, since a mock that is laxer than the real service would hide mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TEXTS: Final = ("imageUri", "engine", "url", "masterType")
_KNOWN: Final = frozenset({"job_name", "scaleTier", "args", "labels", *_TEXTS})


def find_breaches(job: Any) -> list[str]:
    """List the ways in which a `POST /job` body breaks the contract."""
    if not isinstance(job, Mapping):
        return ["the body must be a JSON object"]
    found = [f"unknown field {name}" for name in job if name not in _KNOWN]
    empty = [name for name in ("job_name", "scaleTier") if not isinstance(job.get(name), str) or not job[name]]
    found += [f"{name} must be a non-empty string" for name in empty]
    found += [f"{name} must be a string" for name in _TEXTS if not isinstance(job.get(name, ""), str | None)]
    if not isinstance(job.get("args"), list | Mapping | None):
        found.append("args must be a list or a map")
    return found + _find_label_breaches(job.get("labels"))


def _find_label_breaches(labels: Any) -> list[str]:
    if not isinstance(labels, Mapping) or not all(isinstance(value, str) for value in labels.values()):
        return ["labels must be a map of strings"]
    found = [] if labels.get("workflow") else ["labels must contain the workflow"]
    return found if labels.get("type") == "step" else [*found, "labels must contain type: step"]
