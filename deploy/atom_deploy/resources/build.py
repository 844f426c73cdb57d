"""The accounts that builds run as, and the bucket for their sources.

A person creates them once. The account of cloudbuild.yaml deploys, so it has many roles; that of cloudbuild.checks.yaml
runs all packages that the checks install, so it may only read the source and write its log.
"""

from __future__ import annotations

from typing import Final

from atom_deploy.deployment import Deployment
from atom_deploy.plan import Plan, project
from atom_deploy.resource import Resource
from atom_deploy.resources import iam
from atom_deploy.resources.functions import services
from atom_deploy.resources.storage import private_bucket
from atom_deploy.roles import (
    BUILD_BUCKET,
    BUILD_GRANTS,
    BUILDERS,
    GRANTER,
    LOG_ALERT_PERMISSIONS,
    LOG_ALERTS,
    Grant,
    all_grants,
)

_ON_PROJECT: Final = frozenset({"project", "grants"})


def deployer_plan(deployment: Deployment) -> Plan:
    """Return what Cloud Build needs to check and deploy.

    The plan includes the functions' accounts, since the deploying account is allowed to act as each of them.
    """
    on_project = [(one, _condition(deployment, one)) for one in BUILD_GRANTS if one.on in _ON_PROJECT]
    places = dict.fromkeys(one.on for one in BUILD_GRANTS if one.on not in _ON_PROJECT)
    return (
        (project(deployment),),
        (services(with_runner=True),),
        (
            *iam.accounts(deployment, with_runner=True),
            *(iam.account(deployment, identity, why) for identity, why in BUILDERS.items()),
            _sources(deployment),
            iam.custom_role(
                deployment,
                LOG_ALERTS,
                LOG_ALERT_PERMISSIONS,
                title="alerts on logs",
                why="the right to make alert policies on logs, and nothing else",
            ),
            iam.runner_role(deployment),
        ),
        (
            iam.policy_of_project(deployment, on_project, why="the roles that deploying and checking need"),
            *(iam.policy(deployment, one, [x for x in BUILD_GRANTS if x.on == one]) for one in places),
        ),
    )


def _condition(deployment: Deployment, grant: Grant) -> str:
    """Return the condition of a grant, which is usually empty.

    On the project, the deploying account may grant only the roles of the plan. Otherwise it could make itself an owner.
    """
    if grant.role != GRANTER:
        return ""
    granted = [one for one in all_grants(with_runner=True) if one.on in {"project", "database"}]
    roles = sorted({iam.role_name(deployment, one.role) for one in granted})
    listed = ", ".join(f"'{one}'" for one in roles)
    return f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{listed}])"


def _sources(deployment: Deployment) -> Resource:
    """Return the bucket to which sources are submitted.

    The bucket that gcloud would create is in the United States, wherever the project has its data, and is shared by all
    builds of the project.
    """
    return private_bucket(deployment, deployment.name_of_bucket(BUILD_BUCKET), "the sources submitted to builds")
