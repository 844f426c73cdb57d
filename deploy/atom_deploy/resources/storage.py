"""Buckets, and the notification by which an upload starts a run."""

from __future__ import annotations

from typing import Any

from atom_deploy.deployment import Deployment
from atom_deploy.public import refuse_public_bucket
from atom_deploy.resource import Known, Resource


def bucket(deployment: Deployment) -> Resource:
    """Return the bucket to which workflows are uploaded."""
    url = f"gs://{deployment.bucket_name}/{deployment.object_prefix}"
    return private_bucket(deployment, deployment.bucket_name, f"an upload to {url} starts a run")


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
    url = f"gs://{deployment.bucket_name}"
    path = f"projects/_/buckets/{deployment.bucket_name}/notificationConfigs"
    topic = f"projects/{deployment.project}/topics/{deployment.name('start')}"

    def pick(answer: Any, _: Known) -> Any:
        wanted = (topic, deployment.object_prefix)
        listed = [one["Notification Configuration"] for one in answer or ()]
        for one in listed:
            # The service puts its own host before the topic's name.
            name = one["topic"].removeprefix("//pubsub.googleapis.com/")
            if (name, one.get("object_name_prefix")) == wanted:
                return one
        return None

    return Resource(
        kind="notification",
        name=f"{deployment.bucket_name}/{deployment.object_prefix}",
        why="notifies topic start of every upload under that prefix",
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
                "--event-types=OBJECT_FINALIZE",
                f"--object-prefix={deployment.object_prefix}",
                "--payload-format=json",
                "--skip-topic-setup",
            ),
        ),
        remove=(("storage", "buckets", "notifications", "delete", f"{path}/<notification-id>"),),
        learns={"notification-id": "id"},
    )
