"""The plan: all resources of a deployment, in stages.

Resources of the same stage do not depend on each other.
"""

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
    with_runner = deployment.has_runner or all_options
    return (
        (project(deployment),),
        (functions.services(with_runner=with_runner),),  # Nothing can be looked up before its API is enabled.
        # These resources depend only on enabled APIs.
        (
            *iam.accounts(deployment, with_runner=with_runner),
            *iam.agents(),
            *pubsub.topics(deployment, with_runner=with_runner),
            storage.bucket(deployment),
            *((storage.outputs_bucket(deployment), iam.runner_role(deployment)) if with_runner else ()),
            firestore.database(deployment),
            *((functions.secret(deployment),) if deployment.token_file or all_options else ()),
        ),
        # The functions' builds and the notification need these grants, which take a while to take effect.
        (
            iam.project_policy(deployment, with_runner=with_runner),
            *_policies(deployment, with_runner=with_runner),
            *firestore.indexes(deployment),
        ),
        # The other functions get the runner's URL.
        ((functions.runner(deployment, staged, digests),) if with_runner else ()),
        (
            *functions.functions(deployment, staged, digests),
            storage.notification(deployment),
            storage.deletion_notification(deployment),
        ),
        # Subscriptions push to the functions' URLs, which are known only now.
        (
            *pubsub.subscriptions(deployment, with_runner=with_runner),
            *_policies(deployment, with_runner=with_runner, of="function"),
        ),
        # Ticks begin last, once everything that they trigger exists.
        (
            *_policies(deployment, with_runner=with_runner, of="subscription"),
            pubsub.schedule(deployment),
            *((alerts.email_channel(deployment),) if deployment.alert_email or all_options else ()),
        ),
        alerts.alerts(deployment, with_runner=with_runner) if deployment.alerts or all_options else (),
    )


def _policies(deployment: Deployment, *, with_runner: bool, of: str = "") -> list[Resource]:
    """Return the grants of one stage.

    Without `of`, these are the grants on resources that exist before the functions. Otherwise they are the grants on
    one kind of later resource.
    """
    late = ("grants on function", "grants on subscription")
    found = iam.policies(deployment, with_runner=with_runner)
    if not of:
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
