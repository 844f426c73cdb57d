"""The Pub/Sub part of the plan, deployed by gcloud onto Google's own emulator, and a run that goes through it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from google.cloud import firestore, pubsub_v1

from atom_deploy.apply import Application, Outcome
from atom_deploy.deployment import Deployment
from atom_deploy.gcloud import InstalledGcloud
from atom_deploy.plan import Plan
from atom_deploy.resources.pubsub import PUSHED, subscriptions, topics
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_workflows.core.run_ids import run_id_for
from support.deadline import eventually
from support.services import need

PROJECT: Final = "atom-emulated"
WEEK_S: Final = 7 * 86_400
WORKFLOW: Final = """
name: deployed
steps:
  - {id: extract, task: {imageUri: image}}
  - {id: load, dependsOn: [extract], task: {imageUri: image}}
"""


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPlatform]:
    """Yield Google's emulators and functions that publish to the deployment's topics."""
    need("google emulators")
    need("gcloud")
    options = PlatformOptions(
        project=PROJECT,
        emulators="google",
        bucket=None,
        log_dir=tmp_path / "logs",
        environment={"WORKFLOW_TOPIC_PREFIX": "atom-"},
    )
    (tmp_path / "token").write_text("no-token")
    with LocalPlatform(options) as platform:
        address = platform.environment["PUBSUB_EMULATOR_HOST"]
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", f"http://{address}/")
        monkeypatch.setenv("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "config"))
        for name, value in platform.environment.items():
            monkeypatch.setenv(name, value)
        yield platform


def plan() -> Plan:
    """Return the plan's topics and subscriptions.

    The emulator keeps messages for a week at most, and knows no roles.
    """
    deployment = Deployment(project=PROJECT, region="us-central1", task_runner_url="https://runner.example.app")
    return (
        topics(deployment, with_runner=False),
        subscriptions(deployment, with_runner=False, letters_kept_s=WEEK_S),
    )


def deployed(platform: LocalPlatform) -> Application:
    """Carry it out, once the functions' addresses are known."""
    known = {f"{function}-url": platform.addresses[PartName(function)] for function in PUSHED.values()}
    application = Application(gcloud=InstalledGcloud(PROJECT), project=PROJECT, report=lambda _: None, known=known)
    application.carry_out(plan())
    return application


def test_a_run_goes_through_what_was_deployed(platform: LocalPlatform) -> None:
    """Topics and subscriptions made by gcloud carry a run to its end."""
    assert deployed(platform).outcomes[Outcome.CREATED] == 11
    again = deployed(platform).outcomes
    assert (again[Outcome.CREATED], again[Outcome.CHANGED]) == (0, 0)
    key = uuid.uuid4().hex
    message = {"workflow_path": "deployed.yaml", "definition": WORKFLOW, "run_key": key}
    publisher = pubsub_v1.PublisherClient()
    publisher.publish(f"projects/{PROJECT}/topics/atom-start", json.dumps(message).encode()).result(timeout=60)
    publisher.stop()
    publisher.transport.close()
    database = firestore.Client(project=PROJECT)
    run = database.document(f"runs/{run_id_for('deployed.yaml', 'key', key)}")
    eventually(
        lambda: (run.get(retry=None, timeout=60).to_dict() or {}).get("state") == "SUCCEEDED",
        within_s=60,
        every_s=0.1,
        what="the end of the run",
    )
    database.close()  # type: ignore[no-untyped-call]  # it has no types
