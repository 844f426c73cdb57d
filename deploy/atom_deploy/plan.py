"""The plan: all resources of a deployment, in stages. Those of one stage do not depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from atom_deploy import functions, granting, messaging, storing, watching
from atom_deploy.deployment import Deployment
from atom_deploy.resource import Resource

Plan: TypeAlias = Sequence[Sequence[Resource]]


def plan_of(deployment: Deployment, *, staged: Path, digests: Mapping[str, str], all_options: bool = False) -> Plan:
    """Everything, from the project itself to the grants on what was made.

    With `all_options` what only some deployments have is in it, too: a removal does not know which it removes.
    """
    return (
        (project(deployment),),
        (functions.services(),),
        (
            *granting.accounts(deployment),
            *granting.agents(),
            *messaging.topics(deployment),
            messaging.bucket(deployment),
            storing.database(deployment),
            *((functions.secret(deployment),) if deployment.token_file or all_options else ()),
        ),
        (granting.project_policy(deployment), *_policies(deployment, early=True), *storing.indexes(deployment)),
        (*functions.functions(deployment, staged, digests), messaging.notification(deployment)),
        (*messaging.subscriptions(deployment), *_policies(deployment, early=False, of="function")),
        (
            *_policies(deployment, early=False, of="subscription"),
            messaging.schedule(deployment),
            *((watching.email_channel(deployment),) if deployment.alert_email or all_options else ()),
        ),
        watching.alerts(deployment) if deployment.alerts or all_options else (),
    )


def _policies(deployment: Deployment, *, early: bool, of: str = "") -> list[Resource]:
    """Grants on what was there before the functions, or on one kind of what came after them."""
    late = ("grants on function", "grants on subscription")
    found = granting.policies(deployment)
    if early:
        return [one for one in found if one.kind not in late]
    return [one for one in found if one.kind == f"grants on {of}"]


def project(deployment: Deployment) -> Resource:
    """The project itself."""
    return Resource(
        kind="project",
        name=deployment.project,
        why="everything is in it; it is neither made nor removed here",
        look=("projects", "describe", deployment.project),
        learns={"project-number": "projectNumber"},
    )
