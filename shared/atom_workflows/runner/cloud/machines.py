"""Machine types for `scaleTier` and `masterType`, and Cloud Run's limits."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from atom_workflows.errors import RequestRefused
from atom_workflows.runner.request import JobRequest

CUSTOM: Final = "CUSTOM"

TIERS: Final = MappingProxyType(
    {"": "e2-standard-2", "BASIC": "e2-standard-2", "STANDARD_1": "e2-standard-8", "PREMIUM_1": "e2-highmem-16"}
)
"""The machine type of each `scaleTier`; a `masterType` takes precedence."""

CLOUD_RUN_CPUS: Final = (1, 2, 4, 8)
CLOUD_RUN_MIB_PER_CPU: Final = 4096
"""The maximum memory per processor: https://cloud.google.com/run/docs/configuring/jobs/memory-limits."""

_MIB_PER_CPU: Final = MappingProxyType({"standard": 4096, "highmem": 8192, "highcpu": 1024})
_MIB_PER_CPU_OF_N1: Final = MappingProxyType({"standard": 3840, "highmem": 6656, "highcpu": 920})
_SHAPED: Final = re.compile(r"(?P<family>e2|n1|n2|n2d)-(?P<class>standard|highmem|highcpu)-(?P<cpus>[0-9]{1,3})")
_TYPE: Final = re.compile(r"[a-z][a-z0-9]{0,9}-[a-z0-9-]{1,40}")
_WITH_GPUS: Final = re.compile(r"[ag][0-9]")
"""The machine families that come with GPUs, such as a2, a3 and g2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The processors and the memory of a machine type."""

    cpus: int
    memory_mib: int


def machine_type(request: JobRequest) -> str:
    """Return the machine type that a submission requests.

    Raises `RequestRefused` if it does not name a valid machine type.
    """
    if request.master_type:
        if not _TYPE.fullmatch(request.master_type):
            raise RequestRefused(
                f"masterType is {request.master_type!r:.100}, but must be a machine type, such as e2-standard-4"
            )
        return request.master_type
    tier = request.scale_tier.upper()
    if tier in TIERS:
        return TIERS[tier]
    if tier == CUSTOM:
        raise RequestRefused("scaleTier CUSTOM needs a masterType, such as e2-standard-4")
    known = ", ".join(filter(None, TIERS))
    raise RequestRefused(
        f"scaleTier is {request.scale_tier!r:.100}, but must be {known} or {CUSTOM}; "
        "to use another machine, set masterType"
    )


def has_gpus(machine: str) -> bool:
    """Return True if machines of this type have GPUs."""
    return bool(_WITH_GPUS.match(machine))


def shape_of(machine: str) -> Shape | None:
    """Return the shape of a machine type.

    Returns None if the name does not reveal it.
    """
    found = _SHAPED.fullmatch(machine)
    if found is None:
        return None
    per_cpu = (_MIB_PER_CPU_OF_N1 if found["family"] == "n1" else _MIB_PER_CPU)[found["class"]]
    cpus = int(found["cpus"])
    return Shape(cpus=cpus, memory_mib=cpus * per_cpu) if cpus else None


def cloud_run_shape(machine: str) -> Shape:
    """Return the size of a Cloud Run job for this machine type.

    If the machine has a lot of memory, the job gets as many processors as Cloud Run requires for it. Raises
    `RequestRefused` for a machine that is too large for Cloud Run, or whose shape is not known.
    """
    shape = shape_of(machine)
    needed = max(shape.cpus, -(-shape.memory_mib // CLOUD_RUN_MIB_PER_CPU)) if shape else 0
    cpus = next((cpus for cpus in CLOUD_RUN_CPUS if cpus >= needed), 0)
    if shape is None or shape.cpus not in CLOUD_RUN_CPUS or not cpus:
        raise RequestRefused(
            f"a job on Cloud Run cannot use the machine type {machine}: such a job can have at most "
            "8 processors and 32 GiB, as with e2-standard-8 or e2-highmem-4; leave out engine to run it on Batch"
        )
    return replace(shape, cpus=cpus)
