"""cloudbuild*.yaml: gcloud takes them, their references hold, and their steps do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from atom_deploy.resources.functions import FUNCTIONS
from deploy.conftest import RUNNER_URL, Site
from deploy.fake_cloud import PROJECT

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
BUILD: Final[dict[str, Any]] = yaml.safe_load(TEXT)
STEPS: Final[dict[str, dict[str, Any]]] = {step["id"]: step for step in BUILD["steps"]}
CHECKS: Final[dict[str, Any]] = yaml.safe_load((ROOT / "cloudbuild.checks.yaml").read_text(encoding="utf-8"))
BUILDS: Final = {"cloudbuild.yaml": BUILD, "cloudbuild.checks.yaml": CHECKS}


def submit(site: Site, config: Path) -> subprocess.CompletedProcess[str]:
    """Let gcloud read a file and ask for its build."""
    command = ["gcloud", "builds", "submit", "--no-source", f"--config={config}", "--async", f"--project={PROJECT}"]
    environment = {**os.environ, **site.environment}
    return subprocess.run(command, env=environment, capture_output=True, check=False, text=True)


@pytest.mark.parametrize("name", BUILDS)
def test_gcloud_sends_a_build_as_written(site: Site, name: str) -> None:
    """Gcloud sends the account, the logging and every step as written."""
    ended = submit(site, ROOT / name)
    assert ended.returncode == 0, ended.stderr
    sent = site.cloud.sent("POST", "/builds")[-1]
    assert sent["serviceAccount"] == BUILDS[name]["serviceAccount"]
    assert sent["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert [(step["id"], step["name"], step["args"]) for step in sent["steps"]] == [
        (step["id"], step["name"], step["args"]) for step in BUILDS[name]["steps"]
    ]


@pytest.mark.parametrize(("written", "instead"), [("entrypoint:", "entrypiont:"), ("timeout:", "time:")])
def test_gcloud_would_refuse_a_mistake(site: Site, tmp_path: Path, written: str, instead: str) -> None:
    """Gcloud refuses a field that Cloud Build does not have."""
    (tmp_path / "cloudbuild.yaml").write_text(TEXT.replace(written, instead))
    ended = submit(site, tmp_path / "cloudbuild.yaml")
    assert ended.returncode == 1
    assert instead.partition(":")[0] in ended.stderr


def test_every_substitution_is_declared_and_used() -> None:
    """Cloud Build refuses a build that has one without the other."""
    used = set(re.findall(r"\$(_\w+)", TEXT))
    assert used == set(BUILD["substitutions"])
    assert set(re.findall(r"\$([A-Z]\w+)", TEXT)) == {"PROJECT_ID"}


def test_steps_come_one_after_the_other() -> None:
    """A build's steps run in order, and the first failure ends it."""
    assert [step["id"] for step in CHECKS["steps"]] == ["lint", "types", "docs", "tests"]
    assert list(STEPS) == ["stage", "deploy"]
    assert not any(
        "waitFor" in step or step.get("allowFailure") for build in BUILDS.values() for step in build["steps"]
    )


def test_what_is_installed_for_checks_cannot_deploy() -> None:
    """Only the build whose account may do nothing installs packages.

    Steps of one build share its account, so a step of its own would not do.
    """
    account = "projects/$PROJECT_ID/serviceAccounts/atom-{}@$PROJECT_ID.iam.gserviceaccount.com"
    assert CHECKS["serviceAccount"] == account.format("checks")
    assert BUILD["serviceAccount"] == account.format("deploy")
    assert {(step["entrypoint"], step["args"][1]) for step in BUILD["steps"]} == {("python3", "atom_deploy")}


@pytest.mark.parametrize("image", sorted({step["name"] for build in BUILDS.values() for step in build["steps"]}))
def test_an_image_has_a_version(image: str) -> None:
    """Each image has a full version, with or without its digest."""
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-\w+(@sha256:[0-9a-f]{64})?", image)


@pytest.mark.parametrize("step", CHECKS["steps"], ids=lambda step: str(step["id"]))
def test_a_check_is_a_target_of_make(step: dict[str, Any]) -> None:
    """Each check is a target of make."""
    ended = subprocess.run([step["entrypoint"], "-n", *step["args"]], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


def run_step(site: Site, name: str, folder: Path, substitutions: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a step's command in a copy of the sources, as a build does."""

    def filled(text: str) -> str:
        return re.sub(r"\$(\w+)", lambda match: substitutions[match[1]], text)

    given = dict(one.split("=") for one in BUILD["options"]["env"])
    # The image's Python has no packages; -S takes ours away.
    command = [sys.executable, "-S", *map(filled, STEPS[name]["args"])]
    return subprocess.run(
        command, cwd=folder, env={**site.environment, **given}, capture_output=True, check=False, text=True
    )


def test_the_last_steps_stage_and_deploy(empty_site: Site, tmp_path: Path) -> None:
    """Staging and deploying take only the standard library and gcloud."""
    for folder in ("deploy", "shared", "functions"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    substitutions = {**BUILD["substitutions"], "PROJECT_ID": PROJECT, "_TASK_RUNNER_URL": RUNNER_URL}
    staged = run_step(empty_site, "stage", tmp_path, substitutions)
    assert staged.returncode == 0, staged.stderr
    deployed = run_step(empty_site, "deploy", tmp_path, substitutions)
    assert deployed.returncode == 0, deployed.stderr
    place = f"projects/{PROJECT}/locations/us-central1/functions"
    assert [empty_site.cloud.memory.get(f"{place}/atom-{name}") is not None for name in FUNCTIONS] == [True] * 3


def test_a_build_needs_no_task_runner(site: Site, tmp_path: Path) -> None:
    """A build without a Task Runner's address deploys one, and may say which images it runs."""
    for folder in ("deploy", "shared", "functions"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    substitutions = {**BUILD["substitutions"], "PROJECT_ID": PROJECT, "_RUNNER_IMAGES": "*"}
    ended = run_step(site, "deploy", tmp_path, substitutions)
    assert (ended.returncode, "--runner-images is '*'" in ended.stderr) == (1, True)
    substitutions["_RUNNER_IMAGES"] = "docker.io/acme/,ghcr.io/acme/"
    ended = run_step(replace(site, environment={"PATH": ""}), "deploy", tmp_path, substitutions)
    assert ended.stderr.startswith("gcloud is not installed")
