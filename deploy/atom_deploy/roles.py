"""Who may do what: each role of each identity, on what, and the call that needs it.

This list is what is granted; docs/security.md shows it.
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

IDENTITIES: Final = {
    "start": "the start function",
    "dispatcher": "the dispatcher function",
    "checker": "the checker function",
    "push": "the push subscriptions, when they call a function",
    "build": "the builds of the functions' images",
}
"""The deployment's own service accounts, and what acts as each."""

PUBSUB_AGENT: Final = "pubsub-agent"
STORAGE_AGENT: Final = "storage-agent"

AGENTS_OF: Final = {PUBSUB_AGENT: "gcp-sa-pubsub", STORAGE_AGENT: "gs-project-accounts"}
"""Google's own accounts, by which its services act in a project, and the projects that those accounts are of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """`on` is `project`, `database`, `bucket`, `task-runner`, `secret`, or a kind and a name: `topic steps`."""

    to: str
    role: str
    on: str
    call: str


def _publishes(function: str, **topics: str) -> tuple[Grant, ...]:
    named = {topic.replace("_", "-"): call for topic, call in topics.items()}
    return tuple(Grant(to=function, role=PUBLISH, on=f"topic {topic}", call=call) for topic, call in named.items())


def _stores(function: str, call: str) -> Grant:
    return Grant(to=function, role=STORE, on="database", call=call)


_CHANGES: Final = "publishes what changed of a run"
_LETTERS: Final = "publishes an event that it gives up, with the reason"

GRANTS: Final = (
    _stores("start", "commits a run and its steps; queries which of them are ready"),
    *_publishes(
        "start",
        start="hands on what a run takes beyond one invocation's budget",
        steps="publishes the first steps as ready",
        events=_CHANGES,
        dead_letters=_LETTERS,
    ),
    Grant(to="start", role=READ_OBJECTS, on="bucket", call="downloads the workflow file that was uploaded or named"),
    _stores("dispatcher", "commits claims, jobs and outcomes; reads steps"),
    *_publishes(
        "dispatcher",
        steps="publishes released steps as ready",
        tick="wakes the checker for a job it submitted",
        events=_CHANGES,
        dead_letters=_LETTERS,
    ),
    Grant(to="dispatcher", role=INVOKE, on="task-runner", call="POST /job"),
    Grant(
        to="dispatcher", role=READ_SECRET, on="secret", call="its instances start with the fixed token, if there is one"
    ),
    _stores("checker", "queries the steps that are due; commits its lease and repairs"),
    *_publishes(
        "checker",
        start="publishes `run.seed` for a run that is half seeded",
        steps="publishes outcomes, and steps to repair",
        tick="hands pages of due steps to other instances, and the rest of its work to another burst",
        events=_CHANGES,
        dead_letters=_LETTERS,
    ),
    Grant(to="checker", role=INVOKE, on="task-runner", call="GET /jobstatus"),
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
    Grant(to=PUBSUB_AGENT, role=PUBLISH, on="topic dead-letters", call="forwards what failed its last delivery"),
    *(
        Grant(
            to=PUBSUB_AGENT,
            role=SUBSCRIBE,
            on=f"subscription {name}",
            call="takes what it forwards off the subscription",
        )
        for name in ("start", "steps", "tick")
    ),
    Grant(to=STORAGE_AGENT, role=PUBLISH, on="topic start", call="tells of an upload"),
)

DEPLOYER: Final = {
    "roles/serviceusage.serviceUsageAdmin": "enables the services",
    "roles/iam.serviceAccountAdmin": "creates the service accounts",
    "roles/iam.serviceAccountUser": "has functions run and be built as them, and pushes signed as one",
    "roles/resourcemanager.projectIamAdmin": "grants, on the project, those roles alone that the plan has there",
    "roles/pubsub.admin": "creates topics and subscriptions, and grants roles on them",
    "roles/storage.admin": "creates the bucket and its notification, grants a role on it; reads the build's source",
    "roles/datastore.owner": "creates the database, its indexes and TTL policies",
    "roles/cloudfunctions.admin": "deploys the functions",
    "roles/run.admin": "grants the right to call them, and the Task Runner",
    "roles/cloudscheduler.admin": "creates the job that ticks",
    "roles/secretmanager.admin": "stores a fixed token, if there is one",
    "roles/monitoring.editor": "creates the alert policies, if they are wanted",
    "roles/logging.logWriter": "writes the build's log",
}
"""What the account that cloudbuild.yaml runs as needs, on the project, and for what."""


def grants_on(place: str) -> tuple[Grant, ...]:
    """What is granted on one place."""
    return tuple(grant for grant in GRANTS if grant.on == place)
