"""Explain any error in a command, and what to do about it.

The second half explains what to do when Google Cloud refuses the user's own credentials.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import click

from atom_client.deployment import project_meant
from atom_client.text import clean, clip, name_of, one_line
from atom_workflows.errors import (
    AtomWorkflowsError,
    BusUnavailable,
    NewerVersion,
    SourceError,
    SourceUnavailable,
    StoreError,
    StoreUnavailable,
)

RUN_FAILED: Final = 1
INVALID_USE: Final = 2
INTERRUPTED: Final = 130
_LONGEST: Final = 400
_LONGEST_SENTENCE: Final = 4_000


class Failure(click.ClickException):
    """An error message for the user."""

    exit_code = RUN_FAILED

    def __init__(self, sentence: str) -> None:
        super().__init__(clip(clean(sentence), _LONGEST_SENTENCE))


class Misuse(Failure):
    """A message about invalid options, files or environment variables."""

    exit_code = INVALID_USE


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn errors with a cause outside the program into a `Failure`."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise Failure(sentence) from error


def explain(error: Exception) -> str | None:
    """Return a sentence that explains the error.

    Returns None if the error is a bug in the program.
    """
    if isinstance(error, StoreError | BusUnavailable | SourceError):
        return _of_service(error)
    if isinstance(error, AtomWorkflowsError) or _is_of("atom_emulator.platform.errors", "PlatformError", error):
        what_to_do = ". Install the version of atom-workflows that the deployment uses."
        # The platform's message may end with log lines.
        sentence = one_line(error) if isinstance(error, AtomWorkflowsError) else str(error)
        return f"{sentence}{what_to_do if isinstance(error, NewerVersion) else ''}"
    if _is_of("google.auth.exceptions", "GoogleAuthError", error):
        said = clip(one_line(error), _LONGEST).rstrip(".")
        return (
            f"The login to Google Cloud failed: {said}. Run `gcloud auth application-default login`, or export what "
            "`atom-workflows local up` prints to use a local platform."
        )
    if isinstance(error, ModuleNotFoundError):
        return f"{error}; install what is missing with `pip install 'atom-workflows[local]'`"
    if isinstance(error, OSError):
        where = f": {name_of(error.filename)}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return None


def is_temporary(error: Exception) -> bool:
    """Return True if it is worth asking again later.

    A failed login is: without a network, its token cannot be renewed.
    """
    is_unavailable = isinstance(error, StoreUnavailable | BusUnavailable | SourceUnavailable)
    return is_unavailable and refusal_of(error) in {None, Refusal.NO_LOGIN}


def _of_service(error: Exception) -> str:
    """Explain an error from a service.

    A local platform never denies access, so its errors are never about missing permissions.
    """
    host = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if not host and (sentences := explain_refusal(error, project_meant())):
        return sentences
    if isinstance(error, StoreUnavailable | BusUnavailable | SourceUnavailable):
        if host:
            where = (
                f"Is the local platform at {host} still running? If it is not, start it with "
                "`atom-workflows local up`, then run this command again."
            )
        else:
            where = (
                "Check the project (--project or GOOGLE_CLOUD_PROJECT), your credentials and the network, then try "
                "again."
            )
        return f"{one_line(error)}. {where}"
    return one_line(error)


def _is_of(module: str, name: str, error: Exception) -> bool:
    """Test an error's class without importing its module."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))


_LONGEST_REFUSAL: Final = 300
_MOST_CAUSES: Final = 10
_LOG_IN: Final = "gcloud auth application-default login"


class Refusal(StrEnum):
    """The reasons why a service refuses a request."""

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
"""The patterns that identify each refusal, in the order in which they are tried.

They match Google's own messages and the status that its library puts in front of them.
"""


def refusal_of(error: Exception) -> Refusal | None:
    """Return the refusal that caused the error, or None."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < _MOST_CAUSES:
        texts.append(str(cause))
        # Google's `RetryError` holds the last refusal as its `cause`.
        cause = getattr(cause, "cause", None) or cause.__cause__
    return next((refusal for refusal, sign in _SIGNS if any(sign.search(text) for text in texts)), None)


def explain_refusal(error: Exception, project: str) -> str | None:
    """Explain what was refused, and what to do about it.

    Returns None for other errors.
    """
    refusal = refusal_of(error)
    if refusal is None:
        return None
    kinds = {StoreError: "firestore", BusUnavailable: "pubsub", SourceError: "storage"}
    service = next((service for kind, service in kinds.items() if isinstance(error, kind)), "firestore")
    said = clip(one_line(error), _LONGEST_REFUSAL).rstrip(".")
    return f"{said}. {advice(refusal, service, project)}"


def advice(refusal: Refusal, service: str, project: str) -> str:
    """Return advice on a refusal by a service.

    The service is `firestore`, `pubsub` or `storage`.
    """
    match refusal:
        case Refusal.NO_LOGIN:
            return f"Your Google credentials are missing or have expired: run `{_LOG_IN}`."
        case Refusal.API_DISABLED:
            return (
                f"Enable the API: `gcloud services enable {service}.googleapis.com --project={project}`. If it is "
                f"already enabled, your credentials use the quota of another project: "
                f"`gcloud auth application-default set-quota-project {project}`."
            )
        case Refusal.FORBIDDEN:
            return (
                f"Your account needs {_ROLES[service]} in project {project}: `gcloud projects add-iam-policy-binding "
                f"{project} --member=user:YOU --role={_ROLES[service]}`. If the project's id is wrong, "
                "`gcloud projects list` shows the ids of your projects."
            )
        case Refusal.NO_INDEX:
            return "The database lacks an index that the platform needs: deploy again."
        case Refusal.MISSING:
            lists = _LISTS[service].format(project=project)
            return f"Is the platform deployed to project {project}, and are the given names correct? {lists}"


_ROLES: Final = {
    "firestore": "roles/datastore.user",
    "pubsub": "roles/pubsub.editor",
    "storage": "roles/storage.objectUser",
}
"""Roles that suffice for all commands; docs/how-to/cloud-cli.md lists the role that each command needs."""

_LISTS: Final = {
    "firestore": "`gcloud firestore databases list --project={project}` shows its databases; choose one with "
    "--database.",
    "pubsub": "`gcloud pubsub topics list --project={project}` shows its topics; the part before `start` in their "
    "names is the --topic-prefix.",
    "storage": "`gcloud storage buckets list --project={project}` shows its buckets.",
}
