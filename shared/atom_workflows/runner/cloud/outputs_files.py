"""The file to which a job writes its outputs.

It is an object in a bucket that is mounted into the job. The bucket holds one object for each job that wrote outputs,
named after the job. The object is read whenever a caller asks for the status of a job that has succeeded, and is
removed only weeks later: a job may write it long before the job ends, and a caller may crash between receiving the
response and recording it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from atom_workflows.errors import OutputsUnusable
from atom_workflows.runner.cloud.cloud_settings import CloudSettings
from atom_workflows.runner.cloud.failures import raise_for_question
from atom_workflows.runner.cloud.rest import REMOVE_S, SHOW_S, Api, Call, GoogleRest
from atom_workflows.runner.cloud.times import read_time
from atom_workflows.runner.outputs import MAX_FILE_BYTES, read_outputs

MOUNT: Final = "/mnt/disks/atom-outputs"
"""The path at which jobs see the bucket. Batch's operating system allows mounts only below /mnt/disks."""

READABLE_BY_ALL: Final = ("file-mode=666", "dir-mode=777")
"""Options for gcsfuse. Without them, a container that does not run as root could not write its outputs."""

PAGE: Final = 200

_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """A job's outputs.

    `values` is None if the job wrote none; `problem` says why they cannot be used.
    """

    values: Mapping[str, Any] | None = None
    problem: str = ""


def file_in_job(name: str) -> str:
    """Return the path of the outputs file as the job sees it."""
    return f"{MOUNT}/{object_of(name)}"


def object_of(name: str) -> str:
    """Return the name of the object that holds a job's outputs."""
    return f"{name}{_SUFFIX}"


def read_call(settings: CloudSettings, name: str) -> Call:
    """Return the request that reads a job's outputs."""
    return Call(
        api=Api.STORAGE,
        method="GET",
        path=_object_path(settings, object_of(name)),
        query={"alt": "media"},
        total_s=SHOW_S,
        most_bytes=MAX_FILE_BYTES + 1,
    )


def list_call(settings: CloudSettings, start: str) -> Call:
    """Return the request that lists objects, starting from a name."""
    fields = "items(name,timeCreated),nextPageToken"
    query = {"maxResults": str(PAGE), "startOffset": start, "fields": fields}
    return Call(
        api=Api.STORAGE, method="GET", path=f"/storage/v1/b/{settings.outputs_bucket}/o", query=query, total_s=SHOW_S
    )


def delete_call(settings: CloudSettings, object_name: str) -> Call:
    """Return the request that removes an object."""
    return Call(api=Api.STORAGE, method="DELETE", path=_object_path(settings, object_name), total_s=REMOVE_S)


def fetch(rest: GoogleRest, settings: CloudSettings, name: str) -> Outputs:
    """Read the outputs of a job that has succeeded.

    Raises `GoogleUnavailable` if the bucket cannot be read, since that does not mean that there are no outputs.
    """
    reply = rest.send(read_call(settings, name))
    # If it is the bucket that does not exist, the answer says so in text, not JSON.
    if reply.status == HTTPStatus.NOT_FOUND and b"bucket does not exist" not in reply.content.lower():
        return Outputs()
    raise_for_question(reply, "Cloud Storage")
    try:
        return Outputs(values=read_outputs(reply.content))
    except OutputsUnusable as error:
        return Outputs(problem=str(error))


def written_before(listed: Mapping[str, Any], date: datetime) -> list[str]:
    """Return the names of the listed objects older than the date."""
    found = listed.get("items")
    objects = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    return [
        str(one.get("name", ""))
        for one in objects
        if (made := read_time(one.get("timeCreated"))) is not None and made < date
    ]


def _object_path(settings: CloudSettings, name: str) -> str:
    return f"/storage/v1/b/{settings.outputs_bucket}/o/{quote(name, safe='')}"
