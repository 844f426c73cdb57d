"""The settings of a deployment.

The composition root reads them once from the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from atom_workflows.errors import SettingsError
from atom_workflows.task_runner_urls import expected_instead, is_same_url, shown_url

NO_TOKEN: Final = "none"  # noqa: S105 (the first version's word for "send no token", not a secret)

FIRST_VERSIONS_URL: Final = "TASK_RUNNER_URL"
"""The first version's variable for the Task Runner's URL. It is used if `WORKFLOW_TASK_RUNNER_URL` is not set."""

ENV_PREFIX: Final = "WORKFLOW_ENV_"
"""The prefix of variables that workflow files can read as `env.NAME`; the rest of the variable's name is NAME."""

_CLOUD_RUN: Final = "K_SERVICE"
"""Set by Cloud Run in each of its instances."""

_MISSPELLED: Final = "GOOGLE_APPLICATION_CREDENTIAL"

MIN_LEASE_S: Final = 120
"""The shortest lease allowed. It must leave time to begin a submission, make it (see submission.py) and record it."""

MAX_BURST_S: Final = 500
"""The longest burst allowed. It must be shorter than 540 s, the maximum for an event-driven function."""

MIN_KEEP_RUNS_S: Final = 30 * 86_400
MAX_KEEP_RUNS_S: Final = 3_650 * 86_400
"""The limits on how long runs are kept.

An open run is renewed when half of its time is left, so a broken checker has to be repaired within the remaining half.
"""

MAX_DELIVERIES: Final = 30
"""The default number of times that an event is delivered before it is given up on.

Every delivery that does not succeed counts, whether the function failed, refused the push, or had no free instance.
With the pauses below, no event is given up on during a one-hour outage.
"""

MIN_BACKOFF_S: Final = 1
MAX_BACKOFF_S: Final[Mapping[str, int]] = MappingProxyType({"start": 600, "steps": 300, "tick": 60})
"""The longest pause between two deliveries, by topic. The first pause is short, since most failures pass quickly.

A run can be started only by its event on the topic `start`, so that topic has the longest pause that Pub/Sub allows. If
an event from another topic is given up on, the checker finds its steps, or another tick follows within a minute.
"""

MAX_HINTS_PER_SECOND: Final = 20
"""The maximum number of hints per second that all checker instances together act on; see core/hints.py."""

_DELIVERIES: Final = (5, 100)
"""The minimum and maximum number of deliveries that Pub/Sub allows in a subscription's dead-letter policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A deployment's settings. `from_environment` shows the environment variable for each of them."""

    project: str = "atom-local"
    database: str = "(default)"
    topic_prefix: str = ""
    task_runner_url: str = ""
    allowed_task_runner_urls: tuple[str, ...] = ()
    task_runner_token: str | None = None
    task_runner_audience: str = ""
    check_interval: timedelta = timedelta(seconds=10)
    burst: timedelta = timedelta(seconds=50)
    lease: timedelta = timedelta(seconds=180)
    inline_budget: timedelta = timedelta(seconds=20)
    stop_timeout: timedelta = timedelta(minutes=10)
    hint_interval: timedelta = timedelta(seconds=1 / MAX_HINTS_PER_SECOND)
    keep_runs: timedelta = timedelta(days=90)
    max_deliveries: int = MAX_DELIVERIES
    poll_workers: int = 32
    hosts: tuple[str, ...] = ()
    # True if Cloud Run has verified the token of whoever calls, before the request reaches a function.
    verifies_callers: bool = False
    object_prefix: str = "workflows/"
    object_suffixes: tuple[str, ...] = (".yaml", ".yml", ".json")
    # The values that workflow files read as `env.NAME`.
    env: Mapping[str, str] = field(default_factory=dict)

    def allowed_task_runner(self, url: str) -> str | None:
        """Return the allowed Task Runner URL that `url` matches, if any.

        The URL is returned as written in the settings, so that a caller can only choose among the allowed ones. The
        comparison ignores the letter case of the scheme and host, a default port, a trailing slash, and which name is
        used for this machine (localhost, 127.0.0.1 or [::1]).
        """
        allowed = [one.rstrip("/") for one in (self.task_runner_url, *self.allowed_task_runner_urls) if one]
        if url.rstrip("/") in allowed:
            return url.rstrip("/")
        return next((one for one in allowed if is_same_url(one, url)), None)

    def may_use_task_runner(self, url: str) -> bool:
        """Return True if jobs and identity tokens may be sent to `url`."""
        return self.allowed_task_runner(url) is not None

    def is_workflow_object(self, name: str) -> bool:
        """Return True if an uploaded object with this name starts a run."""
        suffixes = tuple(suffix.lower() for suffix in self.object_suffixes)
        return name.startswith(self.object_prefix) and name.lower().endswith(suffixes)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables.

    Raises `SettingsError`, which names the variable and says what its value must be.
    """
    default = Settings()

    def read_seconds(name: str, fallback: timedelta, least: float = 0.1, most: float = 86_400) -> timedelta:
        text = environment.get(name, "").strip()
        if not text:
            return fallback
        try:
            value = float(text)
        except ValueError:
            value = -1
        if not least <= value <= most:
            raise SettingsError(name, text, f"a number of seconds from {least:g} to {most:,.0f}")
        return timedelta(seconds=value)

    def split(name: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in environment.get(name, "").split(",") if part.strip())

    def read_urls(name: str) -> tuple[str, ...]:
        for url in split(name):
            if expected := expected_instead(url):
                raise SettingsError(name, shown_url(url), expected)
        return tuple(url.rstrip("/") for url in split(name))

    project = environment.get("WORKFLOW_PROJECT") or environment.get("GOOGLE_CLOUD_PROJECT") or default.project
    task_runner = read_urls("WORKFLOW_TASK_RUNNER_URL") or read_urls(FIRST_VERSIONS_URL)
    return Settings(
        project=project,
        database=environment.get("WORKFLOW_DATABASE") or default.database,
        topic_prefix=environment.get("WORKFLOW_TOPIC_PREFIX", ""),
        task_runner_url=task_runner[0] if task_runner else "",
        allowed_task_runner_urls=read_urls("WORKFLOW_TASK_RUNNER_ALLOW"),
        task_runner_token=environment.get("WORKFLOW_TR_AUTH_JWT") or None,
        task_runner_audience=environment.get("WORKFLOW_TR_AUDIENCE", "").strip(),
        check_interval=read_seconds("WORKFLOW_CHECK_STATE_DURATION_SEC", default.check_interval),
        burst=read_seconds("WORKFLOW_BURST_SEC", default.burst, 1, MAX_BURST_S),
        lease=read_seconds("WORKFLOW_LEASE_SEC", default.lease, MIN_LEASE_S),
        hint_interval=read_seconds("WORKFLOW_HINT_INTERVAL_SEC", default.hint_interval, 0.001),
        stop_timeout=read_seconds("WORKFLOW_STOP_TIMEOUT_SEC", default.stop_timeout, 1),
        keep_runs=read_seconds("WORKFLOW_KEEP_RUNS_SEC", default.keep_runs, MIN_KEEP_RUNS_S, MAX_KEEP_RUNS_S),
        max_deliveries=max_deliveries(environment),
        hosts=tuple(host.lower() for host in split("WORKFLOW_HOSTS")),
        verifies_callers=bool(environment.get(_CLOUD_RUN)),
        object_prefix=environment.get("WORKFLOW_OBJECT_PREFIX", default.object_prefix),
        object_suffixes=split("WORKFLOW_OBJECT_SUFFIXES") or default.object_suffixes,
        env={
            name.removeprefix(ENV_PREFIX): value for name, value in environment.items() if name.startswith(ENV_PREFIX)
        },
    )


def max_deliveries(environment: Mapping[str, str]) -> int:
    """Read the maximum number of times that an event is delivered.

    The deployment also needs this number, for its subscriptions.
    """
    name = "WORKFLOW_MAX_DELIVERIES"
    text = environment.get(name, "").strip()
    least, most = _DELIVERIES
    if not text:
        return MAX_DELIVERIES
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(most)) else 0
    if not least <= value <= most:
        raise SettingsError(name, text, f"a whole number from {least} to {most}, the same as in the subscriptions")
    return value


def misspelled_credentials(environment: Mapping[str, str]) -> str | None:
    """Return a warning if the credentials variable is misspelled, or None.

    The first version's README left the S off its name. The misspelled variable is not read here either: no Google
    library has ever read it, so a key file that it names has never been used.
    """
    if not environment.get(_MISSPELLED) or environment.get(f"{_MISSPELLED}S"):
        return None
    return f"{_MISSPELLED} is set, but nothing reads it; the correct name is {_MISSPELLED}S, with an S at the end"
