"""The settings of the runner function, read from its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from atom_workflows.errors import SettingsError
from atom_workflows.runner.cloud.images import read_image_prefixes

BATCH_URL: Final = "https://batch.googleapis.com"
RUN_URL: Final = "https://run.googleapis.com"

_REGION: Final = re.compile(r"[a-z]+-[a-z]+[0-9]{1,2}")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_ACCOUNT: Final = re.compile(r"[a-z0-9.:-]+@[a-z0-9.-]+")
_URL: Final = re.compile(r"https?://[a-z0-9.:\[\]-]+", re.IGNORECASE)
_YES_OR_NO: Final = {"": False, "false": False, "true": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings:
    """Settings for the location, account and images of jobs."""

    project: str
    region: str

    # Jobs write their outputs into this bucket, which holds nothing else.
    outputs_bucket: str

    # The service account that jobs run as.
    job_account: str

    # An image may run if its name begins with one of these.
    image_prefixes: tuple[str, ...]

    # Distinguishes the jobs of several deployments in one project. The topics of a deployment begin with it, too.
    topic_prefix: str = ""

    # The topic to which Batch publishes a message when a job ends; without it, jobs are polled.
    notice_topic: str = ""

    # True to run Batch jobs on Spot VMs, which are cheaper and may be taken away.
    spot: bool = False

    # The VPC network and subnetwork of Batch's machines; without them, the project's default network.
    network: str = ""
    subnetwork: str = ""

    batch_url: str = BATCH_URL
    run_url: str = RUN_URL
    hosts: tuple[str, ...] = ()


def from_environment(environment: Mapping[str, str]) -> CloudSettings:
    """Read the settings from environment variables.

    Raises `SettingsError`, which names the variable and says what its value must be.
    """

    def read(name: str, pattern: re.Pattern[str], expected: str, default: str = "") -> str:
        value = environment.get(name, "").strip() or default
        if not pattern.fullmatch(value):
            raise SettingsError(name, value, expected)
        return value.rstrip("/")

    project = environment.get("WORKFLOW_PROJECT") or environment.get("GOOGLE_CLOUD_PROJECT") or ""
    if not project:
        raise SettingsError("WORKFLOW_PROJECT", project, "the project in which jobs run")
    spot = environment.get("WORKFLOW_RUNNER_SPOT", "").strip().lower()
    if spot not in _YES_OR_NO:
        raise SettingsError("WORKFLOW_RUNNER_SPOT", spot, "true or false")
    prefix = environment.get("WORKFLOW_TOPIC_PREFIX", "")
    notice_topic = environment.get("WORKFLOW_RUNNER_NOTICE_TOPIC", "").strip()
    return CloudSettings(
        project=project,
        region=read("WORKFLOW_RUNNER_REGION", _REGION, "a region, such as europe-west1"),
        outputs_bucket=read("WORKFLOW_RUNNER_BUCKET", _BUCKET, "a bucket's name, without gs://"),
        job_account=read("WORKFLOW_RUNNER_ACCOUNT", _ACCOUNT, "the email address of a service account"),
        image_prefixes=read_image_prefixes(environment.get("WORKFLOW_RUNNER_IMAGES", ""), project),
        topic_prefix=prefix,
        notice_topic=f"projects/{project}/topics/{prefix}{notice_topic}" if notice_topic else "",
        spot=_YES_OR_NO[spot],
        network=environment.get("WORKFLOW_RUNNER_NETWORK", "").strip(),
        subnetwork=environment.get("WORKFLOW_RUNNER_SUBNETWORK", "").strip(),
        batch_url=read("WORKFLOW_RUNNER_BATCH_URL", _URL, "the base URL of an API", BATCH_URL),
        run_url=read("WORKFLOW_RUNNER_RUN_URL", _URL, "the base URL of an API", RUN_URL),
        hosts=tuple(one.strip().lower() for one in environment.get("WORKFLOW_HOSTS", "").split(",") if one.strip()),
    )
