"""cloudbuild.yaml: gcloud takes it, its references hold, and its steps do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from atom_deploy.functions import FUNCTIONS
from deploy.conftest import RUNNER_URL, Site
from deploy.fake_cloud import PROJECT

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
BUILD: Final[dict[str, Any]] = yaml.safe_load(TEXT)
STEPS: Final[dict[str, dict[str, Any]]] = {step["id"]: step for step in BUILD["steps"]}


def submit(site: Site, config: Path) -> subprocess.CompletedProcess[str]:
    """Let gcloud read a file and ask for its build."""
    command = ["gcloud", "builds", "submit", "--no-source", f"--config={config}", "--async", f"--project={PROJECT}"]
    environment = {**os.environ, **site.environment}
    return subprocess.run(command, env=environment, capture_output=True, check=False, text=True)


def test_gcloud_takes_it(site: Site) -> None:
    """Parsed by gcloud as Cloud Build's own resource: account, logging and every step arrive as they are written."""
    ended = submit(site, ROOT / "cloudbuild.yaml")
    assert ended.returncode == 0, ended.stderr
    [sent] = site.cloud.sent("POST", "/builds")
    assert sent["serviceAccount"] == BUILD["serviceAccount"]
    assert sent["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert [(step["id"], step["name"], step["args"]) for step in sent["steps"]] == [
        (name, step["name"], step["args"]) for name, step in STEPS.items()
    ]


@pytest.mark.parametrize(("written", "instead"), [("entrypoint: make", "entrypiont: make"), ("timeout:", "time:")])
def test_gcloud_would_refuse_a_mistake(site: Site, tmp_path: Path, written: str, instead: str) -> None:
    """A field that Cloud Build does not have is refused, so the test above says something."""
    (tmp_path / "cloudbuild.yaml").write_text(TEXT.replace(written, instead))
    ended = submit(site, tmp_path / "cloudbuild.yaml")
    assert ended.returncode == 1
    assert instead.partition(":")[0] in ended.stderr


def test_every_substitution_is_declared_and_used() -> None:
    """Cloud Build refuses a build that has one without the other."""
    used = set(re.findall(r"\$(_\w+)", TEXT))
    assert used == set(BUILD["substitutions"])
    assert set(re.findall(r"\$([A-Z]\w+)", TEXT)) == {"PROJECT_ID"}


def test_checks_come_before_the_deployment() -> None:
    """Lint, types, tests, stage, deploy: one after the other, the first failure ends the build."""
    assert list(STEPS) == ["lint", "types", "tests", "stage", "deploy"]
    assert not any("waitFor" in step or step.get("allowFailure") for step in BUILD["steps"])


@pytest.mark.parametrize("name", ["lint", "types", "tests"])
def test_a_check_is_a_target_of_make(name: str) -> None:
    """What is run is what a developer runs."""
    step = STEPS[name]
    ended = subprocess.run([step["entrypoint"], "-n", *step["args"]], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


def run_step(site: Site, name: str, folder: Path, substitutions: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a step's command in a copy of the sources, with nothing but what a build gives it."""

    def filled(text: str) -> str:
        return re.sub(r"\$(\w+)", lambda match: substitutions[match[1]], text)

    given = dict(one.split("=") for one in BUILD["options"]["env"])
    # The image's Python has no packages; -S takes ours away.
    command = [sys.executable, "-S", *map(filled, STEPS[name]["args"])]
    return subprocess.run(
        command, cwd=folder, env={**site.environment, **given}, capture_output=True, check=False, text=True
    )


def test_the_last_steps_stage_and_deploy(empty_site: Site, tmp_path: Path) -> None:
    """They run in a bare checkout, with Python's standard library and gcloud alone."""
    for folder in ("deploy", "shared", "functions"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    substitutions = {**BUILD["substitutions"], "PROJECT_ID": PROJECT, "_TASK_RUNNER_URL": RUNNER_URL}
    staged = run_step(empty_site, "stage", tmp_path, substitutions)
    assert staged.returncode == 0, staged.stderr
    deployed = run_step(empty_site, "deploy", tmp_path, substitutions)
    assert deployed.returncode == 0, deployed.stderr
    place = f"projects/{PROJECT}/locations/us-central1/functions"
    assert [empty_site.cloud.memory.get(f"{place}/atom-{name}") is not None for name in FUNCTIONS] == [True] * 3


def test_a_build_without_a_task_runner_says_so(site: Site, tmp_path: Path) -> None:
    """The one substitution that has no default is asked for."""
    for folder in ("deploy", "shared", "functions"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    substitutions = {**BUILD["substitutions"], "PROJECT_ID": PROJECT}
    ended = run_step(site, "deploy", tmp_path, substitutions)
    assert ended.returncode == 1
    assert "TASK_RUNNER_URL is ''" in ended.stderr
