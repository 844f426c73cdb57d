"""The account that cloudbuild.yaml runs as: it deploys, so it may do much; a person creates it once."""

from __future__ import annotations

from typing import Final

from atom_deploy.deployment import Deployment
from atom_deploy.functions import services
from atom_deploy.granting import account, policy_of_project
from atom_deploy.plan import Plan, project
from atom_deploy.roles import DEPLOYER, GRANTS, Grant

IDENTITY: Final = "deploy"

_GRANTER: Final = "roles/resourcemanager.projectIamAdmin"


def deployer_plan(deployment: Deployment) -> Plan:
    """The project, the services, without which no build can be asked for, the account, and its roles."""
    grants = [(_grant(role, call), _condition(role)) for role, call in DEPLOYER.items()]
    return (
        (project(deployment),),
        (services(),),
        (account(deployment, IDENTITY, "Cloud Build, when it deploys"),),
        (policy_of_project(deployment, grants, why="what deploying takes"),),
    )


def _grant(role: str, call: str) -> Grant:
    return Grant(to=IDENTITY, role=role, on="grants" if role == _GRANTER else "project", call=call)


def _condition(role: str) -> str:
    """It may grant, on the project, the roles of the plan and no others: else it could make itself the owner."""
    if role != _GRANTER:
        return ""
    roles = sorted({grant.role for grant in GRANTS if grant.on in {"project", "database"}})
    listed = ", ".join(f"'{one}'" for one in roles)
    return f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{listed}])"
