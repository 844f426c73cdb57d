"""What a look at a project finds that differs from the plan; it changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atom_client.doctor.findings import Finding, Verdict
from atom_client.doctor.plan import plan_findings, region_findings
from atom_client.doctor.pubsub import Expected
from atom_deploy.inspection import NOT_COMPARED, Comparison, State, compare_with_plan
from atom_deploy.plan import plan_of
from atom_deploy.problems import CommandFailed, Missing
from atom_deploy.resource import Command
from atom_deploy.resources.functions import ALL_FUNCTIONS
from atom_workflows.settings import Settings
from deploy.conftest import OwnRunner, Pass, Site, deployment
from deploy.fake_cloud import PROJECT

EXPECTED = Expected(
    settings=Settings(project=PROJECT, topic_prefix="atom-"), is_local=False, region="us-central1", fix_all="deploy"
)


class Refusing:
    """A gcloud that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked: list[Command] = []

    def look(self, command: Command) -> Any:
        """See `Gcloud.look`."""
        self.asked.append(command)
        raise self.error

    def change(self, command: Command) -> None:
        """See `Gcloud.change`."""
        raise AssertionError(command)

    def stop(self) -> None:
        """See `Gcloud.stop`."""


def findings(site: Site) -> list[Finding]:
    """Return the doctor's findings on the recording API.

    No request of it may change anything.
    """
    before = len(site.cloud.requests)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site.environment.items():
            patch.setenv(name, value)
        found = list(plan_findings(EXPECTED, bucket="", environment={}))
    assert [one for one in site.cloud.requests[before:] if one.changes] == []
    return found


def test_a_deployments_own_runner_is_compared(empty_site: Site, own_runner: OwnRunner) -> None:
    """The doctor finds that a deployment has its own Task Runner, and compares that, too, even once it is gone."""
    cloud = empty_site.cloud
    cloud.memory.resources = deepcopy(own_runner.memory.resources)
    cloud.memory.policies = deepcopy(own_runner.memory.policies)
    cloud.enabled = set(own_runner.enabled)
    [found] = findings(empty_site)
    assert (found.verdict, "are as planned" in found.detail) == (Verdict.OK, True)
    cloud.memory.delete(f"projects/{PROJECT}/locations/us-central1/functions/atom-runner")
    missing = [one.about for one in findings(empty_site) if one.verdict is Verdict.WRONG]
    assert "function atom-runner" in missing


@pytest.fixture
def drifted(site: Site, second: Pass) -> Iterator[None]:
    """Yield a deployment that was changed by hand while a test lasts."""
    memory = site.cloud.memory
    job: Any = memory.get(f"projects/{PROJECT}/locations/us-central1/jobs/atom-tick")
    subscription: Any = memory.get(f"projects/{PROJECT}/subscriptions/atom-steps")
    bindings = memory.policy(f"projects/{PROJECT}/topics/atom-tick")["bindings"]
    [index] = memory.children(f"projects/{PROJECT}/databases/(default)/collectionGroups/steps/indexes")
    kept, service = list(bindings), "pubsub.googleapis.com"
    job["state"], subscription["ackDeadlineSeconds"] = "PAUSED", 10
    bindings.clear()
    memory.delete(index["name"])
    site.cloud.enabled.discard(service)
    yield
    job["state"], subscription["ackDeadlineSeconds"] = "ENABLED", 310
    bindings.extend(kept)
    memory.put(index["name"], index)
    site.cloud.enabled.add(service)


def test_what_was_deployed_is_as_planned(site: Site, second: Pass) -> None:
    """A deployment without differences is one line with the number of resources."""
    [found] = findings(site)
    assert (found.verdict, "resources are as planned" in found.detail) == (Verdict.OK, True)


@pytest.mark.usefixtures("drifted")
def test_what_differs_is_reported_with_its_command(site: Site) -> None:
    """Each difference has a line: schedule, deadline, grant, index and disabled API."""
    found = {one.about: one for one in findings(site) if one.verdict is Verdict.WRONG}
    assert found["scheduler job atom-tick"].fix.startswith("gcloud scheduler jobs resume atom-tick")
    assert "ackDeadlineSeconds 310" in found["subscription atom-steps"].detail
    assert "topics add-iam-policy-binding atom-tick" in found["grants on topic atom-tick"].fix
    assert "firestore indexes composite create" in found["index steps: schema, due_at"].fix
    [services] = [one for about, one in found.items() if about.startswith("services ")]
    assert (services.detail, services.fix.split()[1:3]) == (
        "it should be: pubsub.googleapis.com",
        ["services", "enable"],
    )
    assert len(found) == 5


def test_an_empty_project(empty_site: Site) -> None:
    """In an empty project everything is missing, each with its fix."""
    found = {one.about: one for one in findings(empty_site)}
    assert found["function atom-start"].fix == "deploy"
    assert found["subscription atom-steps"].fix == "deploy"
    assert found["topic atom-events"].fix == f"gcloud pubsub topics create atom-events --project={PROJECT}"


def everything(gcloud: Refusing) -> list[Comparison]:
    """Return all comparisons."""
    return list(compare_with_plan(deployment(), gcloud))


def test_who_may_not_look(tmp_path: Path) -> None:
    """A refusal to look at the project is the only finding."""
    gcloud = Refusing(CommandFailed("gcloud projects describe", "PERMISSION_DENIED:\nmay not\nWhat to do: log in."))
    [found] = everything(gcloud)
    assert (found.state, found.detail) == (State.UNSEEN, "PERMISSION_DENIED: may not What to do: log in.")
    assert len(gcloud.asked) == 1


def test_a_project_that_is_not_there() -> None:
    """A missing project is the only finding."""
    [found] = everything(Refusing(Missing("gcloud projects describe", "NOT_FOUND")))
    assert (found.kind, found.state) == ("project", State.MISSING)


def test_without_gcloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gcloud, the state of the resources is unknown."""
    monkeypatch.setenv("PATH", "")
    [found] = plan_findings(EXPECTED, bucket="", environment={})
    assert (found.verdict, "gcloud is not installed" in found.detail) == (Verdict.UNKNOWN, True)


@pytest.mark.parametrize(
    "expected",
    [
        replace(EXPECTED, region="REGION"),
        replace(EXPECTED, settings=Settings(project=PROJECT, topic_prefix="x")),
    ],
)
def test_a_deployment_that_is_not_named(expected: Expected) -> None:
    """Without a region or a known prefix there is no plan to compare with."""
    [found] = plan_findings(expected, bucket="", environment={})
    assert (found.verdict, found.fix) == (
        Verdict.UNKNOWN,
        f"give its prefix and --region, which `gcloud functions list --project={PROJECT}` shows",
    )


def test_where_no_one_deploys_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed command line says where the plan can be compared."""
    monkeypatch.setitem(sys.modules, "atom_deploy.gcloud", None)
    assert list(region_findings(EXPECTED)) == []
    [found] = plan_findings(EXPECTED, bucket="", environment={})
    assert (found.verdict, found.fix) == (
        Verdict.UNKNOWN,
        f"make doctor PROJECT={PROJECT} REGION=us-central1 PREFIX=atom",
    )


def test_what_is_not_compared_is_a_check_of_the_functions() -> None:
    """The check that is left out exists in the plan under its name."""
    plan = plan_of(deployment(), staged=Path("x"), digests=dict.fromkeys(ALL_FUNCTIONS, ""))
    expectations = {
        check.expectation for stage in plan for one in stage if one.kind == "function" for check in one.checks
    }
    assert expectations > NOT_COMPARED
