"""A region that does not exist, or where the deployment is not, is refused before anything is looked for in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atom_client.doctor.findings import Finding, Verdict
from atom_client.doctor.plan import region_findings
from atom_client.doctor.pubsub import Expected
from atom_deploy.__main__ import main
from atom_deploy.problems import CommandFailed, WrongRegion
from atom_deploy.regions import KNOWN, check_place, check_regions
from atom_workflows.settings import Settings
from deploy.conftest import RUNNER_URL, Pass, Site, deployment
from deploy.fake_cloud import FUNCTIONS_API, PROJECT
from deploy.test_inspection import Refusing

NOWHERE = ("--project", PROJECT, "--task-runner-url", RUNNER_URL, "--region", "europe-west99")
ELSEWHERE = (*NOWHERE[:-1], "europe-west1")
FUNCTIONS = [f"projects/{PROJECT}/locations/us-central1/functions/atom-{name}" for name in ("start", "checker")]


@pytest.fixture
def enabled_site(empty_site: Site) -> Site:
    """Yield an empty project in which the functions' API is enabled."""
    empty_site.cloud.enabled.add(FUNCTIONS_API)
    return empty_site


@pytest.fixture
def twice_deployed(site: Site, second: Pass) -> Iterator[Site]:
    """Yield a deployment that is also in a second region while a test lasts."""
    memory = site.cloud.memory
    other = f"projects/{PROJECT}/locations/europe-west9/functions/atom-start"
    memory.put(other, {**(memory.get(FUNCTIONS[0]) or {}), "name": other})
    yield site
    memory.delete(other)


# -- one that does not exist


@pytest.mark.parametrize("verb", ["deploy", "destroy"])
def test_a_region_that_google_does_not_have_is_refused(enabled_site: Site, verb: str) -> None:
    """An unknown region is refused with similar ones, and nothing is changed."""
    refused = enabled_site.run(verb, *NOWHERE)
    assert (refused.code, refused.changes, refused.out) == (1, [], "")
    assert refused.err == (
        "REGION is europe-west99, which is not a region of Cloud Functions (`gcloud functions regions list --gen2 "
        f"--project={PROJECT}` shows them); similar regions: europe-west9, europe-west1, europe-west77\n"
    )
    assert len(refused.requests) == 1


@pytest.mark.parametrize("verb", ["deploy", "destroy"])
def test_where_nothing_is_enabled_an_unknown_region_is_refused_as_well(empty_site: Site, verb: str) -> None:
    """An unknown region is refused even before Google can be asked."""
    refused = empty_site.run(verb, *NOWHERE)
    assert (refused.code, refused.changes, refused.out) == (1, [], "")
    assert refused.err.startswith(
        "REGION is europe-west99, which is not a region that is known here (if it is new, `gcloud "
    )
    assert f"services enable {FUNCTIONS_API} --project={PROJECT}` allows asking Google)" in refused.err


def test_a_plan_is_not_made_for_an_unknown_region(capsys: pytest.CaptureFixture[str]) -> None:
    """Planning calls no one, and the message names a command that does."""
    assert main(["plan", *NOWHERE]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "REGION is europe-west99, which is not a region that is known here" in said.err
    assert "deploy with OPTIONS=--dry-run, which asks Google" in said.err


def test_a_new_region_is_taken(enabled_site: Site) -> None:
    """A region that only Google knows is accepted."""
    assert "europe-west77" not in KNOWN
    made = enabled_site.run("deploy", *NOWHERE[:-1], "europe-west77", "--dry-run")
    assert made.code == 0, made.err
    assert "--region=europe-west77" in made.out


def test_a_known_region_is_not_asked_for() -> None:
    """A region that is known needs no call."""
    gcloud = Refusing(AssertionError("no one asks"))
    check_regions(deployment(), gcloud)
    assert gcloud.asked == []


def test_the_task_runners_region_is_looked_at_too() -> None:
    """An unknown region of the Task Runner is refused by its option's name."""
    with pytest.raises(WrongRegion, match="--task-runner-region is nowhere1, which is not a region"):
        check_regions(deployment("--task-runner-region", "nowhere1"))


# -- one where the deployment is not


@pytest.mark.parametrize(("verb", "more"), [("destroy", ""), ("deploy", ", or, to move it, destroy it there first")])
def test_a_deployment_elsewhere_is_found(site: Site, second: Pass, verb: str, more: str) -> None:
    """A deployment in another region is named, and nothing is changed."""
    before = set(site.cloud.memory.resources)
    refused = site.run(verb, *ELSEWHERE)
    assert (refused.code, refused.changes) == (1, [])
    assert (
        f"REGION is europe-west1, but atom of {PROJECT} is in us-central1: use REGION=us-central1{more}" in refused.err
    )
    assert refused.err.endswith("; nothing was changed\n")
    assert set(site.cloud.memory.resources) == before


def test_what_is_left_in_another_region_is_reported(twice_deployed: Site) -> None:
    """A note names what is left in another region."""
    options = (*NOWHERE[:-1], "us-central1", "--dry-run")
    for verb, said in (
        ("destroy", "run the same command with REGION=europe-west9"),
        ("deploy", "where nothing is pushed anymore"),
    ):
        made = twice_deployed.run(verb, *options)
        assert made.code == 0, made.err
        assert "atom is also in europe-west9" in made.out.splitlines()[-1]
        assert said in made.out


def test_other_peoples_functions_are_not_ours(site: Site, second: Pass) -> None:
    """A function without our label or prefix does not count."""
    theirs = f"projects/{PROJECT}/locations/us-central1/functions/two-start"
    site.cloud.memory.put(theirs, {"labels": {}})
    removed = site.run("destroy", *ELSEWHERE, "--prefix", "two", "--dry-run")
    site.cloud.memory.delete(theirs)
    assert (removed.code, removed.changes) == (0, []), removed.err


def test_a_look_without_permission_is_reported() -> None:
    """A refused look at the functions is raised."""
    with pytest.raises(CommandFailed, match="PERMISSION_DENIED"):
        check_place(deployment(), Refusing(CommandFailed("gcloud functions list", "PERMISSION_DENIED: no")))


# -- the doctor


def found(site: Site, region: str, prefix: str = "atom-") -> list[Finding]:
    """Return the doctor's findings about a region."""
    settings = Settings(project=PROJECT, topic_prefix=prefix)
    expected = Expected(settings=settings, is_local=False, region=region, fix_all="deploy")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site.environment.items():
            patch.setenv(name, value)
        return list(region_findings(expected))


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("europe-west99", "is not a region of Cloud Functions"),
        ("europe-west1", "is in us-central1: use REGION=us-central1"),
    ],
)
def test_the_doctor_finds_a_wrong_region(site: Site, second: Pass, region: str, said: str) -> None:
    """The doctor reports a wrong region instead of missing functions."""
    [finding] = found(site, region)
    assert (finding.about, finding.verdict) == ("region", Verdict.WRONG)
    assert f"REGION is {region}, " in finding.detail
    assert said in finding.detail
    assert "gcloud functions list" in finding.fix


def test_the_doctor_says_nothing_of_a_right_region(site: Site, second: Pass) -> None:
    """The doctor reports no region that is right, unnamed or without a deployment."""
    assert found(site, "us-central1") == []
    assert found(site, "REGION") == []
    assert found(site, "us-central1", prefix="nobodys-") == []
