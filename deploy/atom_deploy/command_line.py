"""The command line's options, and the deployment that they describe."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from atom_deploy.deployment import DEFAULT_DATABASE, DEFAULT_PREFIX, MAX_INSTANCES, Deployment
from atom_deploy.problems import DeployProblem
from atom_workflows.settings import ENV_PREFIX, NO_TOKEN

STAGED: Final = Path("build") / "staged"

_SUBMITS: Final = frozenset({"deploy", "plan"})
"""The verbs for which it matters where jobs are submitted."""

_MAKES: Final = frozenset({"deploy", "plan", "deployer"})
"""The verbs that may fall back to a default region; any other verb would overlook resources in another region."""

_HERE: Final = "us-central1"
"""The default region of a deployment."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SETTING: Final = re.compile(r"WORKFLOW_[A-Z][A-Z0-9_]*")

_NOWHERE: Final = "https://not-needed.invalid"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    whole = argparse.ArgumentParser(prog="atom_deploy", description="Deploys Atom Workflows to a Google Cloud project.")
    verbs = whole.add_subparsers(dest="verb", required=True)
    staging = verbs.add_parser("stage", help="prepare the folders to deploy")
    staging.add_argument("--out", type=Path, default=STAGED, help="the output folder (default: %(default)s)")
    _add(verbs.add_parser("plan", help="print every resource and the commands that create it; run none of them"))
    deploying = _add(verbs.add_parser("deploy", help="create what is missing and change what differs"))
    deploying.add_argument("--staged", type=Path, help="a folder staged earlier")
    deploying.add_argument(
        "--own-runner",
        action="store_true",
        help="replace the Task Runner in use with the deployment's own",
    )
    removing = _add(verbs.add_parser("destroy", help="remove everything except the data"), region="")
    removing.add_argument(
        "--delete-data", action="store_true", help="also remove the bucket, the database and the dead letters"
    )
    making = _add(verbs.add_parser("deployer", help="create the account that cloudbuild.yaml runs as"))
    for changing in (deploying, removing, making):
        changing.add_argument("--dry-run", action="store_true", help="change nothing, and print what would be done")
    return whole


def deployment(options: argparse.Namespace) -> Deployment:
    """Return the deployment that the options describe.

    Raises `DeployProblem`.
    """
    if not options.region and options.verb not in _MAKES:
        raise DeployProblem(
            "REGION is not set; it is the only region searched for the functions and the tick: "
            f"`gcloud functions list --project={options.project or 'PROJECT'}` shows where they are"
        )
    return Deployment(
        project=options.project,
        region=options.region,
        task_runner_url=options.task_runner_url.rstrip("/") or ("" if options.verb in _SUBMITS else _NOWHERE),
        prefix=options.prefix,
        bucket=options.bucket.removeprefix("gs://").rstrip("/"),
        database=options.database,
        database_location=options.database_location,
        task_runner_service=options.task_runner_service,
        task_runner_region=options.task_runner_region,
        runner_images=tuple(part for one in options.runner_images for part in one.split(",") if part),
        runner_spot=options.runner_spot,
        token_file=options.token_file,
        object_prefix=options.object_prefix,
        environment={**_environment(options.set), **_env(options.env)},
        runtime=options.runtime,
        max_instances=options.max_instances,
        alerts=options.alerts or any(options.alert_channel) or bool(options.alert_email),
        alert_channels=tuple(filter(None, options.alert_channel)),
        alert_email=options.alert_email,
    )


def _add(verb: argparse.ArgumentParser, *, region: str = _HERE) -> argparse.ArgumentParser:
    verb.add_argument("--project", required=True, help="the project's id")
    default = "default: %(default)s" if region else "required"
    verb.add_argument("--region", default=region, help=f"where the functions run ({default})")
    verb.add_argument("--task-runner-url", default="", help="a Task Runner of your own (default: one is deployed)")
    verb.add_argument("--prefix", default=DEFAULT_PREFIX, help="the prefix of all names (default: %(default)s)")
    verb.add_argument("--bucket", default="", help="the bucket for workflow files (default: PROJECT-PREFIX-workflows)")
    verb.add_argument("--database", default=DEFAULT_DATABASE, help="the Firestore database (default: %(default)s)")
    verb.add_argument(
        "--database-location",
        default="",
        help="the database's location, which can never be changed (default: the region)",
    )
    verb.add_argument(
        "--task-runner-service",
        default="",
        help="the Task Runner's Cloud Run service, which the functions are then allowed to call",
    )
    verb.add_argument("--task-runner-region", default="", help="the region of that service (default: the region)")
    verb.add_argument(
        "--runner-images",
        action="append",
        default=[],
        metavar="PREFIX",
        help="the prefix of images that jobs may run (default: the project's Artifact Registry)",
    )
    verb.add_argument("--runner-spot", action="store_true", help="run Batch jobs on Spot VMs")
    verb.add_argument(
        "--token-file",
        type=lambda text: Path(text) if text else None,
        help="a file with a fixed token for the Task Runner",
    )
    verb.add_argument(
        "--object-prefix", default="workflows/", help="the prefix of uploads that start runs (default: %(default)s)"
    )
    verb.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a further setting of the functions"
    )
    verb.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a value that workflow files read as env.NAME"
    )
    verb.add_argument("--runtime", default="python313", help="the functions' runtime (default: %(default)s)")
    verb.add_argument(
        "--max-instances",
        type=_instances,
        default=MAX_INSTANCES,
        help="the maximum number of instances of each function (default: %(default)s)",
    )
    verb.add_argument("--alerts", action="store_true", help="create the alert policies")
    verb.add_argument("--alert-email", default="", help="an e-mail address for the alerts; a channel is created for it")
    verb.add_argument("--alert-channel", action="append", default=[], help="a notification channel for the alerts")
    return verb


def _instances(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= 1_000:  # noqa: PLR2004 (what Cloud Run takes)
        raise argparse.ArgumentTypeError("it must be a number from 1 to 1000")
    return number


def _environment(settings: Sequence[str]) -> dict[str, str]:
    found = dict(one.partition("=")[::2] for one in settings)
    for name, value in found.items():
        # Angle brackets mark placeholders for values that are known only later.
        if not _SETTING.fullmatch(name) or not value.isprintable() or set(value) & set("<>"):
            raise DeployProblem(
                f"--set {name}={value!r:.100}: a setting is WORKFLOW_SOMETHING=VALUE, on one line, without < and >"
            )
        if name == "WORKFLOW_TR_AUTH_JWT" and value != NO_TOKEN:
            raise DeployProblem("--set WORKFLOW_TR_AUTH_JWT would expose the token; use --token-file")
    return found


def _env(texts: Sequence[str]) -> dict[str, str]:
    """Return the settings that workflow files read as `env.NAME`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not _NAME.fullmatch(name) or not value.isprintable() or set(value) & set("<>"):
            raise DeployProblem(
                f"--env is {text!r:.100}, but must be NAME=VALUE: a name of letters, digits and _, and a value on one "
                "line, without < and >"
            )
        if f"{ENV_PREFIX}{name}" in found:
            raise DeployProblem(f"--env names {name} twice; leave one out")
        found[f"{ENV_PREFIX}{name}"] = value
    return found
