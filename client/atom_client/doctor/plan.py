"""Compare a project with its deployment's plan, using gcloud.

This covers APIs, roles, indexes and the schedule. The installed package does not contain the plan. A checkout of the
repository does.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from shutil import which
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from atom_client.doctor.findings import Finding, ok, unknown, wrong
from atom_client.doctor.pubsub import Expected

if TYPE_CHECKING:
    from atom_deploy.deployment import Deployment
    from atom_deploy.inspection import Comparison

_ABOUT: Final = "settings"
_WHAT: Final = "APIs, roles, indexes and the schedule"
_NO_RUNNER: Final = "https://none.invalid"
_OF_FUNCTIONS: Final = ("WORKFLOW_BURST_SEC", "WORKFLOW_MAX_DELIVERIES")
"""The functions' settings that other resources depend on."""


def region_findings(expected: Expected) -> Iterator[Finding]:
    """Check the region, and yield any problem with it.

    The region may not exist, or the deployment may be in another region, in which case it would not be found.
    """
    try:
        from atom_deploy.gcloud import InstalledGcloud  # noqa: PLC0415 (not installed everywhere)
        from atom_deploy.problems import DeployProblem, WrongRegion  # noqa: PLC0415 (not installed everywhere)
        from atom_deploy.regions import check_place, check_regions  # noqa: PLC0415 (not installed everywhere)
    except ModuleNotFoundError:
        return
    if not _is_named(expected):
        return
    try:
        deployment = _deployment(expected)
        gcloud = InstalledGcloud(expected.settings.project) if which("gcloud") else None
        check_regions(deployment, gcloud)
        if gcloud is not None:
            check_place(deployment, gcloud)
    except WrongRegion as problem:
        yield wrong("region", str(problem), _give_region(expected))
    except DeployProblem:
        return  # The comparison with the plan reports every other problem.


def plan_findings(expected: Expected, *, bucket: str, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Compare the project with the plan of its deployment.

    Yields one finding that covers everything that is as planned, and one for each difference.
    """
    try:
        from atom_deploy.gcloud import InstalledGcloud  # noqa: PLC0415 (not installed everywhere)
        from atom_deploy.inspection import State, compare_with_plan  # noqa: PLC0415 (not installed everywhere)
        from atom_deploy.problems import DeployProblem  # noqa: PLC0415 (not installed everywhere)
        from atom_deploy.task_runner import uses_own_runner  # noqa: PLC0415 (not installed everywhere)
    except ModuleNotFoundError:
        settings, prefix = expected.settings, expected.settings.topic_prefix.removesuffix("-")
        command = f"make doctor PROJECT={settings.project} REGION={expected.region} PREFIX={prefix}"
        yield unknown(_ABOUT, f"{_WHAT} can be compared only in a checkout of the repository", command)
        return
    if not _is_named(expected):
        yield unknown(
            _ABOUT, f"{_WHAT} can be compared only if the region and the prefix are known", _give_region(expected)
        )
        return
    try:
        given = {name: environment[name] for name in _OF_FUNCTIONS if environment.get(name)}
        deployment = _deployment(expected, bucket=bucket, environment=given)
        gcloud = InstalledGcloud(expected.settings.project)
        if uses_own_runner(deployment, gcloud):
            deployment = replace(deployment, task_runner_url="")
    except DeployProblem as problem:
        yield unknown(_ABOUT, str(problem))
        return
    counts: Counter[State] = Counter()
    for one in compare_with_plan(deployment, gcloud):
        counts[one.state] += 1
        if one.state is not State.AS_PLANNED:
            yield _finding(one, expected)
    if counts[State.AS_PLANNED]:
        yield ok(_ABOUT, f"{counts[State.AS_PLANNED]} of {counts.total()} resources are as planned")


def _finding(one: Comparison, expected: Expected) -> Finding:
    about = f"{one.kind} {one.name}"
    if one.state.value == "unseen":
        return unknown(about, one.detail)
    if one.state.value == "refused":
        return wrong(about, one.detail, one.fix or "docs/how-to/deploy.md explains what to do")
    detail = f"it is missing ({one.detail})" if one.state.value == "missing" else f"it should be: {one.detail}"
    return wrong(about, detail, one.fix or expected.fix_all)


def _is_named(expected: Expected) -> bool:
    """Return True if the region and the prefix are known."""
    return expected.has_region and expected.settings.topic_prefix.endswith("-")


def _deployment(
    expected: Expected, *, bucket: str = "", environment: Mapping[str, str] = MappingProxyType({})
) -> Deployment:
    from atom_deploy.deployment import Deployment  # noqa: PLC0415 (not installed everywhere)

    settings = expected.settings
    return Deployment(
        project=settings.project,
        region=expected.region,
        task_runner_url=_NO_RUNNER,
        prefix=settings.topic_prefix.removesuffix("-"),
        database=settings.database,
        bucket=bucket,
        object_prefix=settings.object_prefix,
        environment=environment,
    )


def _give_region(expected: Expected) -> str:
    return f"give its prefix and --region, which `gcloud functions list --project={expected.settings.project}` shows"
