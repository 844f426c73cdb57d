"""Roles: each role of each identity, its resource, and the call that needs it.

This list is the source of all grants; docs/explanation/security.md shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STORE: Final = "roles/datastore.user"
PUBLISH: Final = "roles/pubsub.publisher"
INVOKE: Final = "roles/run.invoker"
READ_OBJECTS: Final = "roles/storage.objectViewer"
READ_SECRET: Final = "roles/secretmanager.secretAccessor"  # noqa: S105 (a role, not a secret)
SUBSCRIBE: Final = "roles/pubsub.subscriber"
ACT_AS: Final = "roles/iam.serviceAccountUser"
WRITE_LOGS: Final = "roles/logging.logWriter"
USE_OBJECTS: Final = "roles/storage.objectUser"
READ_IMAGES: Final = "roles/artifactregistry.reader"
RUN_BATCH: Final = "roles/batch.jobsEditor"
REPORT_TO_BATCH: Final = "roles/batch.agentReporter"

CLOUD_RUN_JOBS: Final = "cloud-run-jobs"
"""A custom role of the project, since Google's role for creating Cloud Run jobs can also change services."""

CLOUD_RUN_PERMISSIONS: Final = (
    *(f"run.jobs.{verb}" for verb in ("create", "delete", "get", "list", "run")),
    "run.executions.cancel",
    "run.tasks.list",
)

IDENTITIES: Final = {
    "start": "the start function",
    "dispatcher": "the dispatcher function",
    "checker": "the checker function",
    "push": "the push subscriptions, when they call a function",
    "build": "the builds of the functions' images",
}
"""The deployment's own service accounts, and what runs as each."""

RUNNER_IDENTITIES: Final = {
    "runner": "the runner function",
    "jobs": "the jobs that the runner function starts",
}
"""The additional accounts of a deployment with its own Task Runner."""

PUBSUB_AGENT: Final = "pubsub-agent"
STORAGE_AGENT: Final = "storage-agent"

AGENTS_OF: Final = {PUBSUB_AGENT: "gcp-sa-pubsub", STORAGE_AGENT: "gs-project-accounts"}
"""Google's own accounts, which its services use in a project, and the Google projects of those accounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One role of one identity.

    `on` is `project`, `database`, `bucket`, `outputs-bucket`, `task-runner`, `secret`, or a kind and a name: `topic
    steps`, `account jobs`. For the builds' accounts it may also be `build-bucket` or `grants`, the project for some
    roles only.
    """

    to: str
    role: str
    on: str
    call: str


def _publishes(function: str, **topics: str) -> tuple[Grant, ...]:
    named = {topic.replace("_", "-"): call for topic, call in topics.items()}
    return tuple(Grant(to=function, role=PUBLISH, on=f"topic {topic}", call=call) for topic, call in named.items())


def _stores(function: str, call: str) -> Grant:
    return Grant(to=function, role=STORE, on="database", call=call)


_CHANGES: Final = "publishes changes of a run"
_LETTERS: Final = "publishes a dead letter with the reason"

GRANTS: Final = (
    _stores("start", "commits a run and its steps; queries the steps that are ready"),
    *_publishes(
        "start",
        start="hands over work that exceeds one invocation's budget",
        steps="publishes the first steps as ready, and commands to cancel or retry a run or to mark a step",
        tick="triggers the checker for a job to be stopped",
        events=_CHANGES,
        dead_letters=_LETTERS,
    ),
    Grant(to="start", role=READ_OBJECTS, on="bucket", call="downloads the workflow file that was uploaded or named"),
    _stores("dispatcher", "commits claims, jobs and outcomes; reads steps"),
    *_publishes(
        "dispatcher",
        start="has a run seeded once its group has a place for it, or reset for a retry",
        steps="publishes released steps as ready",
        tick="triggers the checker for a job that was submitted or is to be stopped",
        events=_CHANGES,
        dead_letters=_LETTERS,
    ),
    Grant(to="dispatcher", role=INVOKE, on="task-runner", call="POST /job, GET /jobstatus, DELETE /job"),
    Grant(
        to="dispatcher", role=READ_SECRET, on="secret", call="its instances start with the fixed token, if there is one"
    ),
    _stores("checker", "queries the steps that are due; commits its lease and repairs"),
    *_publishes(
        "checker",
        start="publishes `run.scheduled` for a due schedule, and `run.seed` for a half-seeded run",
        steps="publishes outcomes, and steps to repair",
        tick="hands pages of due steps to other instances, and the rest of its work to another burst",
        events=_CHANGES,
        dead_letters=_LETTERS,
    ),
    Grant(to="checker", role=INVOKE, on="task-runner", call="GET /jobstatus, DELETE /job"),
    Grant(
        to="checker", role=READ_SECRET, on="secret", call="its instances start with the fixed token, if there is one"
    ),
    *(
        Grant(to="push", role=INVOKE, on=f"function {name}", call="POSTs an event")
        for name in ("start", "dispatcher", "checker")
    ),
    Grant(to="build", role="roles/logging.logWriter", on="project", call="writes the build's log"),
    Grant(to="build", role="roles/artifactregistry.writer", on="project", call="pushes the image"),
    Grant(to="build", role=READ_OBJECTS, on="project", call="downloads the staged folder that gcloud uploaded"),
    Grant(to=PUBSUB_AGENT, role=PUBLISH, on="topic dead-letters", call="forwards events whose last delivery failed"),
    *(
        Grant(
            to=PUBSUB_AGENT,
            role=SUBSCRIBE,
            on=f"subscription {name}",
            call="removes forwarded events from the subscription",
        )
        for name in ("start", "steps", "tick")
    ),
    Grant(to=STORAGE_AGENT, role=PUBLISH, on="topic start", call="reports an upload or a deletion"),
)

RUNNER_GRANTS: Final = (
    Grant(to="dispatcher", role=INVOKE, on="function runner", call="POST /job, GET /jobstatus, DELETE /job"),
    Grant(to="checker", role=INVOKE, on="function runner", call="GET /jobstatus, DELETE /job"),
    Grant(to="push", role=INVOKE, on="function runner", call="POSTs a notice from Batch"),
    Grant(to="runner", role=RUN_BATCH, on="project", call="creates, shows and cancels Batch jobs"),
    Grant(to="runner", role=CLOUD_RUN_JOBS, on="project", call="creates, shows, cancels and deletes Cloud Run jobs"),
    Grant(to="runner", role=ACT_AS, on="account jobs", call="has jobs run as that account"),
    Grant(
        to="runner",
        role=READ_IMAGES,
        on="project",
        call="creates a Cloud Run job, whose image it must be able to read",
    ),
    Grant(to="runner", role=USE_OBJECTS, on="outputs-bucket", call="reads the outputs of jobs, and deletes old ones"),
    Grant(to="runner", role=PUBLISH, on="topic jobs", call="publishes the hint that a job has ended"),
    Grant(to="jobs", role=WRITE_LOGS, on="project", call="writes the log of a job"),
    Grant(to="jobs", role=REPORT_TO_BATCH, on="project", call="reports the state of a job's machine to Batch"),
    Grant(to="jobs", role=READ_IMAGES, on="project", call="pulls the image of a job"),
    Grant(to="jobs", role=USE_OBJECTS, on="outputs-bucket", call="mounts the bucket, and writes the outputs of a job"),
    Grant(to="jobs", role=PUBLISH, on="topic batch-notices", call="Batch publishes the end of a job as this account"),
)
"""The additional grants of a deployment with its own Task Runner."""

GRANTER: Final = "roles/resourcemanager.projectIamAdmin"
LOG_ALERTS: Final = "log-alerts"
"""A custom role of the project, since all of Google's roles that allow alerts on logs can also redirect logs."""

LOG_ALERT_PERMISSIONS: Final = tuple(
    f"logging.notificationRules.{verb}" for verb in ("create", "delete", "get", "list", "update")
)

BUILDERS: Final = {
    "deploy": "Cloud Build, when it deploys",
    "checks": "Cloud Build, when it lints and tests",
}
"""The accounts of cloudbuild.yaml and cloudbuild.checks.yaml: a person creates them once; no deployment does."""

BUILD_BUCKET: Final = "build-bucket"


def _deploys(role: str, call: str) -> Grant:
    return Grant(to="deploy", role=role, on="grants" if role == GRANTER else "project", call=call)


BUILD_GRANTS: Final = (
    _deploys("roles/serviceusage.serviceUsageAdmin", "enables the services"),
    _deploys("roles/iam.serviceAccountCreator", "creates a service account that is missing"),
    *(
        Grant(to="deploy", role=ACT_AS, on=f"account {name}", call=f"has {what} act as it")
        for name, what in {
            "start": "a function",
            "dispatcher": "a function",
            "checker": "a function",
            "push": "subscriptions",
            "build": "the functions' builds",
            "runner": "a function",
        }.items()
    ),
    Grant(
        to="deploy",
        role="roles/iam.serviceAccountAdmin",
        on="account jobs",
        call="lets the runner function start jobs as it",
    ),
    _deploys("roles/iam.roleViewer", "sees whether the runner's custom role exists"),
    _deploys(GRANTER, "grants only the plan's roles on the project"),
    _deploys("roles/pubsub.admin", "creates topics and subscriptions, and grants roles on them"),
    _deploys("roles/storage.admin", "creates the bucket and its notification, grants a role on it; reads sources"),
    _deploys("roles/datastore.owner", "creates the database, its indexes and TTL policies"),
    _deploys("roles/cloudfunctions.admin", "deploys the functions"),
    _deploys("roles/run.admin", "grants the right to call the functions and the Task Runner"),
    _deploys("roles/cloudscheduler.admin", "creates the job that ticks"),
    _deploys("roles/secretmanager.admin", "stores a fixed token, if there is one"),
    _deploys("roles/monitoring.alertPolicyEditor", "creates the alert policies, if requested"),
    _deploys("roles/monitoring.notificationChannelEditor", "creates the channel for the alerts' e-mail address"),
    _deploys(LOG_ALERTS, "creates the alert policy on logs"),
    _deploys("roles/logging.logWriter", "writes the build's log"),
    Grant(to="checks", role="roles/logging.logWriter", on="project", call="writes the build's log"),
    Grant(to="checks", role=READ_OBJECTS, on=BUILD_BUCKET, call="reads the source that was submitted"),
)
"""The roles of the builds' accounts, each with its resource and its purpose."""


def all_grants(*, with_runner: bool) -> tuple[Grant, ...]:
    """Return all grants of a deployment."""
    return (*GRANTS, *(RUNNER_GRANTS if with_runner else ()))


def grants_on(place: str, *, with_runner: bool) -> tuple[Grant, ...]:
    """Return the grants on one resource."""
    return tuple(grant for grant in all_grants(with_runner=with_runner) if grant.on == place)
