"""A whole run on the runner function, as it is staged for Google Cloud, on fakes of Google's APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from atom_emulator.platform.network import reserve_port
from e2e.backends import site_on
from e2e.console import console
from e2e.site import Site
from support.deadline import eventually
from support.google_jobs.containers import Container, Json, Plan
from support.google_jobs.running import NOTICES, RealTime, staged_runner
from support.google_jobs.server import Google, running_google

IMAGE: Final = "europe-docker.pkg.dev/atom-local/images"

LONG: Final = Plan(waits_s=0, prepares_s=0, runs_s=600, cancels_s=1)

WORKFLOW: Final = f"""
name: larger-machine
steps:
  - id: prepare
    task: {{imageUri: "{IMAGE}/prepare:1", args: {{day: "2026-03-01"}}}}
    outputs: {{rows: int}}
  - id: train
    dependsOn: [prepare]
    timeout: 1h
    retry:
      maxAttempts: 3
      when: failure.reason in ['OOM', 'PREEMPTED']
      backoff: {{initial: 1s}}
    task:
      imageUri: {IMAGE}/train:1
      scaleTier: CUSTOM
      masterType: ${{{{ 'e2-highmem-16' if (step.last.reason ?? '') == 'OOM' else 'e2-standard-4' }}}}
      args: ["--rows", "${{{{ steps.prepare.outputs.rows }}}}"]
    outputs: {{model: text}}
  - id: publish
    dependsOn: [train]
    task: {{imageUri: "{IMAGE}/publish:1", engine: cloud-run, args: {{model: "${{{{ steps.train.outputs.model }}}}"}}}}
outputs: {{model: "${{{{ steps.train.outputs.model }}}}"}}
"""


def decide(container: Container) -> Plan:
    """Let each step's container do its work; the first attempt to train runs out of memory."""
    plan = Plan(waits_s=0.05, prepares_s=0.05, runs_s=0.2, invisible_s=0.1)
    step, attempt = container.environment["ATOM_STEP_ID"], container.environment["ATOM_ATTEMPT"]
    if step == "prepare":
        assert container.args == ["--day=2026-03-01"]
        return Plan(**(fields(plan) | {"outputs": b'{"rows": 12}'}))
    if step == "train":
        assert container.args == ["--rows", "12"]
        changes = {"exit_code": 137} if attempt == "1" else {"outputs": b'{"model": "gs://m/1"}'}
        return Plan(**(fields(plan) | changes))
    assert container.args == ["--model=gs://m/1"]
    return plan


def fields(plan: Plan) -> dict[str, Any]:
    """Return a plan's fields."""
    return {name: getattr(plan, name) for name in Plan.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Cloud:
    """Google's APIs, and the local platform whose Task Runner is the staged function."""

    google: Google
    site: Site
    log: Path

    def states(self) -> list[str]:
        """Return the states of all jobs, without what their APIs put before and behind them."""
        apis = self.google
        states = [job.state for job in apis.batch.jobs.values()] + [job.status for job in apis.run.jobs.values()]
        return [state.removeprefix("EXECUTION_") for state in states]

    def hints(self) -> list[str]:
        """Return the keys of the attempts whose ends the runner has reported."""
        return re.findall(r"reported the end of ([\w./-]+)", self.log.read_text())


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Run one platform for all these tests, whose jobs run on the fakes of Google's APIs."""
    scratch = tmp_path_factory.mktemp("cloud")
    with ExitStack() as stack:
        apis = stack.enter_context(running_google(RealTime()))
        pubsub_port = reserve_port("pubsub", 0, stack)
        url = stack.enter_context(staged_runner(apis, f"127.0.0.1:{pubsub_port}", scratch))
        site = stack.enter_context(
            site_on(
                "embedded",
                scratch / "logs",
                task_runner_url=url,
                ports={"pubsub": pubsub_port},
                environment={"WORKFLOW_TR_AUTH_JWT": "none"},
            )
        )
        pass_notices_on(site, url)
        apis.batch.notify = lambda topic, attributes: publish(site, topic, attributes)
        yield Cloud(apis, site, scratch / "staged" / "runner.log")


@pytest.fixture
def cloud(shared_cloud: Cloud) -> Cloud:
    """Return the platform with no jobs, and with containers that do their work."""
    apis = shared_cloud.google
    apis.forget()
    apis.batch.decide = apis.run.decide = decide
    shared_cloud.log.write_text("")
    return shared_cloud


def pass_notices_on(site: Site, url: str) -> None:
    """Create the topic of Batch's notices, and have it pushed to the runner."""
    project = site.platform.options.project
    topic, subscription = f"projects/{project}/topics/{NOTICES}", f"projects/{project}/subscriptions/{NOTICES}"
    site.publisher.create_topic(name=topic)
    pushed = {"name": subscription, "topic": topic, "push_config": {"push_endpoint": url}}
    site.subscriber.create_subscription(request=pushed)


def publish(site: Site, topic: str, attributes: Json) -> None:
    """Publish a notice as Batch does."""
    site.publisher.publish(topic, b"{}", **attributes)


def test_a_workflow_runs_on_batch_and_cloud_run(cloud: Cloud) -> None:
    """Outputs flow, a job that ran out of memory gets a larger machine, and each attempt has one job."""
    run_id = cloud.site.start(WORKFLOW, name="larger-machine")
    run = cloud.site.ended(run_id, within_s=60)
    assert (run["state"], run.get("errors", [])) == ("SUCCEEDED", [])
    steps = cloud.site.steps(run_id)
    assert {step: fields["state"] for step, fields in steps.items()} == dict.fromkeys(steps, "SUCCEEDED")
    machines = [job.document["allocationPolicy"]["instances"][0]["policy"] for job in cloud.google.batch.jobs.values()]
    assert [one["machineType"] for one in machines] == ["e2-standard-2", "e2-standard-4", "e2-highmem-16"]
    assert len(cloud.google.run.jobs) == 1
    assert all(one.authorization.startswith("Bearer ") for one in cloud.google.sent)


def test_ends_are_reported_at_once(cloud: Cloud) -> None:
    """Each end of a Batch job comes to the coordinator's topic as one hint, by way of the runner."""
    cloud.site.start(WORKFLOW, name="larger-machine")
    hints = eventually(lambda: cloud.hints() if len(cloud.hints()) >= 3 else [], within_s=60, what="three hints")
    assert {hint.partition("/")[2] for hint in hints} == {"prepare/1", "train/1", "train/2"}


@pytest.mark.parametrize("engine", ["batch", "cloud-run"])
def test_a_cancelled_run_stops_its_job(cloud: Cloud, engine: str) -> None:
    """Cancelling a run cancels its job at Google, and the job is not started again."""
    cloud.google.batch.decide = cloud.google.run.decide = lambda _: Plan(
        waits_s=0, prepares_s=0, runs_s=600, cancels_s=1
    )
    task = {"imageUri": f"{IMAGE}/train:1", "engine": engine}
    run_id = cloud.site.start(json.dumps({"name": "long", "steps": [{"id": "train", "task": task}]}))
    eventually(lambda: cloud.states() == ["RUNNING"], within_s=30, what="the job's start")
    assert "is cancelled" in console(cloud.site, "runs", "cancel", run_id).succeeded()
    assert cloud.site.ended(run_id)["state"] == "CANCELLED"
    eventually(lambda: cloud.states() == ["CANCELLED"], within_s=30, what="the job's end")


def test_a_job_that_takes_too_long_is_stopped_before_the_next(cloud: Cloud) -> None:
    """When an attempt's time is over, its job has ended before the next attempt starts."""
    cloud.google.batch.decide = lambda _: LONG
    step = {"id": "train", "task": {"imageUri": f"{IMAGE}/train:1"}, "timeout": "2s"}
    retry = {"maxAttempts": 2, "backoff": {"initial": "1s"}}
    run_id = cloud.site.start(json.dumps({"name": "slow", "steps": [{**step, "retry": retry}]}))
    assert cloud.site.ended(run_id, within_s=90)["state"] == "FAILED"
    first, second = cloud.google.batch.jobs.values()
    assert (first.state, first.document["taskGroups"][0]["taskSpec"]["maxRunDuration"]) == ("CANCELLED", "2s")
    assert first.document["updateTime"] <= second.document["createTime"]
