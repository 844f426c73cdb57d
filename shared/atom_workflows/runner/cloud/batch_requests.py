"""Requests to create, show and cancel a Batch job.

See https://cloud.google.com/batch/docs/reference/rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.labels import job_labels
from atom_workflows.runner.cloud.machines import has_gpus, machine_type, shape_of
from atom_workflows.runner.cloud.outputs_files import MOUNT, READABLE_BY_ALL, file_in_job
from atom_workflows.runner.cloud.placeholders import placeholder_labels
from atom_workflows.runner.cloud.rest import CANCEL_S, CREATE_S, EXPLAIN_S, SHOW_S, TAKE_S, Api, Call
from atom_workflows.runner.request import JobRequest, job_environment

MAX_DURATION: Final = timedelta(days=14)
"""The maximum time that Batch lets a job run."""

FIELDS: Final = "createTime,labels,name,status,taskGroups/taskSpec/environment,uid"
"""The fields to request for a job. Including the job's arguments would make the response long."""

TERMINAL_STATES: Final = ("SUCCEEDED", "FAILED", "CANCELLED")


def create_call(settings: CloudSettings, request: JobRequest, name: str) -> Call:
    """Return the request that creates the job.

    It can be repeated: Batch responds with HTTP 409 if the name already exists. Raises `RequestRefused`.
    """
    return _creation(settings, name, job_body(settings, request, name), CREATE_S)


def placeholder_call(settings: CloudSettings, request: JobRequest, name: str) -> Call:
    """Return the request that creates a placeholder if its name is unused.

    In Batch, every job starts sooner or later. A placeholder would do nothing on its machine, and can be cancelled
    before it starts.
    """
    labels = placeholder_labels(request, settings.topic_prefix)
    task = {"runnables": [{"script": {"text": "exit 0"}}], "maxRetryCount": 0, "maxRunDuration": "60s"}
    body = {
        "taskGroups": [{"taskCount": "1", "parallelism": "1", "taskSpec": task}],
        "allocationPolicy": {**_allocation(settings, request), "labels": labels},
        "labels": labels,
    }
    return _creation(settings, name, body, TAKE_S)


def _creation(settings: CloudSettings, name: str, body: Mapping[str, Any], total_s: float) -> Call:
    return Call(
        api=Api.BATCH,
        method="POST",
        path=f"/v1/{_parent(settings.project, settings.region)}/jobs",
        query={"jobId": name, "fields": FIELDS},
        body=body,
        total_s=total_s,
    )


def get_call(settings: CloudSettings, region: str, name: str) -> Call:
    """Return the request that reads the job."""
    path = f"/v1/{_parent(settings.project, region)}/jobs/{name}"
    return Call(api=Api.BATCH, method="GET", path=path, query={"fields": FIELDS}, total_s=SHOW_S)


def task_call(settings: CloudSettings, region: str, name: str) -> Call:
    """Return the request that reads the job's only task."""
    path = f"/v1/{_parent(settings.project, region)}/jobs/{name}/taskGroups/group0/tasks/0"
    return Call(api=Api.BATCH, method="GET", path=path, total_s=EXPLAIN_S)


def cancel_call(settings: CloudSettings, region: str, name: str) -> Call:
    """Return the request that cancels the job."""
    path = f"/v1/{_parent(settings.project, region)}/jobs/{name}:cancel"
    return Call(api=Api.BATCH, method="POST", path=path, body={}, total_s=CANCEL_S)


def job_body(settings: CloudSettings, request: JobRequest, name: str) -> Mapping[str, Any]:
    """Return the job in the form that Batch's API expects.

    It is one container on one machine. Batch never retries it, since only the coordinator decides whether to repeat a
    failed attempt.
    """
    labels = job_labels(request, settings.topic_prefix)
    body: dict[str, Any] = {
        "taskGroups": [{"taskCount": "1", "parallelism": "1", "taskSpec": _task(settings, request, name)}],
        "allocationPolicy": {**_allocation(settings, request), "labels": labels},
        "logsPolicy": {"destination": "CLOUD_LOGGING"},
        "labels": labels,
    }
    if settings.notice_topic:
        body["notifications"] = [
            {"pubsubTopic": settings.notice_topic, "message": {"type": "JOB_STATE_CHANGED", "newJobState": state}}
            for state in TERMINAL_STATES
        ]
    return body


def _task(settings: CloudSettings, request: JobRequest, name: str) -> dict[str, Any]:
    container: dict[str, Any] = {"imageUri": request.image}
    if request.argv:
        container["commands"] = list(request.argv)
    task: dict[str, Any] = {
        "runnables": [{"container": container}],
        "environment": {"variables": job_environment(request, file_in_job(name))},
        "maxRetryCount": 0,
        "volumes": [
            {
                "gcs": {"remotePath": settings.outputs_bucket},
                "mountPath": MOUNT,
                "mountOptions": ["-o rw,allow_other", *(f"--{one}" for one in READABLE_BY_ALL)],
            }
        ],
    }
    if request.timeout is not None:
        task["maxRunDuration"] = f"{int(min(request.timeout, MAX_DURATION).total_seconds())}s"
    if shape := shape_of(machine_type(request)):
        # The whole machine. Without this, a task would get two processors and 2,000 MiB of it.
        task["computeResource"] = {"cpuMilli": str(shape.cpus * 1000), "memoryMib": str(shape.memory_mib)}
    return task


def _allocation(settings: CloudSettings, request: JobRequest) -> dict[str, Any]:
    machine = machine_type(request)
    instance: dict[str, Any] = {
        "policy": {"machineType": machine, "provisioningModel": "SPOT" if settings.spot else "STANDARD"}
    }
    if has_gpus(machine):
        instance["installGpuDrivers"] = True
    allocation: dict[str, Any] = {
        "instances": [instance],
        "location": {"allowedLocations": [f"regions/{settings.region}"]},
        "serviceAccount": {"email": settings.job_account},
    }
    if settings.network:
        interface = {"network": settings.network}
        if settings.subnetwork:
            interface["subnetwork"] = settings.subnetwork
        allocation["network"] = {"networkInterfaces": [interface]}
    return allocation


def _parent(project: str, region: str) -> str:
    return f"projects/{project}/locations/{region}"
