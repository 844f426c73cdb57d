"""Images, machines, labels, ids and settings of the runner on Google Cloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from atom_workflows.errors import GoogleUnavailable, JobNotFound, RequestRefused, SettingsError
from atom_workflows.runner.cloud.batch_requests import job_body
from atom_workflows.runner.cloud.cloud_settings import from_environment
from atom_workflows.runner.cloud.failures import require_document
from atom_workflows.runner.cloud.images import is_image_prefix, require_allowed
from atom_workflows.runner.cloud.job_ids import Engine, Place, name_of, read_place
from atom_workflows.runner.cloud.labels import MAX_LABELS, job_labels
from atom_workflows.runner.cloud.machines import Shape, machine_type, shape_of
from atom_workflows.runner.cloud.rest import Reply
from support.google_jobs.containers import START
from unit.runner.cloud.test_discovery import NAME, REQUEST, SETTINGS

ENVIRONMENT = {
    "WORKFLOW_PROJECT": "acme",
    "WORKFLOW_TOPIC_PREFIX": "atom-",
    "WORKFLOW_RUNNER_REGION": "europe-west1",
    "WORKFLOW_RUNNER_BUCKET": "acme-outputs",
    "WORKFLOW_RUNNER_ACCOUNT": "atom-jobs@acme.iam.gserviceaccount.com",
    "WORKFLOW_RUNNER_NOTICE_TOPIC": "batch-notices",
}


@pytest.mark.parametrize(
    ("prefix", "image"),
    [
        ("*-docker.pkg.dev/acme/", "us-docker.pkg.dev/acme/images/load"),
        ("*-docker.pkg.dev/acme/", "europe-west1-docker.pkg.dev/acme/a/b/c:v1.2@sha256:" + "0f" * 32),
        ("docker.io/library/", "python:3.13"),
        ("docker.io/acme", "acme/load"),
        ("docker.io/acme/load", "docker.io/acme/load:1"),
        ("localhost:5000/", "localhost:5000/load"),
    ],
)
def test_an_image_under_a_prefix_is_allowed(prefix: str, image: str) -> None:
    """An image is allowed if its whole name begins with a prefix, in whole parts."""
    assert is_image_prefix(prefix)
    require_allowed(image, ["registry.example/", prefix])


@pytest.mark.parametrize(
    ("prefix", "image"),
    [
        ("*-docker.pkg.dev/acme/", "evil.example/us-docker.pkg.dev/acme/load"),
        ("*-docker.pkg.dev/acme/", "evil.example-docker.pkg.dev/acme/load"),
        ("*-docker.pkg.dev/acme/", "us-docker.pkg.dev/acme2/load"),
        ("docker.io/acme/load", "acme/loader"),
        ("docker.io/library/", "library.example/python"),
        ("docker.io/", "us-docker.pkg.dev/acme/load"),
        ("docker.io/acme", "ACME/load"),
        ("docker.io/acme", "acme/load\n"),
        ("docker.io/acme", "acme/load --privileged"),
        ("docker.io/acme", "acme/" + "x" * 600),
    ],
)
def test_an_image_that_only_looks_alike_is_refused(prefix: str, image: str) -> None:
    """Neither a longer word, nor another host, nor what is no image passes."""
    with pytest.raises(RequestRefused):
        require_allowed(image, [prefix])


@pytest.mark.parametrize(
    "text", ["", "*", "*/", "acme/load", "*.dev*", "https://docker.io/", "docker.io/../", "a b.io/"]
)
def test_a_prefix_names_a_registry(text: str) -> None:
    """A prefix that could cover any registry is none."""
    assert not is_image_prefix(text)


@pytest.mark.parametrize(
    ("fields", "machine"),
    [
        ({}, "e2-standard-2"),
        ({"scale_tier": "BASIC"}, "e2-standard-2"),
        ({"scale_tier": "premium_1"}, "e2-highmem-16"),
        ({"scale_tier": "CUSTOM", "master_type": "n1-highmem-8"}, "n1-highmem-8"),
        ({"scale_tier": "anything", "master_type": "c3-standard-4"}, "c3-standard-4"),
    ],
)
def test_a_tier_or_a_type_names_the_machine(fields: dict[str, Any], machine: str) -> None:
    """`masterType` names the machine, or else the table of `scaleTier`."""
    assert machine_type(replace(REQUEST, **fields)) == machine


@pytest.mark.parametrize(
    "fields", [{"scale_tier": "CUSTOM"}, {"scale_tier": "BASIC_TPU"}, {"master_type": "x"}, {"master_type": "a/b-c"}]
)
def test_a_machine_that_cannot_exist_is_refused(fields: dict[str, Any]) -> None:
    """A tier that is not in the table and a type that is none are refused."""
    with pytest.raises(RequestRefused):
        machine_type(replace(REQUEST, **fields))


def test_a_task_gets_the_whole_machine() -> None:
    """The resources of a task are those of its machine, where its name shows them."""
    assert shape_of("n1-highmem-8") == Shape(cpus=8, memory_mib=8 * 6656)
    assert shape_of("c3-standard-4") is None
    task = job_body(SETTINGS, replace(REQUEST, master_type="e2-highcpu-8"), NAME)["taskGroups"][0]["taskSpec"]
    assert task["computeResource"] == {"cpuMilli": "8000", "memoryMib": "8192"}
    assert task["maxRunDuration"] == "3600s"


def test_a_job_gets_five_variables_and_no_token() -> None:
    """A job's environment holds where it belongs and where its outputs go."""
    task = job_body(SETTINGS, REQUEST, NAME)["taskGroups"][0]["taskSpec"]
    assert task["environment"] == {
        "variables": {
            "ATOM_RUN_ID": "sales-1",
            "ATOM_STEP_ID": "load",
            "ATOM_ATTEMPT": "1",
            "ATOM_WORKFLOW": "sales",
            "ATOM_OUTPUTS": f"/mnt/disks/atom-outputs/{NAME}.json",
        }
    }


def test_a_limit_is_at_most_batchs_own() -> None:
    """An attempt that has a month gets the fourteen days that Batch allows."""
    task = job_body(SETTINGS, replace(REQUEST, timeout=timedelta(days=30)), NAME)["taskGroups"][0]["taskSpec"]
    assert task["maxRunDuration"] == "1209600s"


def test_labels_are_made_acceptable() -> None:
    """Labels have the form that Google Cloud accepts, and none takes the place of ours."""
    given = {"Team": "Data & AI", "atom-run": "forged", "goog-x": "1", "1st": "x" * 90, "": "y"}
    labels = job_labels(replace(REQUEST, run_id="Sales/1", labels=given), "atom-")
    assert labels == {
        "team": "data___ai",
        "st": "x" * 63,
        "atom-deployment": "atom",
        "atom-run": "sales_1",
        "atom-step": "load",
        "atom-attempt": "1",
    }
    many = {f"label-{number}": "x" for number in range(100)}
    assert len(job_labels(replace(REQUEST, labels=many), "")) == MAX_LABELS + 4


def test_an_id_says_where_a_job_is() -> None:
    """An id is read as it was written, and names of several deployments differ."""
    place = Place(engine=Engine.BATCH, region="europe-west1", name=name_of("a/b/1", "atom-"), created=START)
    assert read_place(place.job_id) == place
    assert name_of("a/b/1", "atom-") != name_of("a/b/1", "test-")
    assert len(place.name) + len("-1") < 63
    assert place.is_new(START + timedelta(minutes=4))
    assert not place.is_new(START + timedelta(minutes=5))
    assert not place.is_new(START - timedelta(minutes=5))


@pytest.mark.parametrize(
    "job_id",
    [
        *("", "batch", f"vertex:us-east1:{NAME}:1", f"batch:us-east1:{NAME}", f"batch:us-east1:{NAME}:"),
        *(
            f"batch:us-east1:{NAME}x:1",
            f"batch:../x:{NAME}:1",
            f"batch:us-east1:{NAME}:1\n",
            f"batch:us-east1:{NAME}:-1",
        ),
    ],
)
def test_what_is_no_id_is_unknown(job_id: str) -> None:
    """Nothing else than an id can name a path of an API."""
    with pytest.raises(JobNotFound):
        read_place(job_id)


def test_settings_are_read() -> None:
    """Each variable has its setting; images are those of the project by default."""
    assert from_environment(ENVIRONMENT) == SETTINGS
    more = {"WORKFLOW_RUNNER_SPOT": "True", "WORKFLOW_RUNNER_IMAGES": "docker.io/acme/, ghcr.io/acme"}
    read = from_environment({**ENVIRONMENT, **more})
    assert (read.spot, read.image_prefixes) == (True, ("docker.io/acme/", "ghcr.io/acme"))
    of_domain = from_environment({**ENVIRONMENT, "WORKFLOW_PROJECT": "example.com:acme"})
    assert of_domain.image_prefixes == ("*-docker.pkg.dev/example.com/acme/",)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WORKFLOW_PROJECT", ""),
        ("WORKFLOW_RUNNER_REGION", ""),
        ("WORKFLOW_RUNNER_BUCKET", "gs://x"),
        ("WORKFLOW_RUNNER_ACCOUNT", "me"),
        ("WORKFLOW_RUNNER_SPOT", "maybe"),
        ("WORKFLOW_RUNNER_IMAGES", "*"),
        ("WORKFLOW_RUNNER_BATCH_URL", "batch.googleapis.com"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    """A value that cannot work is refused with the variable's name."""
    with pytest.raises(SettingsError, match=variable):
        from_environment({**ENVIRONMENT, variable: value})


def test_an_answer_that_describes_no_job_is_none() -> None:
    """An answer of HTTP 200 that was too long, or is no JSON, does not look like a job in progress."""
    with pytest.raises(GoogleUnavailable, match="without a description"):
        require_document(Reply(status=200, content=b"<html>"), "Batch")
    require_document(Reply(status=200, document={"name": "x"}), "Batch")
