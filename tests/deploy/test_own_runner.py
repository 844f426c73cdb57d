"""A deployment that names no Task Runner has one of its own: what is made for it, granted and removed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from atom_deploy.__main__ import main
from atom_deploy.deployment import Deployment
from atom_deploy.plan import plan_of
from atom_deploy.resources.functions import ALL_FUNCTIONS, FUNCTIONS
from atom_deploy.resources.storage import LIFECYCLE, OUTPUTS_KEPT_DAYS
from atom_deploy.roles import (
    ACT_AS,
    CLOUD_RUN_JOBS,
    CLOUD_RUN_PERMISSIONS,
    PUBLISH,
    READ_IMAGES,
    RUN_BATCH,
    RUNNER_GRANTS,
    USE_OBJECTS,
)
from atom_deploy.task_runner import uses_own_runner
from atom_workflows.runner.cloud.batch_requests import MAX_DURATION, TERMINAL_STATES
from atom_workflows.runner.cloud.cloud_settings import from_environment
from atom_workflows.runner.cloud.sweeps import KEPT_OUTPUTS
from deploy.conftest import RUNNER_URL, OwnRunner, Pass, Site, deployment
from deploy.fake_cloud import PROJECT
from unit.runner.cloud.test_discovery import CALLS

PLACE: Final = f"projects/{PROJECT}/locations/us-central1"
OUTPUTS: Final = f"b/{PROJECT}-atom-outputs"


def account(identity: str) -> str:
    """Return an account's address."""
    return f"atom-{identity}@{PROJECT}.iam.gserviceaccount.com"


def function(own_runner: OwnRunner, name: str) -> Any:
    """Return a function's configuration."""
    return (own_runner.memory.get(f"{PLACE}/functions/atom-{name}") or {})["serviceConfig"]


def test_a_project_is_filled_and_the_second_time_nothing_is_changed(own_runner: OwnRunner) -> None:
    """Without a URL everything is made, and the same command again changes nothing."""
    assert (own_runner.first.code, own_runner.first.err) == (0, "")
    assert own_runner.second.changes == []
    assert (own_runner.second.code, "The Task Runner must allow" in own_runner.first.out) == (0, False)


def test_the_functions_submit_to_the_runner(own_runner: OwnRunner) -> None:
    """The runner's own URL is where the other functions submit jobs."""
    url = function(own_runner, "runner")["uri"]
    assert url.startswith("https://atom-runner-")
    for name in FUNCTIONS:
        assert function(own_runner, name)["environmentVariables"]["WORKFLOW_TASK_RUNNER_URL"] == url


def test_the_runner_can_read_its_settings(own_runner: OwnRunner) -> None:
    """The runner's environment is complete, and says what the options say."""
    runner = function(own_runner, "runner")
    assert runner["serviceAccountEmail"] == account("runner")
    settings = from_environment(runner["environmentVariables"])
    assert (settings.project, settings.region) == (PROJECT, "us-central1")
    assert (settings.image_prefixes, settings.spot) == (("docker.io/acme/",), True)
    assert (settings.job_account, settings.outputs_bucket) == (account("jobs"), OUTPUTS.removeprefix("b/"))
    assert own_runner.memory.get(settings.notice_topic) is not None


def test_notices_are_pushed_to_the_runner(own_runner: OwnRunner) -> None:
    """Batch's notices reach the runner, hints the checker, and neither leaves a dead letter."""
    for topic, name in {"batch-notices": "runner", "jobs": "checker"}.items():
        made: Any = own_runner.memory.get(f"projects/{PROJECT}/subscriptions/atom-{topic}")
        assert made["pushConfig"]["pushEndpoint"] == function(own_runner, name)["uri"]
        assert made["pushConfig"]["oidcToken"]["serviceAccountEmail"] == account("push")
        assert ("deadLetterPolicy" in made, made["messageRetentionDuration"]) == (False, "600s")


def test_outputs_have_a_bucket_that_empties_itself(own_runner: OwnRunner) -> None:
    """The bucket of outputs is private, separate, and deletes what is old."""
    bucket: Any = own_runner.memory.get(OUTPUTS)
    assert bucket["lifecycle"] == {"rule": [{"action": {"type": "Delete"}, "condition": {"age": OUTPUTS_KEPT_DAYS}}]}
    assert bucket["softDeletePolicy"]["retentionDurationSeconds"] in {0, "0"}
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert LIFECYCLE.is_file()
    # A job may write its outputs long before it ends.
    assert timedelta(days=OUTPUTS_KEPT_DAYS) > KEPT_OUTPUTS > MAX_DURATION


def test_a_runner_that_fails_is_noticed(own_runner: OwnRunner) -> None:
    """The alert on the runner looks at its service's own errors."""
    made = own_runner.memory.children(f"projects/{PROJECT}/alertPolicies")
    [policy] = [one for one in made if one["displayName"] == "atom: runner"]
    condition = policy["conditions"][0]["conditionThreshold"]
    assert 'service_name="atom-runner"' in condition["filter"]
    assert condition["duration"] == "600s"


def test_jobs_may_do_little(own_runner: OwnRunner) -> None:
    """The jobs' account has no roles but those of the list, and none on what starts runs."""
    member = f"serviceAccount:{account('jobs')}"
    granted = {
        (place, binding["role"])
        for place, policy in own_runner.memory.policies.items()
        for binding in policy["bindings"]
        if member in binding["members"]
    }
    paths = {
        "project": f"projects/{PROJECT}",
        "outputs-bucket": OUTPUTS,
        "topic batch-notices": f"projects/{PROJECT}/topics/atom-batch-notices",
    }
    assert granted == {(paths[one.on], one.role) for one in RUNNER_GRANTS if one.to == "jobs"}


def test_the_runner_acts_as_the_jobs_account_alone(own_runner: OwnRunner) -> None:
    """The runner may start jobs as their account, and handle jobs of Cloud Run but no services."""
    member = f"serviceAccount:{account('runner')}"
    acts = [
        place
        for place, policy in own_runner.memory.policies.items()
        for binding in policy["bindings"]
        if binding["role"] == "roles/iam.serviceAccountUser" and member in binding["members"]
    ]
    assert [place.rpartition("/")[2] for place in acts] == [account("jobs")]
    role: Any = own_runner.memory.get(f"projects/{PROJECT}/roles/atom_cloud_run_jobs")
    assert role["includedPermissions"] == list(CLOUD_RUN_PERMISSIONS)
    assert not [one for one in CLOUD_RUN_PERMISSIONS if not one.startswith(("run.jobs", "run.executions", "run.tasks"))]


def test_the_roles_are_those_that_the_requests_take() -> None:
    """The runner's roles have the permission of each request that it makes, and the custom one has no other."""
    methods = {method for _, method in CALLS.values()}
    for parents in ("projects.locations.", "jobs.taskGroups.", "jobs.executions.tasks", "jobs.executions"):
        methods = {one.replace(parents, parents.rpartition(".")[2]) for one in methods}
    of_run = {one for one in methods if one.startswith("run.")}
    # The token with which a job is created starts it.
    assert of_run | {"run.jobs.run"} == set(CLOUD_RUN_PERMISSIONS)
    of_batch = {one for one in methods if one.startswith("batch.")}
    assert of_batch <= {*(f"batch.jobs.{verb}" for verb in ("create", "get", "cancel")), "batch.tasks.get"}
    of_storage = {one for one in methods if one.startswith("storage.")}
    assert of_storage == {f"storage.objects.{verb}" for verb in ("get", "list", "delete")}
    roles = {one.role for one in RUNNER_GRANTS if one.to == "runner"}
    # Cloud Run creates a job only for an account that may read its image.
    assert roles == {RUN_BATCH, CLOUD_RUN_JOBS, READ_IMAGES, USE_OBJECTS, ACT_AS, PUBLISH}


def test_a_forgotten_url_replaces_no_task_runner(site: Site, second: Pass, capsys: pytest.CaptureFixture[str]) -> None:
    """Without its URL, a deployment with someone's Task Runner is left as it is, unless it is told otherwise."""
    again = site.run("deploy", "--project", PROJECT)
    assert (again.code, again.changes) == (1, [])
    assert f"TASK_RUNNER_URL={RUNNER_URL}" in again.err
    switched = site.run("deploy", "--project", PROJECT, "--own-runner", "--dry-run")
    assert (switched.code, "functions deploy atom-runner" in switched.out) == (0, True)


LISTED_AS: Final = f"{PLACE}/functions/atom-"


class _Listed:
    """A gcloud that lists functions."""

    def __init__(self, functions: list[dict[str, Any]]) -> None:
        self._functions = functions

    def look(self, command: Sequence[str]) -> object:  # noqa: ARG002 (there is but one question)
        """See `Gcloud.look`."""
        return self._functions

    def change(self, command: Sequence[str]) -> None:
        """See `Gcloud.change`."""
        raise AssertionError(command)

    def stop(self) -> None:
        """See `Gcloud.stop`."""


@pytest.mark.parametrize(
    ("url", "label", "is_own"),
    [
        ("https://atom-runner-abc123-uc.a.run.app", "1", True),
        ("https://atom-runner-abc123-uc.a.run.app/", "1", True),
        ("https://us-central1-p.cloudfunctions.net/atom-runner", "1", True),
        # Another service, or the same name in another project.
        ("https://atom-runner-gpu-abc123-uc.a.run.app", "1", False),
        ("https://atom-runner-zzz999-uc.a.run.app", "1", False),
        # Someone else deployed a function of that name.
        ("https://atom-runner-abc123-uc.a.run.app", "", False),
        # The function is gone.
        ("https://atom-runner-abc123-uc.a.run.app", None, True),
        ("https://atom-runner-4711.us-central1.run.app", None, True),
        ("https://atom-runner-gpu-abc123-uc.a.run.app", None, False),
        ("https://atom-runner-gpu-4711.us-central1.run.app", None, False),
        ("https://atom-runner-abc123-uc.a.run.app.example.com", None, False),
    ],
)
def test_a_service_that_is_only_named_alike_is_not_the_own_runner(url: str, label: str | None, *, is_own: bool) -> None:
    """What is deployed says which URL is the runner's: its function, which carries the deployment's label."""
    functions: list[dict[str, Any]] = [
        {
            "name": f"{LISTED_AS}dispatcher",
            "serviceConfig": {"environmentVariables": {"WORKFLOW_TASK_RUNNER_URL": url}},
        }
    ]
    if label is not None:
        own = {"uri": "https://atom-runner-abc123-uc.a.run.app"}
        made = {"url": "https://us-central1-p.cloudfunctions.net/atom-runner", "labels": {"atom-digest": label}}
        functions.append({"name": f"{LISTED_AS}runner", "serviceConfig": own, **made})
    assert uses_own_runner(deployment(), _Listed(functions)) is is_own


def test_all_of_it_is_removed(own_runner: OwnRunner) -> None:
    """A removal takes the runner, its accounts, topics and bucket away."""
    assert (own_runner.removal.code, own_runner.removal.err) == (0, "")
    gone = {one.path for one in own_runner.removal.requests if one.method == "DELETE"}
    assert f"{PLACE}/functions/atom-runner" in gone
    assert OUTPUTS in gone
    for identity in ("runner", "jobs"):
        assert any(path.endswith(f"/serviceAccounts/{account(identity)}") for path in gone), identity
    for topic in ("jobs", "batch-notices"):
        assert {f"projects/{PROJECT}/topics/atom-{topic}", f"projects/{PROJECT}/subscriptions/atom-{topic}"} <= gone


def test_a_named_task_runner_needs_none_of_it(site: Site) -> None:
    """With a URL there is neither runner nor account, topic, bucket or API of it."""
    named = deployment()
    plan = plan_of(named, staged=Path("x"), digests=dict.fromkeys(ALL_FUNCTIONS, ""))
    names = {one.name for stage in plan for one in stage}
    assert not {"atom-runner", "atom-batch-notices", f"{PROJECT}-atom-outputs"} & names
    assert not any("atom-jobs@" in name or "cloud_run" in name for name in names)
    [services] = [one for stage in plan for one in stage if one.kind == "services"]
    assert "batch" not in services.why


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--token-file", "x"], "--token-file is for a Task Runner of your own, so it needs TASK_RUNNER_URL"),
        (["--task-runner-service", "x"], "--task-runner-service is for a Task Runner of your own"),
        (["--runner-images", "*"], "--runner-images is '*', but must be an image prefix"),
        (["--set", "WORKFLOW_RUNNER_SPOT=perhaps"], "WORKFLOW_RUNNER_SPOT"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], said: str
) -> None:
    """An option that only another Task Runner has, or that the runner would refuse, is refused."""
    if options[0] == "--token-file":
        (tmp_path / "x").write_text("header.payload.signature")
        options = [options[0], str(tmp_path / "x")]
    assert main(["plan", "--project", "my-project", *options]) == 1
    assert said in capsys.readouterr().err


def test_a_plan_says_where_jobs_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan shows the runner, and from which images jobs may run."""
    monkeypatch.setenv("PATH", "")
    assert main(["plan", "--project", "my-project", "--runner-images", "docker.io/acme/,ghcr.io/acme/"]) == 0
    printed = capsys.readouterr().out
    assert "with images from docker.io/acme/, ghcr.io/acme/" in printed
    assert "# function atom-runner: runs jobs on Batch and Cloud Run" in printed
    assert "WORKFLOW_RUNNER_IMAGES=docker.io/acme/,ghcr.io/acme/" in printed


@pytest.mark.parametrize(
    ("images", "is_noted"),
    [
        ("", False),
        ("docker.io/library/", True),
        ("docker.io/library/,europe-docker.pkg.dev/my-project-2/", True),
        ("*-docker.pkg.dev/my-project/,docker.io/library/", False),
        ("europe-docker.pkg.dev/my-project", False),
        ("europe-docker.pkg.dev/my-project/jobs/", False),
    ],
)
def test_a_plan_says_that_the_projects_own_images_are_refused(
    images: str, *, is_noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan whose images leave out the project's own says so, as the option replaces the default."""
    assert main(["plan", "--project", "my-project", "--runner-images", images]) == 0
    assert ("add --runner-images=*-docker.pkg.dev/my-project/ to allow them" in capsys.readouterr().out) == is_noted


def test_a_project_of_a_domain_has_accounts_and_buckets() -> None:
    """The names that follow from a project in a domain are ones that the runner accepts."""
    environment = Deployment(project="example.com:my-project", region="us-central1").runner_environment
    settings = from_environment(environment)
    assert settings.job_account == "atom-jobs@my-project.example.com.iam.gserviceaccount.com"
    assert settings.outputs_bucket == "example-com-my-project-atom-outputs"
    assert set(TERMINAL_STATES) == {"SUCCEEDED", "FAILED", "CANCELLED"}
