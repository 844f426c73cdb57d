"""The Task Runner that a deployment currently uses, according to its functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from atom_deploy.deployment import Deployment
from atom_deploy.gcloud import Gcloud
from atom_deploy.problems import DeployProblem, Missing
from atom_deploy.resource import at
from atom_deploy.resources.functions import DIGEST_LABEL, RUNNER


@dataclass(frozen=True, slots=True, kw_only=True)
class _InUse:
    """The URL to which jobs are submitted, "" if nothing is deployed, and whether it is the own runner's."""

    url: str
    is_own: bool


def uses_own_runner(deployment: Deployment, gcloud: Gcloud) -> bool:
    """Return True if the deployment's own Task Runner is in use.

    Even so, its function may be gone.
    """
    return _find_in_use(deployment, gcloud).is_own


def check_kept(deployment: Deployment, gcloud: Gcloud) -> None:
    """Keep a Task Runner from being replaced because its URL was omitted.

    Raises `DeployProblem`, which names the URL.
    """
    if not deployment.has_runner:
        return
    found = _find_in_use(deployment, gcloud)
    if found.url and not found.is_own:
        raise DeployProblem(
            f"{deployment.prefix} submits its jobs to {found.url}. Add TASK_RUNNER_URL={found.url} to keep that, or "
            "OPTIONS=--own-runner to run jobs on Batch and Cloud Run from now on; nothing was changed"
        )


def _find_in_use(deployment: Deployment, gcloud: Gcloud) -> _InUse:
    try:
        listed = gcloud.look(("functions", "list", "--v2", f"--regions={deployment.region}")) or []
    except Missing:
        return _InUse(url="", is_own=False)
    dispatcher = _find(listed, deployment.name("dispatcher"))
    url = str(at(dispatcher, "serviceConfig.environmentVariables.WORKFLOW_TASK_RUNNER_URL") or "")
    runner = _find(listed, deployment.name(RUNNER))
    if runner is None:
        return _InUse(url=url, is_own=_looks_own(deployment, url))
    # Someone else's function of that name has no such label.
    urls = {str(at(runner, "serviceConfig.uri")).rstrip("/"), str(at(runner, "url")).rstrip("/")}
    return _InUse(url=url, is_own=bool(at(runner, f"labels.{DIGEST_LABEL}")) and url.rstrip("/") in urls)


def _find(listed: Sequence[object], name: str) -> object | None:
    return next((one for one in listed if str(at(one, "name")).endswith(f"/functions/{name}")), None)


def _looks_own(deployment: Deployment, url: str) -> bool:
    """Return True if a URL could belong to the deleted runner function.

    A service of Cloud Run has the address NAME-HASH-REGION.a.run.app or NAME-PROJECT_NUMBER.REGION.run.app. Other
    services, whose names merely begin with the function's name, have more parts.
    """
    name = re.escape(deployment.name(RUNNER))
    return re.fullmatch(rf"https://{name}-([a-z0-9]+-[a-z]+\.a|[0-9]+\.[a-z0-9-]+)\.run\.app/?", url) is not None
