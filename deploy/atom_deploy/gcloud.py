"""Runs gcloud commands: JSON comes back, what fails is told apart, and what only needs time is repeated."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from atom_deploy.problems import CommandFailed, DeployProblem, Exists, Missing, NotLoggedIn
from atom_deploy.resource import Command

PATIENCE_S: Final = 240.0
"""A new project, a new service account, a service agent: each may be unknown to other services for minutes."""

_PAUSES_S: Final = (5.0, 10.0, 20.0, 40.0)

_MISSING: Final = re.compile(
    r"NOT_FOUND|HTTPError 404|status=\[404\]|\b404\b.*not (be )?found|not found: 404|SERVICE_DISABLED|"
    r"has not been used in project|(Cannot|could not) find|^ERROR: .*does not exist",
    re.IGNORECASE | re.MULTILINE,
)

_EXISTS: Final = re.compile(r"ALREADY_EXISTS|already exists|exists already|HTTPError 409", re.IGNORECASE)

_NEEDS_TIME: Final = re.compile(
    r"service account .* does not exist|serviceaccount.* does not exist|has not been used in project|SERVICE_DISABLED|"
    r"concurrent policy changes|ABORTED|UNAVAILABLE|HTTPError 50[023]|HTTPError 429|RESOURCE_EXHAUSTED|"
    r"service agent|Unable to retrieve the repository metadata|Permission .*artifactregistry|"
    r"operation in progress|conflicting operation|unable to queue the operation|DEADLINE_EXCEEDED|"
    r"Connection (reset|aborted|refused)|timed out",
    re.IGNORECASE,
)

_NOT_LOGGED_IN: Final = re.compile(
    r"not currently have an active account|not have any valid credentials|Reauthentication (failed|required|is needed)|"
    r"problem reauthenticating|invalid authentication credentials|invalid_grant|UNAUTHENTICATED",
    re.IGNORECASE,
)
"""A refusal names the active account, too, and a broken network fails to refresh a token: neither needs a login."""

_ADVICE: Final[Mapping[str, str]] = {
    r"SERVICE_DISABLED|has not been used in project": (
        "an API is not enabled, or only just; wait some minutes, then run the same command again"
    ),
    r"billing": "link a billing account to the project: https://console.cloud.google.com/billing/linkedaccount",
    r"location constraint|(invalid|unknown|unsupported) (location|region)|"
    r"\blocation [^\n/]*\bnot (found|valid|supported)|not a valid (location|region)|Could not find (location|region)": (
        "check REGION, or --database-location: `gcloud functions regions list` and `gcloud firestore locations list` "
        "show what there is"
    ),
    r"PERMISSION_DENIED|does not have permission|HTTPError 403": (
        "check the project's id (`gcloud projects list` shows yours) and the roles of the account that gcloud uses "
        "(`gcloud auth list` shows which it is); docs/deploy.md lists the roles that it takes"
    ),
    r"quota|rate limit": "a quota of the project is used up; docs/runbook.md says which matter",
}


class Gcloud(Protocol):
    """What runs commands. `Missing` is raised if the resource does not exist, `CommandFailed` for the rest."""

    def look(self, command: Command) -> Any:
        """The answer of a command that changes nothing."""
        ...

    def change(self, command: Command) -> None:
        """Run a command that changes something; it is repeated while all that it needs is time."""
        ...

    def stop(self) -> None:
        """Repeat nothing any more."""
        ...


class InstalledGcloud:
    """The gcloud of this machine, on one project, with the account that it is logged in with."""

    def __init__(
        self,
        project: str,
        *,
        program: str = "gcloud",
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        found = shutil.which(program)
        if found is None:
            raise DeployProblem("gcloud is not installed; https://cloud.google.com/sdk/docs/install says how to get it")
        self._program = found
        self._project = project
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._clock = clock

    def look(self, command: Command) -> Any:
        """See `Gcloud.look`."""
        return self._patiently(command, "json", lambda error: not isinstance(error, Missing))

    def change(self, command: Command) -> None:
        """See `Gcloud.change`."""
        self._patiently(command, "none", lambda _: True)

    def stop(self) -> None:
        """See `Gcloud.stop`."""
        self._stopping.set()

    def _patiently(self, command: Command, shown: str, may_repeat: Callable[[CommandFailed], bool]) -> Any:
        give_up_at = self._clock() + PATIENCE_S
        pauses = iter(_PAUSES_S)
        while True:
            try:
                return self._run(command, shown)
            except CommandFailed as error:
                pause = next(pauses, _PAUSES_S[-1])
                if not (may_repeat(error) and _NEEDS_TIME.search(error.told)) or self._clock() + pause > give_up_at:
                    raise
                self._sleep(pause)
                if self._stopping.is_set():
                    raise

    def _run(self, command: Command, shown: str) -> Any:
        whole = (*command, f"--project={self._project}", f"--format={shown}", "--quiet")
        ended = subprocess.run(  # noqa: S603 (a list, with no shell; values are checked when the deployment is made)
            (self._program, *whole),
            capture_output=True,
            check=False,
            env={**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_CORE_SURVEY_DISABLE_PROMPTS": "1"},
            stdin=subprocess.DEVNULL,
            text=True,
        )
        if ended.returncode:
            raise _failure(written(command, self._project), ended.stderr)
        return _parsed(ended.stdout)


def written(command: Command, project: str) -> str:
    """The command as it can be typed, on whatever project gcloud is set to; what makes it quiet is left out."""
    return shlex.join(("gcloud", *command, f"--project={project}"))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text.strip()  # Some commands print one value, whatever format is asked for.


def _failure(command: str, told: str) -> DeployProblem:
    if _NOT_LOGGED_IN.search(told):
        return NotLoggedIn(told)
    if _EXISTS.search(told):
        return Exists(command, told)
    kind = Missing if _MISSING.search(told) else CommandFailed
    advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, told, re.IGNORECASE)), "")
    return kind(command, told + (f"\nWhat to do: {advice}." if advice else ""))
