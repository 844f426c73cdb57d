"""Job ids, which encode where and when a job was created.

The name of a job is a hash of its idempotency key, so a repeated submission finds the same job. Only the id used in the
contract also contains the time of creation. Right after a job is created, an API may not find it yet, and only this
time distinguishes such a job from one that is gone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from atom_workflows.errors import JobNotFound

GRACE: Final = timedelta(minutes=5)
"""The age up to which a job that cannot be found is assumed to be too new to be visible."""

NAME_PREFIX: Final = "aw-"

_HASH_DIGITS: Final = 40
"""Cloud Run allows 63 characters for a job's name and its execution's suffix combined."""

_ID: Final = re.compile(
    rf"(?P<engine>batch|run):(?P<region>[a-z]+-[a-z]+[0-9]{{1,2}}):(?P<name>{NAME_PREFIX}[0-9a-f]{{{_HASH_DIGITS}}}):"
    r"(?P<created>[0-9]{1,11})"
)


class Engine(StrEnum):
    """The service that runs a job.

    The value is the first part of the job's id.
    """

    BATCH = "batch"
    CLOUD_RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The location and creation time of a job."""

    engine: Engine
    region: str
    name: str
    created: datetime

    @property
    def job_id(self) -> str:
        """The `jobId` that callers of the Task Runner see."""
        return f"{self.engine}:{self.region}:{self.name}:{int(self.created.timestamp())}"

    def is_new(self, now: datetime) -> bool:
        """Return True if the job may not be visible yet."""
        return abs(now - self.created) < GRACE


def read_place(job_id: str) -> Place:
    """Return the location and creation time that a job id contains.

    Raises `JobNotFound` for an id that this Task Runner did not issue.
    """
    found = _ID.fullmatch(job_id)
    if found is None:
        raise JobNotFound(job_id)
    return Place(
        engine=Engine(found["engine"]),
        region=found["region"],
        name=found["name"],
        created=datetime.fromtimestamp(int(found["created"]), UTC),
    )


def name_of(key: str, deployment: str) -> str:
    """Return the job name for an idempotency key.

    Deployments in the same project never share a job, even if their keys are the same.
    """
    digest = hashlib.sha256(f"{deployment}\0{key}".encode()).hexdigest()
    return f"{NAME_PREFIX}{digest[:_HASH_DIGITS]}"
