"""Run gcloud commands, classify failures, and retry those that need time."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from atom_deploy.problems import CommandFailed, DeployProblem, Exists, Missing, NotLoggedIn
from atom_deploy.resource import Command

PATIENCE_S: Final = 600.0
"""The longest total wait between attempts of one command. Running time does not count, since builds take minutes.

According to Google, most new grants take effect within two minutes, but it may take seven or more. A new service
account, a service agent and a newly enabled API take just as long.
"""

_LONGEST_LINE: Final = 200

_PAUSES_S: Final = (5.0, 10.0, 20.0, 40.0)

_MISSING: Final = re.compile(
    r"NOT_FOUND|HTTPError 404|status=\[404\]|\b404\b.*not (be )?found|not found: 404|SERVICE_DISABLED|"
    r"has not been used in project|(Cannot|could not) find|^ERROR: .*does not exist",
    re.IGNORECASE | re.MULTILINE,
)

_EXISTS: Final = re.compile(r"ALREADY_EXISTS|already exists|exists already|HTTPError 409", re.IGNORECASE)

_NEEDS_TIME: Final = re.compile(
    # A new account or agent is not known to another service yet.
    r"service ?account .*(does not exist|was not found|not found|is not available)|service agent|"
    r"iam\.service_?accounts\.actAs|Identity Pool does not exist|"
    # A new grant has not taken effect yet: for a function's build, its secret, or the bucket's notifications.
    r"Access to bucket \S+ denied|must grant Storage Object Viewer|does not have storage\.objects\.(get|list) access|"
    r"(Permission|denied).*artifactregistry|Unable to retrieve the repository metadata|"
    r"does not have permission to write logs|(does not|n't) have permission to publish messages|"
    r"Permission denied on secret|"
    # An API has only just been enabled.
    r"has not been used in project|SERVICE_DISABLED|"
    # Another operation is in progress, or the service is busy.
    r"concurrent policy changes|ABORTED|UNAVAILABLE|HTTPError 50[0234]|HTTPError 429|RESOURCE_EXHAUSTED|"
    r"operation in progress|conflicting operation|unable to queue the operation|DEADLINE_EXCEEDED|"
    r"Connection (reset|aborted|refused)|timed out",
    re.IGNORECASE,
)

_TOO_MANY_INSTANCES: Final = (
    r"Max instances must be set to \d+ or fewer|maxScale may not exceed|not have more than \d+ total (max )?instances|"
    r"Quota violated|(Cpu|Mem)AllocPerProjectRegion"
)

_NEVER_COMES: Final = re.compile(_TOO_MANY_INSTANCES, re.IGNORECASE)
"""Waiting does not fix these, although the same answer may also match `_NEEDS_TIME`."""

_NOT_LOGGED_IN: Final = re.compile(
    r"not currently have an active account|not have any valid credentials|Reauthentication (failed|required|is needed)|"
    r"problem reauthenticating|invalid authentication credentials|invalid_grant|UNAUTHENTICATED",
    re.IGNORECASE,
)
"""Narrow on purpose: a refusal also names the active account, and a broken network also fails to refresh a token."""

_ADVICE: Final[Mapping[str, str]] = {
    r"SERVICE_DISABLED|has not been used in project": (
        "an API is not enabled, or was only just enabled; wait a few minutes, then run the same command again"
    ),
    _TOO_MANY_INSTANCES: (
        "the region's quota of processors does not allow that many instances of a function; deploy with "
        "OPTIONS='--max-instances=N', where N is at most the number above, or ask for more: "
        "https://cloud.google.com/run/quotas"
    ),
    r"billing": "link a billing account to the project: https://console.cloud.google.com/billing/linkedaccount",
    r"iam\.service_?accounts\.actAs": (
        "the deploying account needs roles/iam.serviceAccountUser on that account; `make deployer PROJECT=...` grants "
        "it to the account of cloudbuild.yaml, and must be run again after the accounts have been deleted and recreated"
    ),
    r"logging\.notificationRules": (
        "an alert on logs needs logging.notificationRules.create and related permissions besides those for alerts: "
        "`make deployer PROJECT=...` grants them to the account of cloudbuild.yaml, and roles/logging.configWriter "
        "includes them; or deploy without --alerts"
    ),
    r"constraints/gcp\.resourceLocations|violates constraint|resource location": (
        "the organization allows only some locations; name one of them as REGION, and as --database-location"
    ),
    r"location constraint|(invalid|unknown|unsupported) (location|region)|"
    r"\blocation [^\n/]*\bnot (found|valid|supported)|not a valid (location|region)|Could not find (location|region)": (
        "check REGION, or --database-location: `gcloud functions regions list` and `gcloud firestore locations list` "
        "show the available ones"
    ),
    r"PERMISSION_DENIED|does not have permission|HTTPError 403": (
        "check the project's id (`gcloud projects list` shows yours) and the roles of the account that gcloud uses "
        "(`gcloud auth list` shows which it is); docs/how-to/deploy.md lists the roles that it needs"
    ),
    r"quota|rate limit": "a quota of the project is used up; docs/how-to/runbook.md lists the quotas that matter",
}


class Gcloud(Protocol):
    """Runs commands.

    Raises `Missing` if the resource does not exist, and `CommandFailed` for other failures.
    """

    def look(self, command: Command) -> Any:
        """Return the output of a command that changes nothing."""
        ...

    def change(self, command: Command) -> None:
        """Run a command that changes something.

        The command is retried as long as its failures only need time.
        """
        ...

    def stop(self) -> None:
        """Stop retrying commands."""
        ...


class InstalledGcloud:
    """This machine's gcloud, for one project, with its logged-in account."""

    def __init__(
        self,
        project: str,
        *,
        program: str = "gcloud",
        sleep: Callable[[float], object] | None = None,
        report: Callable[[str], object] | None = None,
    ) -> None:
        found = shutil.which(program)
        if found is None:
            raise DeployProblem("gcloud is not installed; see https://cloud.google.com/sdk/docs/install")
        self._program = found
        self._project = project
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._report = report

    def look(self, command: Command) -> Any:
        """See `Gcloud.look`."""
        return self._run_patiently(command, "json", lambda error: not isinstance(error, Missing))

    def change(self, command: Command) -> None:
        """See `Gcloud.change`."""
        self._run_patiently(command, "none", lambda _: True)

    def stop(self) -> None:
        """See `Gcloud.stop`."""
        self._stopping.set()

    def _run_patiently(self, command: Command, shown: str, may_repeat: Callable[[CommandFailed], bool]) -> Any:
        waited_s = 0.0
        pauses = iter(_PAUSES_S)
        while True:
            try:
                return self._run(command, shown)
            except CommandFailed as error:
                pause = next(pauses, _PAUSES_S[-1])
                only_needs_time = _NEEDS_TIME.search(error.output) and not _NEVER_COMES.search(error.output)
                if not (may_repeat(error) and only_needs_time) or waited_s + pause > PATIENCE_S:
                    raise
                if self._report and not waited_s:
                    line = next((one for one in error.output.splitlines() if one.strip()), "no answer")
                    self._report(f"      ...  waiting, as this may only need time: {line[:_LONGEST_LINE]}")
                waited_s += pause
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
            raise _classify_failure(shell_text(command, self._project), ended.stderr)
        return _parse(ended.stdout)


def shell_text(command: Command, project: str) -> str:
    """Return the command as a person would type it.

    The options that silence gcloud are left out. The project is always named, whatever gcloud's default is.
    """
    return shlex.join(("gcloud", *command, f"--project={project}"))


def _parse(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except ValueError:
        return text.strip()  # Some commands print a single value, whatever format is requested.


def _classify_failure(command: str, output: str) -> DeployProblem:
    if _NOT_LOGGED_IN.search(output):
        return NotLoggedIn(output)
    if _EXISTS.search(output):
        return Exists(command, output)
    kind = Missing if _MISSING.search(output) else CommandFailed
    advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, output, re.IGNORECASE)), "")
    return kind(command, output + (f"\nWhat to do: {advice}." if advice else ""))
