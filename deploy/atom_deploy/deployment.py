"""A deployment's options, and the names and limits that follow from them."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from atom_deploy.problems import DeployProblem
from atom_workflows.errors import SettingsError
from atom_workflows.runner.cloud import cloud_settings
from atom_workflows.runner.cloud.images import is_image_prefix
from atom_workflows.settings import MAX_HINTS_PER_SECOND, NO_TOKEN, Settings, from_environment
from atom_workflows.task_runner_urls import expected_instead, shown_url

DEFAULT_PREFIX: Final = "atom"
DEFAULT_DATABASE: Final = "(default)"

MAX_INSTANCES: Final = 10
"""The maximum number of instances of each function, unless the options say otherwise.

Cloud Run refuses a function whose instances, with a processor each, exceed the region's quota. People with new projects
report quotas of 20 processors, or 10 in small regions and before billing is set up.
"""

MAX_ACK_DEADLINE_S: Final = 600
"""The longest that Pub/Sub waits for a push to be answered."""

_GUESSABLE_BYTES: Final = 24
"""A shorter token of letters and digits could be guessed by trying all of them, or the ones people tend to choose."""

_ANSWER_S: Final = 10
"""How much longer the acknowledgement deadline is than the timeout; otherwise an event could be handled twice."""

_AFTER_BURST_S: Final = 90
"""A burst's last calls end within ten seconds.

Their results are published within thirty, and there may be a cold start.
"""

RUNNER_URL: Final = "<runner-url>"
"""The placeholder for the URL of the deployment's own Task Runner."""

_SOME_URL: Final = "https://runner.invalid"
"""Stands for that URL until it is known, where only the form of a URL matters."""

_CHANNEL: Final = re.compile(r"projects/[a-z0-9.:-]+/notificationChannels/[0-9]+")

_PATTERNS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "project": (
        re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"),
        "a project's id, such as my-project-123 (`gcloud projects list` shows yours), not its name or number",
    ),
    "region": (re.compile(r"[a-z]+-[a-z]+[0-9]{1,2}"), "a region, such as us-central1 or europe-west1"),
    "prefix": (
        re.compile(r"(?!goog)[a-z]([a-z0-9-]{0,16}[a-z0-9])?"),
        "at most 18 lower-case letters, digits and -, beginning with a letter",
    ),
    "bucket": (re.compile(r"|[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"), "a bucket's name, without gs://"),
    "task_runner_url": (
        # Checks only the characters: `task_runner_urls` checks the URL itself. A comma would end the URL when the
        # functions read their settings.
        re.compile(r"[A-Za-z0-9._~!$&'()*+;=:@%/\[\]-]*"),
        "a URL, such as https://runner-abc.a.run.app",
    ),
    "database": (re.compile(r"\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9]"), "(default), or a Firestore database's id"),
    "database_location": (re.compile(r"|[a-z]+[0-9]+|[a-z]+-[a-z]+[0-9]{1,2}"), "a location, such as eur3 or us-east1"),
    "task_runner_service": (
        re.compile(r"|[a-z]([a-z0-9-]{0,61}[a-z0-9])?"),
        "the name of a Cloud Run service, such as runner",
    ),
    "task_runner_region": (re.compile(r"|[a-z][a-z-]*[0-9]{1,2}"), "a region, such as us-central1 or europe-west1"),
    "alert_email": (
        re.compile(r"|[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"),
        "one e-mail address, such as team@example.org",
    ),
    "runtime": (re.compile(r"python3[0-9]{2}"), "a runtime of Python 3.11 or newer, such as python313"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A function's limits, and how many requests an instance handles at once."""

    timeout_s: int
    concurrency: int
    max_instances: int
    ingress: str
    memory: str = "512Mi"
    cpu: str = "1"

    @property
    def ack_deadline_s(self) -> int:
        """Seconds until Pub/Sub gives up waiting.

        This is longer than the function's timeout if possible.
        """
        return min(self.timeout_s + _ANSWER_S, MAX_ACK_DEADLINE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One installation in one project.

    The names of everything in it begin with `prefix`. `environment` holds further settings of the functions.
    `task_runner_service` is the Cloud Run service that serves the URL, which the functions are then allowed to call.
    Without a URL, the deployment has a Task Runner of its own, the runner function. Raises a `DeployProblem` that names
    what is wrong.
    """

    project: str
    region: str
    task_runner_url: str = ""
    prefix: str = DEFAULT_PREFIX
    bucket: str = ""
    database: str = DEFAULT_DATABASE
    database_location: str = ""
    task_runner_service: str = ""
    task_runner_region: str = ""
    token_file: Path | None = None
    # The beginnings of the images that the runner function accepts; by default, the project's Artifact Registry.
    runner_images: tuple[str, ...] = ()
    runner_spot: bool = False
    object_prefix: str = "workflows/"
    environment: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "python313"
    max_instances: int = MAX_INSTANCES
    alerts: bool = False
    alert_channels: tuple[str, ...] = ()
    alert_email: str = ""

    def __post_init__(self) -> None:
        for name, (pattern, what) in _PATTERNS.items():
            value = getattr(self, name)
            if not pattern.fullmatch(value):
                is_of_make = name in {"project", "region", "task_runner_url"}
                flag = name.upper() if is_of_make else f"--{name}".replace("_", "-")
                shown = shown_url(value) if name == "task_runner_url" else value
                raise DeployProblem(f"{flag} is {shown!r:.100}, but must be {what}")
        if self.task_runner_url and (expected := expected_instead(self.task_runner_url)):
            shown = shown_url(self.task_runner_url)
            raise DeployProblem(f"TASK_RUNNER_URL is {shown!r:.100}, but must be {expected}")
        self._check_runner()
        if not self.object_prefix:
            raise DeployProblem(
                "--object-prefix is empty; without a prefix, every upload to the bucket would call the start function"
            )
        if not self.object_prefix.isprintable() or set(self.object_prefix) & set("<>"):
            raise DeployProblem(
                f"--object-prefix is {self.object_prefix!r:.100}, but must be printable, without < and >"
            )
        for channel in self.alert_channels:
            if not _CHANNEL.fullmatch(channel):
                raise DeployProblem(
                    f"--alert-channel is {channel!r:.100}, but must be a channel's full name, such as "
                    "projects/my-project/notificationChannels/123 (`gcloud beta monitoring channels list` shows them)"
                )
        _ = self.settings, self.token_digest

    def _check_runner(self) -> None:
        """Raise `DeployProblem` for an option that the deployment's Task Runner cannot have."""
        if _is_loopback(self.task_runner_url):
            raise DeployProblem(
                f"TASK_RUNNER_URL is {self.task_runner_url!r:.100}, which in Google Cloud is the "
                "function's own machine, not yours; give a URL that can be reached from there, such as "
                "https://runner-abc.a.run.app"
            )
        given = {"--token-file": self.token_file, "--task-runner-service": self.task_runner_service}
        for option, value in given.items():
            if self.has_runner and value:
                raise DeployProblem(f"{option} is for a Task Runner of your own, so it needs TASK_RUNNER_URL")
        for prefix in self.runner_images:
            if not is_image_prefix(prefix):
                raise DeployProblem(
                    f"--runner-images is {prefix!r:.100}, but must be an image prefix with its registry, "
                    "such as europe-docker.pkg.dev/my-project/images/ or docker.io/library/"
                )
        if self.has_runner:
            try:
                cloud_settings.from_environment(self.runner_environment)
            except SettingsError as error:
                raise DeployProblem(f"the runner function would refuse a setting: {error}") from error

    @property
    def has_runner(self) -> bool:
        """True if the deployment has a Task Runner of its own."""
        return not self.task_runner_url

    @property
    def settings(self) -> Settings:
        """The settings that the functions will read from their environment."""
        try:
            url = {"WORKFLOW_TASK_RUNNER_URL": self.task_runner_url or _SOME_URL}
            return from_environment({**self.function_environment, **url})
        except SettingsError as error:
            raise DeployProblem(f"the functions would refuse a setting: {error}") from error

    @property
    def function_environment(self) -> Mapping[str, str]:
        """The variables of the coordinator's functions, without the token."""
        return {
            "WORKFLOW_TASK_RUNNER_URL": self.task_runner_url or RUNNER_URL,
            "WORKFLOW_OBJECT_PREFIX": self.object_prefix,
            # Each instance of the checker limits itself.
            "WORKFLOW_HINT_INTERVAL_SEC": f"{self.max_instances / MAX_HINTS_PER_SECOND:g}",
            **self.environment,
            "WORKFLOW_PROJECT": self.project,
            "WORKFLOW_DATABASE": self.database,
            "WORKFLOW_TOPIC_PREFIX": f"{self.prefix}-",
        }

    @property
    def runner_environment(self) -> Mapping[str, str]:
        """The variables of the runner function."""
        given = {name: value for name, value in self.environment.items() if name.startswith("WORKFLOW_RUNNER_")}
        return {
            **given,
            **({"WORKFLOW_RUNNER_IMAGES": ",".join(self.runner_images)} if self.runner_images else {}),
            **({"WORKFLOW_RUNNER_SPOT": "true"} if self.runner_spot else {}),
            "WORKFLOW_PROJECT": self.project,
            "WORKFLOW_RUNNER_ACCOUNT": self.account("jobs"),
            "WORKFLOW_RUNNER_BUCKET": self.name_of_bucket("outputs-bucket"),
            "WORKFLOW_RUNNER_NOTICE_TOPIC": "batch-notices",
            "WORKFLOW_RUNNER_REGION": self.region,
            "WORKFLOW_TOPIC_PREFIX": f"{self.prefix}-",
        }

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of each function.

        Only what people or other functions call is reachable from outside.
        """
        checker_s = round(self.settings.burst.total_seconds()) + _AFTER_BURST_S
        most = self.max_instances
        return MappingProxyType(
            {
                "start": Shape(timeout_s=300, concurrency=4, max_instances=most, ingress="all"),
                "dispatcher": Shape(timeout_s=300, concurrency=16, max_instances=most, ingress="internal-only"),
                # The checker mostly sleeps and is billed for that time; with more work, more instances are started.
                # With less than a whole processor, an instance handles one request at a time.
                "checker": Shape(
                    timeout_s=checker_s,
                    concurrency=1,
                    max_instances=most,
                    ingress="internal-only",
                    memory="256Mi",
                    cpu="0.167",
                ),
                # Other functions call it, which are not inside as long as they have no VPC network.
                "runner": Shape(timeout_s=120, concurrency=16, max_instances=most, ingress="all"),
            }
        )

    @property
    def bucket_name(self) -> str:
        """The bucket to which workflows are uploaded."""
        return self.bucket or f"{self._bucket_prefix}-workflows"

    @property
    def _bucket_prefix(self) -> str:
        return f"{self.project.replace(':', '-').replace('.', '-')}-{self.prefix}"

    def name_of_bucket(self, place: str) -> str:
        """Return the bucket of workflows, jobs' outputs or builds' sources."""
        others = {"outputs-bucket": "outputs", "build-bucket": "build"}
        return self.bucket_name if place == "bucket" else f"{self._bucket_prefix}-{others[place]}"

    @property
    def location(self) -> str:
        """The database's location, which can never be changed."""
        return self.database_location or self.region

    @property
    def token_digest(self) -> str:
        """A digest that distinguishes fixed tokens without revealing them.

        Empty if no token is used. The digest is put into labels, which many people may read. A short token could be
        guessed from its digest, so it gets a random digest in each process instead, and is deployed again each time.
        """
        return _salted_digest(_read_token(self.token_file), f"{self.project}/{self.prefix}") if self.token_file else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on options that may be mistakes; usually empty."""
        shares = self.prefix != DEFAULT_PREFIX and self.database == DEFAULT_DATABASE
        is_silent = self.alerts and not self.alert_email and not self.alert_channels
        images = ", ".join(self.runner_images) or "the project's Artifact Registry"
        own = f"-docker.pkg.dev/{self.project.replace(':', '/')}/"
        # A prefix that allows one location or repository of the project shows that the user knows the default is gone.
        refuses_own = bool(self.runner_images) and not any(
            own in f"{prefix.rstrip('/')}/" for prefix in self.runner_images
        )
        notes = {
            f"note: jobs run on Batch and Cloud Run in {self.project}, with images from {images}; TASK_RUNNER_URL=URL "
            "names a Task Runner of your own instead.": self.has_runner,
            "note: --runner-images replaces the default, so images of the project's own Artifact Registry are refused; "
            f"add --runner-images=*{own} to allow them.": self.has_runner and refuses_own,
            f"note: {self.prefix} uses the database {DEFAULT_DATABASE}. If the project has another deployment, each "
            f"would handle the other's runs; give this one its own with --database={self.prefix}-runs.": shares,
            "note: the alerts notify no one; give an address with --alert-email=team@example.org.": is_silent,
        }
        return tuple(text for text, holds in notes.items() if holds)

    def name(self, part: str) -> str:
        """Return the full name of one of this deployment's parts."""
        return f"{self.prefix}-{part}"

    def account(self, identity: str) -> str:
        """Return the service account that one part runs as."""
        domain, _, project = self.project.rpartition(":")
        return f"{self.name(identity)}@{project}{f'.{domain}' if domain else ''}.iam.gserviceaccount.com"


def _is_loopback(url: str) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:  # It is a name.
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


@lru_cache
def _salted_digest(token: bytes, salt: str) -> str:
    if len(token) < _GUESSABLE_BYTES:
        return secrets.token_hex(20)
    return hashlib.scrypt(token, salt=salt.encode(), n=2**15, r=8, p=1, maxmem=2**26, dklen=20).hex()


def _read_token(path: Path) -> bytes:
    try:
        token = path.read_bytes()
    except OSError as error:
        raise DeployProblem(f"--token-file {path} cannot be read: {error.strerror}") from error
    if not token or token != token.strip() or token == NO_TOKEN.encode():
        raise DeployProblem(
            f"--token-file {path} must contain only the token, without spaces or line breaks around it; "
            'write it with `printf %s "$TOKEN" > FILE`'
        )
    return token
