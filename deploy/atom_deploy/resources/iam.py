"""Service accounts, and IAM policies with one check for each grant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from atom_deploy.deployment import Deployment
from atom_deploy.public import refuse_everybody
from atom_deploy.resource import Check, Command, Resource, accept_all, at, binds
from atom_deploy.roles import (
    AGENTS_OF,
    CLOUD_RUN_JOBS,
    CLOUD_RUN_PERMISSIONS,
    IDENTITIES,
    RUNNER_IDENTITIES,
    Grant,
    all_grants,
    grants_on,
)
from atom_workflows.ports import DEAD_LETTERS

_ON_PROJECT: Final = frozenset({"project", "database", "grants"})

_STAY: Final = frozenset({"bucket", "task-runner", "topic dead-letters"})
"""Resources that outlive the deployment, so a removal revokes its accounts' roles on them."""


_LETTERS: Final = f"subscription {DEAD_LETTERS}"
"""Holds whole start messages. A deployment grants no role on this subscription, and no one may have one."""


def accounts(deployment: Deployment, *, with_runner: bool) -> list[Resource]:
    """Return the service accounts, each for one purpose."""
    wanted = {**IDENTITIES, **(RUNNER_IDENTITIES if with_runner else {})}
    return [account(deployment, identity, why) for identity, why in wanted.items()]


def runner_role(deployment: Deployment) -> Resource:
    """Return the custom role of the runner function.

    It stays when a deployment is removed: the name of a deleted role cannot be used again for a week.
    """
    why = "the right to handle jobs of Cloud Run, and nothing else"
    return custom_role(deployment, CLOUD_RUN_JOBS, CLOUD_RUN_PERMISSIONS, title="jobs of Cloud Run", why=why)


def custom_role(deployment: Deployment, role: str, permissions: Sequence[str], *, title: str, why: str) -> Resource:
    """Return a custom role of the project."""
    name = role_name(deployment, role)
    flag = f"--permissions={','.join(permissions)}"
    identifier = name.rpartition("/")[2]
    return Resource(
        kind="role",
        name=identifier,
        why=why,
        look=("iam", "roles", "list"),
        pick=lambda answer, _: next((one for one in answer or () if one.get("name") == name), None),
        create=(("iam", "roles", "create", identifier, f"--title=Atom Workflows: {title}", flag),),
        checks=(
            Check(
                expectation=why,
                # The list of roles does not show their permissions.
                holds=lambda found, _: set(at(found, "includedPermissions") or permissions) == set(permissions),
                fix=("iam", "roles", "update", identifier, flag),
            ),
        ),
    )


def agents() -> list[Resource]:
    """Return Google's own accounts.

    Looking one up creates it.
    """
    return [
        Resource(
            kind="service agent",
            name="pubsub.googleapis.com",
            why="forwards dead letters and signs pushes",
            look=("beta", "services", "identity", "create", "--service=pubsub.googleapis.com"),
        ),
        Resource(
            kind="service agent",
            name="storage.googleapis.com",
            why="publishes the notifications of uploads",
            look=("storage", "service-agent"),
        ),
    ]


def project_policy(deployment: Deployment, *, with_runner: bool) -> Resource:
    """Return the grants on the project.

    They include the grants to the builds, and those on the database, which has no policy of its own.
    """
    project = deployment.project
    database = f'resource.name == "projects/{project}/databases/{deployment.database}"'
    conditioned = [(grant, database) for grant in grants_on("database", with_runner=with_runner)]
    plain = [(grant, "") for grant in grants_on("project", with_runner=with_runner)]
    return policy_of_project(
        deployment,
        [*conditioned, *plain],
        why="the functions' access to the database, and what their builds need",
    )


def policy_of_project(deployment: Deployment, grants: Sequence[tuple[Grant, str]], *, why: str) -> Resource:
    """Return the policy that makes these grants on the project.

    Each grant comes with the expression of its condition, or an empty one.
    """
    project = deployment.project
    remove: Command = ("projects", "remove-iam-policy-binding", project)
    commands = ("projects", "add-iam-policy-binding", project), remove
    return Resource(
        kind="grants on project",
        name=project,
        why=why,
        look=("projects", "get-iam-policy", project),
        checks=tuple(_check(deployment, grant, commands, condition) for grant, condition in grants),
        refuse=refuse_everybody(remove),
    )


def policies(deployment: Deployment, *, with_runner: bool) -> list[Resource]:
    """Return the grants on single resources.

    They are in the order of the list of grants.
    """
    grants = all_grants(with_runner=with_runner)
    places = dict.fromkeys([*(grant.on for grant in grants if grant.on not in _ON_PROJECT), _LETTERS])
    options = {"task-runner": deployment.task_runner_service, "secret": deployment.token_file}
    wanted = [place for place in places if options.get(place, True)]
    return [policy(deployment, place, grants_on(place, with_runner=with_runner)) for place in wanted]


def policy(deployment: Deployment, place: str, grants: Sequence[Grant]) -> Resource:
    """Return the grants on one resource other than the project."""
    group, target, more = _target(deployment, place)
    add, remove = ((*group, f"{verb}-iam-policy-binding", target, *more) for verb in ("add", "remove"))
    commands = (add, remove if place in _STAY else ())
    return Resource(
        kind=f"grants on {place.partition(' ')[0]}",
        name=target.removeprefix("gs://"),
        why="; ".join(dict.fromkeys(f"{grant.to}: {grant.call}" for grant in grants))
        or "only the project's own members",
        look=(*group, "get-iam-policy", target, *more),
        checks=tuple(_check(deployment, grant, commands) for grant in grants),
        # The owner of the Task Runner decides who may call it.
        refuse=accept_all if place == "task-runner" else refuse_everybody(remove),
    )


def _target(deployment: Deployment, place: str) -> tuple[Command, str, Command]:  # noqa: PLR0911 (a table)
    """Return the command group, the target and its location flags."""
    kind, _, name = place.partition(" ")
    region = f"--region={deployment.region}"
    match kind:
        case "topic":
            return ("pubsub", "topics"), deployment.name(name), ()
        case "subscription":
            return ("pubsub", "subscriptions"), deployment.name(name), ()
        case "function":
            return ("run", "services"), deployment.name(name), (region,)
        case "task-runner":
            place_of_runner = f"--region={deployment.task_runner_region or deployment.region}"
            return ("run", "services"), deployment.task_runner_service, (place_of_runner,)
        case "secret":
            return ("secrets",), deployment.name("task-runner-token"), ()
        case "account":
            return ("iam", "service-accounts"), deployment.account(name), ()
        case _:
            return ("storage", "buckets"), f"gs://{deployment.name_of_bucket(place)}", ()


def role_name(deployment: Deployment, role: str) -> str:
    """Return the role's full name.

    The name of a custom role includes the deployment's prefix.
    """
    if "/" in role:
        return role
    return f"projects/{deployment.project}/roles/{deployment.name(role).replace('-', '_')}"


def _check(deployment: Deployment, grant: Grant, commands: tuple[Command, Command], condition: str = "") -> Check:
    add, remove = commands
    binding = _binding(deployment, grant, condition)
    return Check(
        expectation=f"{grant.role} for {grant.to}",
        holds=binds(_member(deployment, grant), role_name(deployment, grant.role), condition=condition),
        fix=(*add, *binding),
        undo=(*remove, *binding) if remove else (),
    )


def _binding(deployment: Deployment, grant: Grant, condition: str) -> Command:
    given = f"^|^expression={condition}|title={deployment.prefix}-{grant.on}" if condition else "None"
    # If other bindings have conditions, a command without a condition flag fails; Pub/Sub has no conditions.
    knows_conditions = grant.on.partition(" ")[0] not in {"topic", "subscription"}
    flag = (f"--condition={given}",) if knows_conditions else ()
    return (f"--member={_member(deployment, grant)}", f"--role={role_name(deployment, grant.role)}", *flag)


def _member(deployment: Deployment, grant: Grant) -> str:
    agent_of = AGENTS_OF.get(grant.to)
    agent = f"service-<project-number>@{agent_of}.iam.gserviceaccount.com"
    return f"serviceAccount:{agent if agent_of else deployment.account(grant.to)}"


def account(deployment: Deployment, identity: str, why: str) -> Resource:
    """Return one service account."""
    email = deployment.account(identity)
    return Resource(
        kind="service account",
        name=deployment.name(identity),
        why=f"the identity of {why}",
        look=("iam", "service-accounts", "list"),
        pick=lambda answer, _: next((one for one in answer or () if one.get("email") == email), None),
        create=(
            (
                "iam",
                "service-accounts",
                "create",
                deployment.name(identity),
                f"--display-name=Atom Workflows: {why}",
            ),
        ),
        remove=(("iam", "service-accounts", "delete", email),),
    )
