"""The plan: all resources of a deployment, in stages. Resources of the same stage do not depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from atom_deploy.deployment import Deployment
from atom_deploy.resource import Resource
from atom_deploy.resources import alerts, firestore, functions, iam, pubsub, storage

Plan: TypeAlias = Sequence[Sequence[Resource]]


def plan_of(deployment: Deployment, *, staged: Path, digests: Mapping[str, str], all_options: bool = False) -> Plan:
    """Return all stages, from the project to the grants.

    With `all_options`, the plan includes resources that only some deployments have, since a removal does not know which
    of them exist.
    """
    return (
        (project(deployment),),
        (functions.services(),),  # Nothing can be looked up before its API is enabled.
        # These resources depend only on enabled APIs.
        (
            *iam.accounts(deployment),
            *iam.agents(),
            *pubsub.topics(deployment),
            storage.bucket(deployment),
            firestore.database(deployment),
            *((functions.secret(deployment),) if deployment.token_file or all_options else ()),
        ),
        # The functions' builds and the notification need these grants, which take a while to take effect.
        (iam.project_policy(deployment), *_policies(deployment, early=True), *firestore.indexes(deployment)),
        (*functions.functions(deployment, staged, digests), storage.notification(deployment)),
        # Subscriptions push to the functions' URLs, which are known only now.
        (*pubsub.subscriptions(deployment), *_policies(deployment, early=False, of="function")),
        # Ticks begin last, once everything that they trigger exists.
        (
            *_policies(deployment, early=False, of="subscription"),
            pubsub.schedule(deployment),
            *((alerts.email_channel(deployment),) if deployment.alert_email or all_options else ()),
        ),
        alerts.alerts(deployment) if deployment.alerts or all_options else (),
    )


def _policies(deployment: Deployment, *, early: bool, of: str = "") -> list[Resource]:
    """Return the grants of one stage.

    With `early`, these are the grants on resources that exist before the functions. Otherwise they are the grants on
    one kind of later resource.
    """
    late = ("grants on function", "grants on subscription")
    found = iam.policies(deployment)
    if early:
        return [one for one in found if one.kind not in late]
    return [one for one in found if one.kind == f"grants on {of}"]


def project(deployment: Deployment) -> Resource:
    """Return the project, which is neither created nor removed here."""
    return Resource(
        kind="project",
        name=deployment.project,
        why="contains everything; it is neither created nor removed here",
        look=("projects", "describe", deployment.project),
        learns={"project-number": "projectNumber"},
    )
