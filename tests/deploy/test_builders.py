"""What the accounts of the builds may do: by Google's lists it suffices for what gcloud sends, and is no more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from atom_deploy.roles import ACT_AS, BUILD_GRANTS, IDENTITIES, LOG_ALERT_PERMISSIONS, LOG_ALERTS
from deploy.conftest import OwnRunner, Pass, Site
from deploy.fake_cloud import PROJECT
from deploy.remembered import Memory

PLACE: Final = f"projects/{PROJECT}"
CHECKS: Final = f"serviceAccount:atom-checks@{PROJECT}.iam.gserviceaccount.com"
DEPLOYS: Final = f"serviceAccount:atom-deploy@{PROJECT}.iam.gserviceaccount.com"

TAKEN: Final[Mapping[str, tuple[str, ...]]] = {
    "GET ": ("resourcemanager.projects.get",),
    "POST :getIamPolicy": ("resourcemanager.projects.getIamPolicy",),
    "POST :setIamPolicy": ("resourcemanager.projects.setIamPolicy",),
    "GET services": ("serviceusage.services.list",),
    "GET services/X": ("serviceusage.services.get",),
    "POST services:batchEnable": ("serviceusage.services.enable",),
    "POST services/X:generateServiceIdentity": ("serviceusage.services.enable",),
    "GET serviceAccounts": ("iam.serviceAccounts.list",),
    "POST serviceAccounts": ("iam.serviceAccounts.create",),
    "POST serviceAccounts/X:getIamPolicy": ("iam.serviceAccounts.getIamPolicy",),
    "POST serviceAccounts/X:setIamPolicy": ("iam.serviceAccounts.setIamPolicy",),
    "GET roles": ("iam.roles.list",),
    "GET serviceAccount": ("resourcemanager.projects.get",),
    "GET topics": ("pubsub.topics.list",),
    "PUT topics/X": ("pubsub.topics.create",),
    "GET topics/X:getIamPolicy": ("pubsub.topics.getIamPolicy",),
    "POST topics/X:setIamPolicy": ("pubsub.topics.setIamPolicy",),
    "GET subscriptions": ("pubsub.subscriptions.list",),
    "PUT subscriptions/X": ("pubsub.subscriptions.create", "pubsub.topics.attachSubscription"),
    "GET subscriptions/X:getIamPolicy": ("pubsub.subscriptions.getIamPolicy",),
    "POST subscriptions/X:setIamPolicy": ("pubsub.subscriptions.setIamPolicy",),
    "GET b/X": ("storage.buckets.get",),
    "POST b": ("storage.buckets.create",),
    "PATCH b/X": ("storage.buckets.update",),
    "GET b/X/iam": ("storage.buckets.getIamPolicy",),
    "PUT b/X/iam": ("storage.buckets.setIamPolicy",),
    "GET b/X/notificationConfigs": ("storage.buckets.get",),
    "POST b/X/notificationConfigs": ("storage.buckets.update",),
    "GET databases": ("datastore.databases.list",),
    "POST databases": ("datastore.databases.create",),
    "GET databases/X/collectionGroups/X/fields": ("datastore.indexes.list",),
    "GET databases/X/collectionGroups/X/indexes": ("datastore.indexes.list",),
    "POST databases/X/collectionGroups/X/indexes": ("datastore.indexes.create",),
    "PATCH databases/X/collectionGroups/X/fields/X": ("datastore.indexes.update",),
    "GET secrets": ("secretmanager.secrets.list",),
    "POST secrets": ("secretmanager.secrets.create",),
    "POST secrets/X:addVersion": ("secretmanager.versions.add",),
    "GET secrets/X:getIamPolicy": ("secretmanager.secrets.getIamPolicy",),
    "POST secrets/X:setIamPolicy": ("secretmanager.secrets.setIamPolicy",),
    "GET runtimes": ("cloudfunctions.runtimes.list",),
    "GET functions": ("cloudfunctions.functions.list",),
    "GET functions/X": ("cloudfunctions.functions.get",),
    "POST functions": ("cloudfunctions.functions.create",),
    "POST functions:generateUploadUrl": ("cloudfunctions.functions.sourceCodeSet",),
    "GET operations/X": ("cloudfunctions.operations.get",),
    "GET locations/X/services/X:getIamPolicy": ("run.services.getIamPolicy",),
    "POST locations/X/services/X:setIamPolicy": ("run.services.setIamPolicy",),
    "GET jobs": ("cloudscheduler.jobs.list",),
    "POST jobs": ("cloudscheduler.jobs.create",),
    "GET alertPolicies": ("monitoring.alertPolicies.list",),
    "POST alertPolicies": ("monitoring.alertPolicies.create", "logging.notificationRules.create"),
    "GET notificationChannels": ("monitoring.notificationChannels.list",),
    "POST notificationChannels": ("monitoring.notificationChannels.create",),
}
"""What a request takes, by its method and path: each service's own page on access control says so."""


def _all(prefix: str, verbs: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{verb}" for verb in verbs.split())


HELD: Final[Mapping[str, tuple[str, ...]]] = {
    "roles/serviceusage.serviceUsageAdmin": _all("serviceusage.services", "enable get list"),
    "roles/iam.serviceAccountAdmin": _all("iam.serviceAccounts", "getIamPolicy setIamPolicy"),
    "roles/iam.roleViewer": ("iam.roles.list",),
    "roles/iam.serviceAccountCreator": _all("iam.serviceAccounts", "create get list"),
    "roles/resourcemanager.projectIamAdmin": _all("resourcemanager.projects", "get getIamPolicy setIamPolicy"),
    "roles/pubsub.admin": (
        *_all("pubsub.topics", "create list getIamPolicy setIamPolicy attachSubscription"),
        *_all("pubsub.subscriptions", "create list getIamPolicy setIamPolicy"),
    ),
    "roles/storage.admin": _all("storage.buckets", "create get update getIamPolicy setIamPolicy"),
    "roles/datastore.owner": (
        *_all("datastore.databases", "create list"),
        *_all("datastore.indexes", "create list update"),
    ),
    "roles/cloudfunctions.admin": (
        *_all("cloudfunctions.functions", "create get list sourceCodeSet"),
        *("cloudfunctions.runtimes.list", "cloudfunctions.operations.get"),
    ),
    "roles/run.admin": _all("run.services", "getIamPolicy setIamPolicy"),
    "roles/cloudscheduler.admin": _all("cloudscheduler.jobs", "create list"),
    "roles/secretmanager.admin": (
        *_all("secretmanager.secrets", "create list getIamPolicy setIamPolicy"),
        "secretmanager.versions.add",
    ),
    "roles/monitoring.alertPolicyEditor": _all("monitoring.alertPolicies", "create list"),
    "roles/monitoring.notificationChannelEditor": _all("monitoring.notificationChannels", "create list"),
    LOG_ALERTS: LOG_ALERT_PERMISSIONS,
}
"""Role to those of its permissions that matter here: https://cloud.google.com/iam/docs/roles-permissions."""

BY_A_PERSON: Final = {"POST roles"}
"""`make deployer` creates the runner's custom role, since who creates roles can give itself any permission."""

NO_REQUEST_SHOWS: Final = {"roles/logging.logWriter"}
"""The build itself writes its log."""


def kind_of(method: str, path: str) -> str:
    """Return a request's method and path without the names in it.

    Such as `POST topics/X:setIamPolicy`.
    """
    if path.startswith("b/") or path == "b":
        return f"{method} {re.sub(r'^b/[^/]+', 'b/X', path)}"
    rest = path.replace("projects/-/", f"{PLACE}/").removeprefix(PLACE).removeprefix("/")
    if not rest.startswith("locations/") or "/services/" not in rest:
        rest = re.sub(r"^locations/[^/]+/", "", rest)
    return f"{method} {re.sub(r'/(?!fields|indexes|collectionGroups|services)[^/:]+', '/X', rest)}"


def sent(made: Pass) -> set[str]:
    """Return the kinds of requests.

    An upload goes to an address that is a permission by itself.
    """
    return {kind_of(one.method, one.path) for one in made.requests if not one.path.startswith("put/")}


@pytest.fixture
def kinds(first: Pass, own_runner: OwnRunner) -> set[str]:
    """Return the kinds of requests of all deployments."""
    return (sent(first) | sent(own_runner.first)) - BY_A_PERSON


def test_the_roles_suffice_for_what_is_sent(kinds: set[str]) -> None:
    """The deploying account has the permissions for every request of a deployment."""
    assert kinds - set(TAKEN) == set()
    held = {permission for one in BUILD_GRANTS if one.to == "deploy" for permission in HELD.get(one.role, ())}
    assert {permission for kind in kinds for permission in TAKEN[kind]} - held == set()


def test_no_role_is_superfluous(kinds: set[str]) -> None:
    """Each role of the deploying account has a permission that is used."""
    taken = {permission for kind in kinds for permission in TAKEN[kind]}
    roles = {one.role for one in BUILD_GRANTS if one.to == "deploy"} - NO_REQUEST_SHOWS - {ACT_AS}
    assert [role for role in sorted(roles) if not taken & set(HELD[role])] == []


@pytest.fixture(scope="module")
def made(site: Site) -> Iterator[Pass]:
    """Return what `make deployer` did in another empty project.

    The project is there while this file is tested.
    """
    cloud = site.cloud
    before = cloud.memory, cloud.enabled
    cloud.memory, cloud.enabled = Memory(), set()
    yield site.run("deployer", "--project", PROJECT)
    cloud.memory, cloud.enabled = before


def granted(site: Site, member: str) -> set[tuple[str, str]]:
    """Return where an account has which roles."""
    return {
        (place, binding["role"])
        for place, policy in site.cloud.memory.policies.items()
        for binding in policy["bindings"]
        if member in binding["members"]
    }


def test_the_deploying_account_acts_as_named_accounts_only(site: Site, made: Pass) -> None:
    """The deploying account may act as the named accounts only."""
    assert made.code == 0, made.err
    mine = granted(site, DEPLOYS)
    acts_as = {place.rpartition("/")[2] for place, role in mine if role == ACT_AS}
    assert acts_as == {f"atom-{name}@{PROJECT}.iam.gserviceaccount.com" for name in (*IDENTITIES, "runner")}
    on_project = {role for place, role in mine if place == PLACE}
    assert not on_project & {ACT_AS, "roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountTokenCreator"}


def test_the_deploying_account_grants_what_the_plan_grants(site: Site, made: Pass) -> None:
    """The deploying account may grant the plan's roles and no others."""
    bindings = site.cloud.memory.policy(PLACE)["bindings"]
    [admin] = [one for one in bindings if one["role"] == "roles/resourcemanager.projectIamAdmin"]
    assert admin["condition"]["expression"].endswith(
        f"hasOnly(['{PLACE}/roles/atom_cloud_run_jobs', 'roles/artifactregistry.reader', "
        "'roles/artifactregistry.writer', 'roles/batch.agentReporter', 'roles/batch.jobsEditor', "
        "'roles/datastore.user', 'roles/logging.logWriter', 'roles/storage.objectViewer'])"
    )
    assert not {one["role"] for one in bindings} & {"roles/owner", "roles/editor"}


def test_checks_may_do_nothing(site: Site, made: Pass) -> None:
    """The checks' account may only read the source and write a log."""
    bucket = f"b/{PROJECT}-atom-build"
    assert granted(site, CHECKS) == {(PLACE, "roles/logging.logWriter"), (bucket, "roles/storage.objectViewer")}


def test_alerts_on_logs_take_a_role_of_their_own(site: Site, made: Pass) -> None:
    """The role for alerts on logs cannot redirect or exclude logs."""
    role: Any = site.cloud.memory.get(f"{PLACE}/roles/atom_log_alerts")
    assert role["includedPermissions"] == list(LOG_ALERT_PERMISSIONS)
    assert (PLACE, f"{PLACE}/roles/atom_log_alerts") in granted(site, DEPLOYS)


def test_the_second_time_nothing_is_changed(site: Site, made: Pass) -> None:
    """A second `make deployer` changes nothing."""
    assert site.run("deployer", "--project", PROJECT).changes == []
