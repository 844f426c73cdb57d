"""What a deployment does not deploy over: something public, or a database that its functions cannot use."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from atom_client.doctor.plan import plan_findings
from atom_client.doctor.pubsub import Expected
from atom_deploy.apply import check_accepted
from atom_deploy.deployment import Deployment
from atom_deploy.inspection import State, compare_with_plan
from atom_deploy.plan import plan_of
from atom_deploy.problems import Refused
from atom_deploy.resource import Command, Resource
from atom_deploy.resources.firestore import database
from atom_deploy.resources.functions import ALL_FUNCTIONS
from atom_workflows.settings import Settings
from deploy.conftest import Pass, Site, deployment
from deploy.fake_cloud import PROJECT

PLACES = (
    f"{PROJECT}-atom-workflows",
    "atom-start",
    "atom-dispatcher",
    "atom-checker",
    "atom-dead-letters",
    "atom-events",
)
SERVICE = f"projects/{PROJECT}/locations/us-central1/services/atom-start"


def resources(wanted: Deployment) -> list[Resource]:
    """Return the plan's resources, in order."""
    plan = plan_of(wanted, staged=Path("x"), digests=dict.fromkeys(ALL_FUNCTIONS, ""), all_options=True)
    return [one for stage in plan for one in stage]


def test_every_policy_of_ours_is_looked_at() -> None:
    """A public resource is refused, but not a public Task Runner."""
    public = {"bindings": [{"role": "roles/x", "members": ["user:me@example.org", "allUsers"]}]}
    wanted = deployment("--task-runner-service", "runner")
    granted = [one for one in resources(wanted) if one.kind.startswith("grants on ")]
    accepted = {one.name for one in granted if one.refuse(public, {}) is None}
    assert accepted == {"runner"}
    assert {one.name for one in granted} >= set(PLACES)


@pytest.mark.parametrize("member", ["allUsers", "allAuthenticatedUsers"])
def test_the_suggested_command_removes_the_public_binding(member: str) -> None:
    """The suggested command removes exactly the public binding."""
    [policy] = [one for one in resources(deployment()) if (one.kind, one.name) == ("grants on topic", "atom-start")]
    found = {"bindings": [{"role": "roles/pubsub.publisher", "members": [member], "condition": {"expression": "x"}}]}
    with pytest.raises(Refused, match=rf"it is public: {member} has roles/pubsub.publisher") as problem:
        check_accepted(policy, found, {}, PROJECT)
    assert (
        f"gcloud pubsub topics remove-iam-policy-binding atom-start --member={member} --role=roles/pubsub.publisher "
        f"--project={PROJECT}"
    ) in str(problem.value)


@contextmanager
def public(site: Site, path: str, role: str) -> Iterator[None]:
    """Have everybody hold a role while the block lasts."""
    policies, before = site.cloud.memory.policies, site.cloud.memory.policy(path)
    policies[path] = {**before, "bindings": [*before.get("bindings", ()), {"role": role, "members": ["allUsers"]}]}
    yield
    policies[path] = before


@pytest.mark.parametrize(
    ("path", "role"),
    [
        (SERVICE, "roles/run.invoker"),
        (f"projects/{PROJECT}/topics/atom-steps", "roles/pubsub.publisher"),
        (f"b/{PROJECT}-atom-workflows", "roles/storage.objectCreator"),
    ],
)
def test_a_deployment_that_became_public_is_refused(site: Site, second: Pass, path: str, role: str) -> None:
    """Deploying a public deployment again changes nothing and fails."""
    with public(site, path, role):
        said = site.run("deploy", *site.options)
        assert (said.code, said.changes) == (1, [])
        assert f"it is public: allUsers has {role}" in said.err
        command = shlex.split(said.err.strip().splitlines()[-1])
        environment = {**os.environ, **site.environment}
        ended = subprocess.run([*command, "--quiet"], env=environment, capture_output=True, check=False, text=True)
        assert ended.returncode == 0, ended.stderr
        assert "allUsers" not in str(site.cloud.memory.policy(path))


def test_the_doctor_reports_what_is_public(site: Site, second: Pass) -> None:
    """The doctor reports a public resource with the command that fixes it."""
    expected = Expected(
        settings=Settings(project=PROJECT, topic_prefix="atom-"),
        is_local=False,
        region="us-central1",
        fix_all="deploy",
    )
    with public(site, SERVICE, "roles/run.invoker"), pytest.MonkeyPatch.context() as patch:
        for name, value in site.environment.items():
            patch.setenv(name, value)
        found = {one.about: one for one in plan_findings(expected, bucket="", environment={})}
    wrong = found["grants on function atom-start"]
    assert "it is public: allUsers has roles/run.invoker" in wrong.detail
    assert wrong.fix.startswith("gcloud run services remove-iam-policy-binding atom-start --region=us-central1")


@pytest.mark.parametrize("name", ["acl", "defaultObjectAcl"])
def test_a_bucket_may_be_public_by_its_lists(name: str) -> None:
    """A bucket's access control lists are checked, too."""
    bucket, _outputs = [one for one in resources(deployment()) if one.kind == "bucket"]
    entries = [{"entity": "user-me", "role": "OWNER"}, {"entity": "allUsers", "role": "WRITER"}]
    assert bucket.refuse({"name": "b", name: entries[:1]}, {}) is None
    refusal = bucket.refuse({"name": "b", name: entries}, {})
    assert refusal is not None
    assert "name allUsers" in refusal.reason


def test_a_subscription_of_another_topic_is_refused() -> None:
    """A subscription of a deleted topic is refused."""
    [steps] = [one for one in resources(deployment()) if (one.kind, one.name) == ("subscription", "atom-steps")]
    assert steps.refuse({"topic": f"projects/{PROJECT}/topics/atom-steps"}, {}) is None
    with pytest.raises(Refused, match=r"to topic _deleted-topic_(?s:.*)gcloud pubsub subscriptions delete atom-steps"):
        check_accepted(steps, {"topic": "_deleted-topic_"}, {}, PROJECT)


class Answering:
    """A gcloud whose databases are these; it makes nothing."""

    def __init__(self, databases: list[dict[str, Any]]) -> None:
        self.databases = databases

    def look(self, command: Command) -> Any:
        """See `Gcloud.look`."""
        return self.databases if command[:2] == ("firestore", "databases") else []

    def change(self, command: Command) -> None:
        """See `Gcloud.change`."""
        raise AssertionError(command)

    def stop(self) -> None:
        """See `Gcloud.stop`."""


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"type": "DATASTORE_MODE", "databaseEdition": "STANDARD"}, "type DATASTORE_MODE and edition STANDARD"),
        ({"type": "FIRESTORE_NATIVE", "databaseEdition": "ENTERPRISE"}, "edition ENTERPRISE"),
        ({"type": "FIRESTORE_NATIVE", "databaseEdition": "STANDARD"}, ""),
        ({"type": "FIRESTORE_NATIVE"}, ""),
    ],
)
def test_a_database_of_another_kind_is_refused(there: dict[str, str], said: str) -> None:
    """A database of another mode or edition is refused."""
    found = {"name": f"projects/{PROJECT}/databases/(default)", **there}
    refusal = database(deployment()).refuse(found, {})
    assert said in (refusal.reason if refusal else "")
    states = {one.kind: one.state for one in compare_with_plan(deployment(), Answering([found]))}
    assert (states["database"] is State.REFUSED) == bool(said)


def test_a_database_is_looked_at_first(empty_site: Site) -> None:
    """Nothing is made if the database cannot be used."""
    empty_site.cloud.enabled.add("firestore.googleapis.com")
    path = f"projects/{PROJECT}/databases/(default)"
    empty_site.cloud.memory.put(path, {"type": "DATASTORE_MODE", "databaseEdition": "STANDARD"})
    said = empty_site.run("deploy", *empty_site.options)
    assert (said.code, said.changes) == (1, [])
    assert "name another database with --database" in said.err
    assert "DATASTORE_MODE" in said.err
