"""What Google Cloud refuses to the user's own credentials, and what to do about each refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from atom_workflows.cli.text import clip, one_line
from atom_workflows.errors import BusUnavailable, SourceError, StoreError

_LONGEST: Final = 300
_MOST_CAUSES: Final = 10
_LOG_IN: Final = "gcloud auth application-default login"


class Refusal(StrEnum):
    """Why a service did not do what was asked."""

    NO_LOGIN = "no login"
    API_DISABLED = "API disabled"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    NO_INDEX = "no index"


_SIGNS: Final = (
    (
        Refusal.NO_LOGIN,
        re.compile(r"Getting metadata from plugin failed|Reauthentication|invalid_grant|^401 |^HTTP 401"),
    ),
    (Refusal.API_DISABLED, re.compile(r"SERVICE_DISABLED|has not been used in project|API .* is disabled")),
    (Refusal.NO_INDEX, re.compile(r"requires an? .*index", re.IGNORECASE)),
    (Refusal.FORBIDDEN, re.compile(r"^403 |PERMISSION_DENIED|does not have permission")),
    (Refusal.MISSING, re.compile(r"^404 |The database .* does not exist|Requested project not found")),
)
"""What each refusal is told by, in this order: Google's own texts, and the status that its library puts before them."""


def refusal_of(error: Exception) -> Refusal | None:
    """Which refusal is behind the error, None if it is none of them."""
    told = [str(one) for one in _causes(error)]
    return next((refusal for refusal, sign in _SIGNS if any(sign.search(text) for text in told)), None)


def told_as_refusal(error: Exception, project: str) -> str | None:
    """The sentences for a refusal: what was said, and what to do about it; None for other errors."""
    refusal = refusal_of(error)
    if refusal is None:
        return None
    said = clip(one_line(error), _LONGEST).rstrip(".")
    return f"{said}. {advice(refusal, _service_of(error), project)}"


def advice(refusal: Refusal, service: str, project: str) -> str:
    """What to do about a refusal of that service (`firestore`, `pubsub` or `storage`)."""
    match refusal:
        case Refusal.NO_LOGIN:
            return f"Your Google credentials are not there, or have expired: run `{_LOG_IN}`."
        case Refusal.API_DISABLED:
            return (
                f"Enable the API: `gcloud services enable {service}.googleapis.com --project={project}`. If it is "
                f"enabled, your credentials are counted to another project: "
                f"`gcloud auth application-default set-quota-project {project}`."
            )
        case Refusal.FORBIDDEN:
            return (
                f"Your account needs {_ROLES[service]} in project {project}: `gcloud projects add-iam-policy-binding "
                f"{project} --member=user:YOU --role={_ROLES[service]}`. If the project's id is wrong, "
                "`gcloud projects list` shows those that you can see."
            )
        case Refusal.NO_INDEX:
            return "The database lacks an index of the deployment: deploy again."
        case Refusal.MISSING:
            return f"Is it deployed to project {project} under these names? {_LISTS[service].format(project=project)}"


_ROLES: Final = {
    "firestore": "roles/datastore.user",
    "pubsub": "roles/pubsub.editor",
    "storage": "roles/storage.objectUser",
}
"""Enough for all commands of each service; docs/how-to/cloud-cli.md tells which suffices for which."""

_LISTS: Final = {
    "firestore": "`gcloud firestore databases list --project={project}` shows its databases; choose one with "
    "--database.",
    "pubsub": "`gcloud pubsub topics list --project={project}` shows its topics; what stands before `start` in their "
    "names is the --topic-prefix.",
    "storage": "`gcloud storage buckets list --project={project}` shows its buckets.",
}


def _service_of(error: Exception) -> str:
    kinds = {StoreError: "firestore", BusUnavailable: "pubsub", SourceError: "storage"}
    return next((service for kind, service in kinds.items() if isinstance(error, kind)), "firestore")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it came from; the library's own "gave up" holds the last refusal as its `cause`."""
    found: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if found is None:
            return
        yield found
        found = getattr(found, "cause", None) or found.__cause__
