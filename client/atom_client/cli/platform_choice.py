"""The options of a local platform.

They determine what is passed on to the functions; some cannot be combined.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from atom_client.cli.mock_script import read_mock_script
from atom_client.errors import Misuse
from atom_client.planning.params import pairs_of
from atom_client.text import name_of
from atom_workflows.errors import TaskRunnerError
from atom_workflows.hosts import is_this_machine
from atom_workflows.settings import ENV_PREFIX, from_environment
from atom_workflows.task_runner_urls import expected_instead, shown_url

if TYPE_CHECKING:
    from atom_emulator.platform.options import Emulators, Runner

TOKEN: Final = "WORKFLOW_TR_AUTH_JWT"  # noqa: S105 (the variable's name)

LOCAL_RUNNER: Final = "ATOM_LOCAL_RUNNER"
"""The variable that says how a local platform's jobs are run: `mock`, `scripted`, `process`, `docker` or `other`."""

NO_TOKEN: Final = "none"  # noqa: S105 (means: send no token)

CHECK_INTERVAL: Final = "WORKFLOW_CHECK_STATE_DURATION_SEC"

_OWN: Final = ("WORKFLOW_PROJECT", "WORKFLOW_DATABASE", "WORKFLOW_TOPIC_PREFIX")
"""Deployment settings that may be set in the shell and would point the functions away from the local platform."""

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformChoice:
    """The options of a local platform.

    Without `task_runner_url` and `runner`, the platform has a mock Task Runner; without `bucket`, it has no Cloud
    Storage of its own. `env` holds strings of the form `NAME=VALUE`, whose values workflow files read as `env.NAME`.
    With `in_memory`, nothing of the platform's state is kept in this folder. With `cancel_others`, open runs that need
    another Task Runner are cancelled.
    """

    task_runner_url: str | None = None
    token: str | None = None
    runner: Runner | None = None
    slots: int | None = None
    mock_script: Path | None = None
    mock_duration_s: float | None = None
    log_dir: Path | None = None
    emulators: Emulators | None = None
    bucket: str | None = None
    env: tuple[str, ...] = ()
    in_memory: bool = False
    cancel_others: bool = False

    @property
    def chosen(self) -> list[str]:
        """The command-line names of the options that are set."""
        options = {
            "--tr-auth-jwt": self.token,
            "--runner": self.runner,
            "--slots": self.slots,
            "--mock-script": self.mock_script,
            "--mock-duration": self.mock_duration_s,
            "--log-dir": self.log_dir,
            "--emulators": self.emulators,
            "--env": self.env or None,
        }
        return [name for name, value in options.items() if value is not None]

    @property
    def has_mock(self) -> bool:
        """True if a mock Task Runner stands in for a real one."""
        return self.task_runner_url is None and not self.runs_jobs

    @property
    def runs_jobs(self) -> bool:
        """True if jobs actually run on this machine."""
        return self.runner not in {None, "mock"}


def check(choice: PlatformChoice) -> None:
    """Reject options that cannot work, before anything is started."""
    if choice.task_runner_url is not None:
        check_url(choice.task_runner_url)
        for_mock = [name for name in choice.chosen if name.startswith("--mock")]
        if for_mock:
            named = f"{' and '.join(for_mock)} {'is' if len(for_mock) == 1 else 'are'}"
            raise Misuse(f"{named} for the mock Task Runner, which --tr-url replaces; leave out one or the other")
    _check_runner(choice)
    if choice.slots is not None and not choice.runs_jobs:
        raise Misuse("--slots applies only to jobs that actually run; add --runner process or --runner docker")
    if choice.mock_script is not None:
        read_mock_script(choice.mock_script)


def _check_runner(choice: PlatformChoice) -> None:
    if choice.runner is None:
        return
    if choice.task_runner_url is not None:
        raise Misuse("--runner and --tr-url both choose the Task Runner; leave out one or the other")
    if choice.token is not None:
        raise Misuse("--tr-auth-jwt is for the Task Runner at --tr-url; the one started by --runner has its own token")
    if choice.runs_jobs and (for_mock := [name for name in choice.chosen if name.startswith("--mock")]):
        raise Misuse(f"{' and '.join(for_mock)} cannot be used with --runner {choice.runner}, which actually runs jobs")
    if choice.runner == "docker":
        from atom_emulator.laptop_runner.container_tool import NoContainerTool, find_tool  # noqa: PLC0415 (not installed everywhere)

        try:
            find_tool()
        except NoContainerTool as error:
            raise Misuse(f"--runner docker needs docker or podman: {error}") from error
        if ":" in str(Path.cwd()):  # It separates the parts of a mount.
            raise Misuse("--runner docker cannot be used in a folder whose path contains a colon; use another folder")


def runner_note(choice: PlatformChoice) -> str:
    """Return a sentence about how jobs are run."""
    if choice.task_runner_url is not None:
        return ""
    if choice.runner == "docker":
        return "Task images run as containers on this machine and can use its network and processors."
    if choice.runs_jobs:
        # Whatever FIRESTORE_EMULATOR_HOST names, the embedded Firestore is started. It answers only this user's
        # processes, so other users cannot change a run.
        is_guarded = sys.platform == "linux" and choice.emulators != "google"
        try:
            user = name_of(getpass.getuser())
        except (KeyError, OSError):
            user = str(os.getuid())
        return (
            f"Tasks with `engine: process` run as programs on this machine, as user {user}, and can do whatever "
            f"that user can.{'' if is_guarded else _NOT_GUARDED}"
        )
    return "No jobs actually run: a mock Task Runner simulates them. `--runner process` runs programs on this machine."


_NOT_GUARDED: Final = " Other users of this machine could also use the local platform to run programs."


def function_environment(choice: PlatformChoice, environment: Mapping[str, str], *, project: str) -> dict[str, str]:
    """Return the functions' variables apart from those that every platform sets."""
    local = {"WORKFLOW_PROJECT": project, "WORKFLOW_DATABASE": "", "WORKFLOW_TOPIC_PREFIX": ""}
    own = {name: local[name] for name in _OWN if name in environment}
    kept = {CHECK_INTERVAL: environment[CHECK_INTERVAL]} if environment.get(CHECK_INTERVAL) else {}
    env = {f"{ENV_PREFIX}{name}": value for name, value in env_variables(choice, environment).items()}
    # The platform makes a token for a Task Runner of its own.
    token = {} if choice.runs_jobs else {TOKEN: token_for(choice, environment)}
    return {**own, **kept, **env, **token}


def env_variables(choice: PlatformChoice, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values available to workflow files as `env`.

    The options take precedence over the shell's variables.
    """
    return {**env_of(environment), **read_env(choice.env)}


def env_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values of `env` that these environment variables set."""
    return {name.removeprefix(ENV_PREFIX): value for name, value in environment.items() if name.startswith(ENV_PREFIX)}


def read_env(written: Sequence[str]) -> dict[str, str]:
    """Read the `--env NAME=VALUE` options."""
    found = pairs_of("--env", written)
    for name, value in found.items():
        if not _ENV_NAME.fullmatch(name) or not value.isprintable():
            raise Misuse(
                f"--env is {f'{name}={value}'!r:.100}; a name may contain only letters, "
                "digits and _, and a value must be a single line"
            )
    return found


def token_for(choice: PlatformChoice, environment: Mapping[str, str]) -> str:
    """Return the token for the Task Runner.

    An empty string means an ID token for the user's own service account. Neither the mock nor a Task Runner on this
    machine needs a token.
    """
    if choice.token is not None:
        return choice.token
    if choice.task_runner_url is None:
        return NO_TOKEN
    here = is_this_machine(urlsplit(choice.task_runner_url).hostname or "")
    return environment.get(TOKEN) or (NO_TOKEN if here else "")


def check_url(url: str) -> None:
    """Reject a string that cannot be a Task Runner's URL."""
    if expected := expected_instead(url):
        raise Misuse(f"--tr-url is {shown_url(url)!r}; it must be {expected}")


def credential_problem(choice: PlatformChoice, environment: Mapping[str, str]) -> str:
    """Explain why there is no ID token, and what to do.

    Returns an empty string if there is a token or none is needed. Without a token, a step would wait until its timeout,
    as it does in a deployment while the metadata server is unavailable.
    """
    url = choice.task_runner_url
    if url is None or token_for(choice, environment):
        return ""
    from atom_workflows.adapters.task_runner.tokens import tokens_for  # noqa: PLC0415 (Google's clients take a second to import)

    settings = from_environment({**environment, TOKEN: "", "WORKFLOW_TASK_RUNNER_URL": url})
    try:
        tokens_for(settings).token_for(url)
    except TaskRunnerError as error:
        return f"{error}; if the Task Runner needs no token, give --tr-auth-jwt=none"
    return ""
