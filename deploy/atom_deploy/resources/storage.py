"""Buckets, and their notifications of uploads and deletions.

An upload starts a run or begins schedules, and a deletion ends schedules.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from atom_deploy.deployment import Deployment
from atom_deploy.public import refuse_public_bucket
from atom_deploy.resource import Check, Known, Resource, is_at


def bucket(deployment: Deployment) -> Resource:
    """Return the bucket to which workflows are uploaded."""
    url = f"gs://{deployment.bucket_name}/{deployment.object_prefix}"
    return private_bucket(deployment, deployment.bucket_name, f"an upload to {url} starts a run")


OUTPUTS_KEPT_DAYS: Final = 21
"""Longer than any job takes.

The runner removes the outputs of jobs sooner; the rule removes what the runner does not find.
"""

LIFECYCLE: Final = Path(__file__).parents[2] / "outputs.lifecycle.json"


def outputs_bucket(deployment: Deployment) -> Resource:
    """Return the bucket into which jobs write their outputs.

    It is separate from the workflows' bucket, since jobs must not be able to start runs.
    """
    name = deployment.name_of_bucket("outputs-bucket")
    made = private_bucket(deployment, name, "jobs write their outputs into it, as files that are removed after weeks")
    update = ("storage", "buckets", "update", f"gs://{name}", f"--lifecycle-file={LIFECYCLE}")
    rule = {"action": {"type": "Delete"}, "condition": {"age": OUTPUTS_KEPT_DAYS}}
    return replace(
        made,
        # Nothing in it would ever be restored.
        create=((*made.create[0], "--soft-delete-duration=0"), update),
        checks=(
            Check(
                expectation=f"removal after {OUTPUTS_KEPT_DAYS} days", holds=is_at("lifecycle.rule", [rule]), fix=update
            ),
        ),
        holds_data=False,
    )


def private_bucket(deployment: Deployment, name: str, why: str) -> Resource:
    """Return a bucket that cannot be made public."""
    url = f"gs://{name}"
    return Resource(
        kind="bucket",
        name=name,
        why=why,
        look=("storage", "buckets", "describe", url, "--raw"),
        create=(
            (
                "storage",
                "buckets",
                "create",
                url,
                f"--location={deployment.region}",
                "--uniform-bucket-level-access",
                "--public-access-prevention",
            ),
        ),
        remove=(("storage", "rm", "--recursive", url),),
        holds_data=True,
        refuse=refuse_public_bucket,
    )


def notification(deployment: Deployment) -> Resource:
    """Return the notification of uploads to the start function."""
    return _notification(deployment, "OBJECT_FINALIZE", "upload", "notification-id")


def deletion_notification(deployment: Deployment) -> Resource:
    """Return the notification of deletions, which end the schedules of a file.

    It is separate from the notification of uploads, since a notification cannot be changed, and earlier versions had
    only the one of uploads.
    """
    return _notification(deployment, "OBJECT_DELETE", "deletion", "deletion-notification-id")


def _notification(deployment: Deployment, event: str, noun: str, id_name: str) -> Resource:
    url = f"gs://{deployment.bucket_name}"
    path = f"projects/_/buckets/{deployment.bucket_name}/notificationConfigs"
    topic = f"projects/{deployment.project}/topics/{deployment.name('start')}"

    def pick(answer: Any, _: Known) -> Any:
        wanted = (topic, deployment.object_prefix)
        listed = [one["Notification Configuration"] for one in answer or ()]
        for one in listed:
            # The service puts its own host before the topic's name.
            name = one["topic"].removeprefix("//pubsub.googleapis.com/")
            if (name, one.get("object_name_prefix")) == wanted and event in one.get("event_types", ()):
                return one
        return None

    return Resource(
        kind="notification",
        name=f"{deployment.bucket_name}/{deployment.object_prefix} ({noun}s)",
        why=f"notifies topic start of every {noun} under that prefix",
        look=("storage", "buckets", "notifications", "list", url),
        pick=pick,
        create=(
            (
                "storage",
                "buckets",
                "notifications",
                "create",
                url,
                f"--topic={topic}",
                f"--event-types={event}",
                f"--object-prefix={deployment.object_prefix}",
                "--payload-format=json",
                "--skip-topic-setup",
            ),
        ),
        remove=(("storage", "buckets", "notifications", "delete", f"{path}/<{id_name}>"),),
        learns={id_name: "id"},
    )
