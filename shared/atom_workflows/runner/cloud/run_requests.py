"""Requests to create, show, cancel, list and remove Cloud Run jobs.

See https://cloud.google.com/run/docs/reference/rest/v2. A Cloud Run job has a fixed image, so each attempt is a
separate job with one execution. `startExecutionToken` makes the request that creates a job start it as well, so a
repeated submission never finds a job that still has to be started. Without the token, a job is created but not started,
which is what a placeholder needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.labels import job_labels
from atom_workflows.runner.cloud.machines import cloud_run_shape, machine_type
from atom_workflows.runner.cloud.outputs_files import MOUNT, READABLE_BY_ALL, file_in_job
from atom_workflows.runner.cloud.placeholders import placeholder_labels
from atom_workflows.runner.cloud.rest import CANCEL_S, CREATE_S, EXPLAIN_S, REMOVE_S, SHOW_S, TAKE_S, Api, Call
from atom_workflows.runner.request import JobRequest, job_environment

MAX_DURATION: Final = timedelta(hours=168)
"""The maximum time that Cloud Run lets a task run.

It is also the default here, since Cloud Run's own default is ten minutes.
"""

PAGE: Final = 100

FIELDS: Final = ("conditions", "createTime", "labels", "latestCreatedExecution", "name", "terminalCondition")
"""The fields to request for a job. Including its arguments would make a response, or a page of jobs, too long."""

PLACEHOLDER_IMAGE: Final = "us-docker.pkg.dev/cloudrun/container/job"
"""The image of placeholders, which is Google's public sample.

A job must have an image, even if it is never started.
"""

_EXECUTION_SUFFIX: Final = "1"
_VOLUME: Final = "atom-outputs"


def create_call(settings: CloudSettings, request: JobRequest, name: str) -> Call:
    """Return the request that creates the job and starts its execution.

    It can be repeated: Cloud Run responds with HTTP 409 if the name already exists. Raises `RequestRefused`.
    """
    return _creation(settings, name, job_body(settings, request, name), CREATE_S)


def placeholder_call(settings: CloudSettings, request: JobRequest, name: str) -> Call:
    """Return the request that creates a placeholder if its name is unused."""
    task = {"containers": [{"image": PLACEHOLDER_IMAGE}], "serviceAccount": settings.job_account}
    body = {"labels": placeholder_labels(request, settings.topic_prefix), "template": {"template": task}}
    return _creation(settings, name, body, TAKE_S)


def _creation(settings: CloudSettings, name: str, body: Mapping[str, Any], total_s: float) -> Call:
    return Call(
        api=Api.RUN,
        method="POST",
        path=f"/v2/{_parent(settings.project, settings.region)}/jobs",
        query={"jobId": name},
        body=body,
        total_s=total_s,
    )


def get_call(settings: CloudSettings, region: str, name: str) -> Call:
    """Return the request that reads the job and its execution's state."""
    path = f"/v2/{_parent(settings.project, region)}/jobs/{name}"
    return Call(api=Api.RUN, method="GET", path=path, query={"fields": ",".join(FIELDS)}, total_s=SHOW_S)


def tasks_call(settings: CloudSettings, region: str, name: str, execution: str) -> Call:
    """Return the request that reads the execution's only task."""
    path = f"/v2/{_parent(settings.project, region)}/jobs/{name}/executions/{execution}/tasks"
    return Call(api=Api.RUN, method="GET", path=path, query={"pageSize": "1"}, total_s=EXPLAIN_S)


def cancel_call(settings: CloudSettings, region: str, name: str, execution: str) -> Call:
    """Return the request that cancels the execution."""
    path = f"/v2/{_parent(settings.project, region)}/jobs/{name}/executions/{execution}:cancel"
    return Call(api=Api.RUN, method="POST", path=path, body={}, total_s=CANCEL_S)


def list_call(settings: CloudSettings, page_token: str) -> Call:
    """Return the request that lists the region's jobs."""
    fields = ",".join(["nextPageToken", *(f"jobs/{name}" for name in FIELDS)])
    query = {"pageSize": str(PAGE), "fields": fields, **({"pageToken": page_token} if page_token else {})}
    path = f"/v2/{_parent(settings.project, settings.region)}/jobs"
    return Call(api=Api.RUN, method="GET", path=path, query=query, total_s=SHOW_S, most_bytes=8 * 1024 * 1024)


def delete_call(settings: CloudSettings, region: str, name: str) -> Call:
    """Return the request that removes the job and its execution."""
    return Call(
        api=Api.RUN, method="DELETE", path=f"/v2/{_parent(settings.project, region)}/jobs/{name}", total_s=REMOVE_S
    )


def job_body(settings: CloudSettings, request: JobRequest, name: str) -> Mapping[str, Any]:
    """Return the job in the form that Cloud Run's API expects.

    It is a single task, which is never retried.
    """
    labels = job_labels(request, settings.topic_prefix)
    template = {"taskCount": 1, "parallelism": 1, "labels": labels, "template": _task(settings, request, name)}
    return {"labels": labels, "startExecutionToken": _EXECUTION_SUFFIX, "template": template}


def _task(settings: CloudSettings, request: JobRequest, name: str) -> dict[str, Any]:
    shape = cloud_run_shape(machine_type(request))
    environment = job_environment(request, file_in_job(name))
    container: dict[str, Any] = {
        "image": request.image,
        "env": [{"name": variable, "value": value} for variable, value in environment.items()],
        "resources": {"limits": {"cpu": str(shape.cpus), "memory": f"{shape.memory_mib}Mi"}},
        "volumeMounts": [{"name": _VOLUME, "mountPath": MOUNT}],
    }
    if request.argv:
        container["args"] = list(request.argv)
    return {
        "containers": [container],
        "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
        "maxRetries": 0,
        "serviceAccount": settings.job_account,
        "timeout": f"{int(min(request.timeout or MAX_DURATION, MAX_DURATION).total_seconds())}s",
        "volumes": [
            {"name": _VOLUME, "gcs": {"bucket": settings.outputs_bucket, "mountOptions": list(READABLE_BY_ALL)}}
        ],
    }


def _parent(project: str, region: str) -> str:
    return f"projects/{project}/locations/{region}"
