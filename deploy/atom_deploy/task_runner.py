"""The Task Runner that a deployment uses at the moment, as its dispatcher's settings say."""

from __future__ import annotations

from atom_deploy.deployment import Deployment
from atom_deploy.gcloud import Gcloud
from atom_deploy.problems import DeployProblem, Missing
from atom_deploy.resource import at
from atom_deploy.resources.functions import RUNNER


def url_in_use(deployment: Deployment, gcloud: Gcloud) -> str:
    """Return the URL to which jobs are submitted.

    Returns "" if nothing is deployed.
    """
    name = f"functions/{deployment.name('dispatcher')}"
    try:
        found = gcloud.look(("functions", "list", "--v2", f"--regions={deployment.region}")) or []
    except Missing:
        return ""
    dispatcher = next((one for one in found if str(at(one, "name")).endswith(f"/{name}")), None)
    return str(at(dispatcher, "serviceConfig.environmentVariables.WORKFLOW_TASK_RUNNER_URL") or "")


def uses_own_runner(deployment: Deployment, gcloud: Gcloud) -> bool:
    """Return True if the deployment's own Task Runner is in use.

    Its function may be gone all the same.
    """
    return _is_own(deployment, url_in_use(deployment, gcloud))


def check_kept(deployment: Deployment, gcloud: Gcloud) -> None:
    """Keep a forgotten URL from replacing someone's Task Runner.

    Raises `DeployProblem`, which names the URL.
    """
    if not deployment.has_runner:
        return
    url = url_in_use(deployment, gcloud)
    if url and not _is_own(deployment, url):
        raise DeployProblem(
            f"{deployment.prefix} submits its jobs to {url}. Add TASK_RUNNER_URL={url} to keep that, or "
            "OPTIONS=--own-runner to run jobs on Batch and Cloud Run from now on; nothing was changed"
        )


def _is_own(deployment: Deployment, url: str) -> bool:
    return url.removeprefix("https://").startswith(f"{deployment.name(RUNNER)}-")
