"""Requests of the runner held against Google's discovery documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_workflows.runner.cloud import batch_requests, outputs_files, run_requests
from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.rest import Call
from atom_workflows.runner.request import JobRequest
from support.google_jobs import discovery

SETTINGS: Final = CloudSettings(
    project="acme",
    region="europe-west1",
    outputs_bucket="acme-outputs",
    job_account="atom-jobs@acme.iam.gserviceaccount.com",
    image_prefixes=("*-docker.pkg.dev/acme/",),
    topic_prefix="atom-",
    notice_topic="projects/acme/topics/atom-batch-notices",
)
WHOLE: Final = replace(
    SETTINGS,
    spot=True,
    network="projects/acme/global/networks/jobs",
    subnetwork="regions/europe-west1/subnetworks/jobs",
)
REQUEST: Final = JobRequest(
    key="sales-1/load/1",
    run_id="sales-1",
    step_id="load",
    attempt=1,
    workflow="sales",
    name="load",
    image="europe-docker.pkg.dev/acme/images/load:1",
    argv=("--day", "2026-03-01"),
    labels={"workflow": "sales", "type": "step"},
    timeout=timedelta(hours=1),
)
BARE: Final = replace(REQUEST, argv=(), labels={}, timeout=None)
ON_GPUS: Final = replace(REQUEST, master_type="a2-highgpu-1g")
NAME: Final = "aw-0123456789abcdef0123456789abcdef01234567"

CALLS: Final[Mapping[str, tuple[Call, str]]] = {
    "create": (batch_requests.create_call(SETTINGS, REQUEST, NAME), "batch.projects.locations.jobs.create"),
    "create with all": (batch_requests.create_call(WHOLE, ON_GPUS, NAME), "batch.projects.locations.jobs.create"),
    "create with nothing": (
        batch_requests.create_call(replace(SETTINGS, notice_topic=""), BARE, NAME),
        "batch.projects.locations.jobs.create",
    ),
    "placeholder": (batch_requests.placeholder_call(WHOLE, BARE, NAME), "batch.projects.locations.jobs.create"),
    "get": (batch_requests.get_call(SETTINGS, "us-east1", NAME), "batch.projects.locations.jobs.get"),
    "task": (
        batch_requests.task_call(SETTINGS, "us-east1", NAME),
        "batch.projects.locations.jobs.taskGroups.tasks.get",
    ),
    "cancel": (batch_requests.cancel_call(SETTINGS, "us-east1", NAME), "batch.projects.locations.jobs.cancel"),
    "run create": (run_requests.create_call(SETTINGS, REQUEST, NAME), "run.projects.locations.jobs.create"),
    "run create with nothing": (run_requests.create_call(SETTINGS, BARE, NAME), "run.projects.locations.jobs.create"),
    "run placeholder": (run_requests.placeholder_call(SETTINGS, BARE, NAME), "run.projects.locations.jobs.create"),
    "run get": (run_requests.get_call(SETTINGS, "us-east1", NAME), "run.projects.locations.jobs.get"),
    "run tasks": (
        run_requests.tasks_call(SETTINGS, "us-east1", NAME, f"{NAME}-1"),
        "run.projects.locations.jobs.executions.tasks.list",
    ),
    "run cancel": (
        run_requests.cancel_call(SETTINGS, "us-east1", NAME, f"{NAME}-1"),
        "run.projects.locations.jobs.executions.cancel",
    ),
    "run list": (run_requests.list_call(SETTINGS, "page"), "run.projects.locations.jobs.list"),
    "run delete": (run_requests.delete_call(SETTINGS, "us-east1", NAME), "run.projects.locations.jobs.delete"),
    "outputs": (outputs_files.read_call(SETTINGS, NAME), "storage.objects.get"),
    "list outputs": (outputs_files.list_call(SETTINGS, "aw-7f"), "storage.objects.list"),
    "delete outputs": (outputs_files.delete_call(SETTINGS, "a/b c.json"), "storage.objects.delete"),
}


def checked(call: Call, **changes: Any) -> str:
    """Return the id of the method that a request calls."""
    given = replace(call, **changes)
    return discovery.check(given.api, given.method, given.path, given.query, given.body).id


@pytest.mark.parametrize("name", CALLS)
def test_every_request_is_one_that_google_describes(name: str) -> None:
    """Each request names an existing method, and has only what it takes, in the right types."""
    call, method = CALLS[name]
    assert checked(call) == method


def test_every_request_is_checked() -> None:
    """No request that the runner can make is missing above."""
    modules = (batch_requests, run_requests, outputs_files)
    made = [name for module in modules for name in vars(module) if name.endswith("_call")]
    # A placeholder is created in the way that a job is.
    assert len({method for _, method in CALLS.values()}) == len(made) - 2


def body_with(path: str, value: Any) -> dict[str, Any]:
    """Return a body of `create` with another value at a path, whose parts are separated by dots."""
    call, _ = CALLS["create"]
    assert call.body is not None

    def put(found: Any, parts: list[str]) -> Any:
        if not parts:
            return value
        first, *rest = parts
        if isinstance(found, list):
            return [put(found[0], parts)]
        return {**found, first: put(found.get(first, {}), rest)}

    changed: dict[str, Any] = put(call.body, path.split("."))
    return changed


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("taskGroup", [], "has no taskGroup"),
        ("uid", "x", "output only"),
        ("taskGroups", {}, "must be a list"),
        ("taskGroups.taskCount", 1, "must be a string"),
        ("taskGroups.taskCount", "one", "must be a number"),
        ("taskGroups.taskSpec.maxRetryCount", "0", "must be a integer"),
        ("taskGroups.taskSpec.maxRunDuration", "1h", "must be a duration"),
        ("taskGroups.taskSpec.environment.variables", {"A": 1}, "must be a string"),
        ("taskGroups.taskSpec.runnables.container", {"commands": []}, "needs imageUri"),
        ("logsPolicy.destination", "SOMEWHERE", "cannot be"),
        ("labels", [], "must be a map"),
    ],
)
def test_a_wrong_body_would_be_noticed(path: str, value: Any, why: str) -> None:
    """The check refuses unknown fields, wrong types, unknown words and missing fields."""
    with pytest.raises(discovery.AgainstTheDocument, match=why):
        checked(CALLS["create"][0], body=body_with(path, value))


def test_a_wrong_call_would_be_noticed() -> None:
    """The check refuses unknown paths, parameters and bodies."""
    create, get = CALLS["create"][0], CALLS["get"][0]
    with pytest.raises(discovery.AgainstTheDocument, match="has no parameter"):
        checked(create, query={"job": NAME})
    with pytest.raises(discovery.AgainstTheDocument, match="batch has no GET"):
        checked(get, path="/v1/projects/acme/jobs/x")
    with pytest.raises(discovery.AgainstTheDocument, match="takes no body"):
        checked(get, body={})
