"""The functions, the secret some read, and the services all resources need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from atom_deploy.deployment import Deployment
from atom_deploy.problems import DeployProblem
from atom_deploy.resource import Check, Command, Resource, is_at, one_with

FUNCTIONS: Final = {
    "start": "reads a workflow and seeds its run",
    "dispatcher": "submits ready steps and settles attempts that ended",
    "checker": "polls jobs, and repairs what was lost",
}
"""The coordinator's functions, which every deployment has."""

RUNNER: Final = "runner"

ALL_FUNCTIONS: Final = {**FUNCTIONS, RUNNER: "runs jobs on Batch and Cloud Run"}
"""All functions of a deployment with its own Task Runner."""

READS_TOKEN: Final = frozenset({"dispatcher", "checker"})

SERVICES: Final = {
    "artifactregistry": "keeps the functions' images",
    "cloudbuild": "builds them",
    "cloudfunctions": "the functions",
    "cloudresourcemanager": "the project's grants",
    "cloudscheduler": "the tick",
    "firestore": "the state",
    "iam": "the service accounts",
    "iamcredentials": "ID tokens of an impersonated account",
    "logging": "the functions' logs",
    "monitoring": "metrics and alerts",
    "pubsub": "the events",
    "run": "the services that the platform uses",
    "secretmanager": "a fixed token, if there is one",
    "serviceusage": "enables the others",
    "storage": "the bucket",
}

RUNNER_SERVICES: Final = {
    "batch": "jobs",
    "compute": "the machines of jobs",
}
"""The APIs needed only for a deployment's own Task Runner."""

_SIGNS: Final = "@|;~!%#&+$*?"

DIGEST_LABEL: Final = "atom-digest"


def services(*, with_runner: bool) -> Resource:
    """Return the APIs.

    They stay enabled, since others may use them.
    """
    needed = sorted({**SERVICES, **(RUNNER_SERVICES if with_runner else {})})
    names = [f"{name}.googleapis.com" for name in needed]
    enable = ("services", "enable", *names)
    return Resource(
        kind="services",
        name=f"{len(names)} APIs",
        why=", ".join(needed),
        look=("services", "list", "--enabled"),
        takes="a minute or two",
        checks=tuple(
            Check(expectation=name, holds=lambda found, _, name=name: name in _enabled(found), fix=enable)  # type: ignore[misc]  # mypy infers no type for a lambda with a default
            for name in names
        ),
    )


def secret(deployment: Deployment) -> Resource:
    """Return the secret that holds the Task Runner's fixed token.

    The token never appears in a command, a log or a function's settings.
    """
    name, digest = deployment.name("task-runner-token"), deployment.token_digest
    labelled = ("secrets", "update", name, f"--update-labels=token-digest={digest}")
    return Resource(
        kind="secret",
        name=name,
        why="the fixed token that is sent to the Task Runner",
        look=("secrets", "list"),
        pick=one_with("name", f"secrets/{name}"),
        create=(
            (
                "secrets",
                "create",
                name,
                # Where the organisation's policies allow only some locations, automatic replication is refused.
                "--replication-policy=user-managed",
                f"--locations={deployment.region}",
                f"--data-file={deployment.token_file}",
                f"--labels=token-digest={digest}",
            ),
        ),
        checks=(
            Check(
                expectation="the token in the file",
                holds=is_at("labels.token-digest", digest),
                fix=("secrets", "versions", "add", name, f"--data-file={deployment.token_file}"),
            ),
            Check(expectation="its label", holds=is_at("labels.token-digest", digest), fix=labelled),
        ),
        remove=(("secrets", "delete", name),),
    )


def functions(deployment: Deployment, staged: Path, digests: Mapping[str, str]) -> list[Resource]:
    """Return the coordinator's functions.

    `digests` maps each name to the digest of its staged folder.
    """
    return [_function(deployment, name, staged / name, digests[name]) for name in FUNCTIONS]


def runner(deployment: Deployment, staged: Path, digests: Mapping[str, str]) -> Resource:
    """Return the runner function.

    The others get its URL, so it has to exist before them.
    """
    return _function(deployment, RUNNER, staged / RUNNER, digests[RUNNER])


def _function(deployment: Deployment, function: str, source: Path, content: str) -> Resource:
    name = deployment.name(function)
    flags = _flags(deployment, function)
    digest = hashlib.sha256("\0".join((content, deployment.token_digest, *flags)).encode()).hexdigest()[:40]
    deploy = ("functions", "deploy", name, *flags, f"--source={source}", f"--update-labels={DIGEST_LABEL}={digest}")
    place = f"--region={deployment.region}"
    return Resource(
        kind="function",
        name=name,
        why=ALL_FUNCTIONS[function],
        look=("functions", "list", "--v2", f"--regions={deployment.region}"),
        pick=one_with("name", f"functions/{name}"),
        create=(deploy,),
        checks=(
            Check(expectation="the same code and settings", holds=is_at(f"labels.{DIGEST_LABEL}", digest), fix=deploy),
            Check(expectation="active", holds=is_at("state", "ACTIVE"), fix=deploy),
        ),
        remove=(("functions", "delete", name, "--gen2", place),),
        takes="some minutes",
        learns={f"{function}-url": "serviceConfig.uri"},
    )


def _flags(deployment: Deployment, function: str) -> Command:
    shape = deployment.shapes[function]
    settings = deployment.runner_environment if function == RUNNER else deployment.function_environment
    environment = {**settings, "THREADS": str(shape.concurrency)}
    token = deployment.token_file and function in READS_TOKEN
    secret_name = deployment.name("task-runner-token")
    return (
        "--gen2",
        f"--region={deployment.region}",
        f"--runtime={deployment.runtime}",
        f"--entry-point={function}",
        "--trigger-http",
        "--no-allow-unauthenticated",
        f"--service-account={deployment.account(function)}",
        f"--build-service-account=projects/{deployment.project}/serviceAccounts/{deployment.account('build')}",
        f"--memory={shape.memory}",
        f"--cpu={shape.cpu}",
        f"--concurrency={shape.concurrency}",
        "--min-instances=0",
        f"--max-instances={shape.max_instances}",
        f"--timeout={shape.timeout_s}s",
        f"--ingress-settings={shape.ingress}",
        f"--set-env-vars={_env_vars_value(environment)}",
        f"--set-secrets=WORKFLOW_TR_AUTH_JWT={secret_name}:latest" if token else "--clear-secrets",
    )


def _env_vars_value(environment: Mapping[str, str]) -> str:
    """Return the variables as one flag's value, joined by an unused character.

    gcloud reads that character between two carets. A fixed character might occur in a value, and the rest of that value
    would then become another variable.
    """
    texts = [f"{name}={value}" for name, value in sorted(environment.items())]
    sign = next((one for one in _SIGNS if not any(one in text for text in texts)), None)
    if sign is None:
        raise DeployProblem(
            f"the functions' settings use each of {' '.join(_SIGNS)}; remove one of these characters from the settings"
        )
    return f"^{sign}^{sign.join(texts)}"


def _enabled(found: object) -> set[str]:
    services_found = found if isinstance(found, list) else []
    return {str(one.get("config", {}).get("name") or one.get("name", "")).rpartition("/")[2] for one in services_found}
