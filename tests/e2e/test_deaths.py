"""Functions killed in the middle of their work, and jobs that a Task Runner forgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from atom_emulator.platform.options import PartName
from e2e.backends import site_on
from e2e.site import Site
from support.call_log import submissions, violations
from support.deadline import eventually
from support.workflows import definition

HASTY = Path(__file__).parent / "hasty_functions"
"""The functions with shorter waits, since what is tested is that someone goes on, not when."""

LEASE_S = 6
CHAIN = {"first": [], "middle": ["first"], "last": ["middle"]}


@pytest.fixture(scope="module")
def hasty_site(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a platform whose leases are over soon."""
    environment = {"WORKFLOW_LEASE_SEC": str(LEASE_S), "WORKFLOW_BURST_SEC": "2"}
    folder = tmp_path_factory.mktemp("hasty")
    with site_on(backend, folder, functions_dir=HASTY, bucket=None, environment=environment) as site:
        yield site


def kill_worker(site: Site, function: PartName) -> None:
    """Kill the process that handles the function's events.

    Its gunicorn starts another.
    """
    (worker,) = eventually(lambda: workers(site, function), within_s=60, what=f"a worker of {function}")
    worker.kill()


def workers(site: Site, function: PartName) -> list[psutil.Process]:
    """Return the function's workers that are alive.

    They are the last in the line of launcher, gunicorn and worker.
    """
    (gunicorn,) = psutil.Process(site.platform.process_group(function)).children()
    return gunicorn.children()


def test_a_dispatcher_dies_while_it_submits(hasty_site: Site) -> None:
    """Another dispatcher repeats a submission with its key, unless `onLost` is fail."""
    hasty_site.script("rules: [{step: middle, delay: 3}]")
    going_on = hasty_site.start(definition(CHAIN))
    giving_up = hasty_site.start(definition(CHAIN, middle={"onLost": "fail"}))
    for run_id in (going_on, giving_up):
        hasty_site.submitted(run_id, "middle")
    kill_worker(hasty_site, PartName.DISPATCHER)
    assert hasty_site.ended(going_on, within_s=60)["state"] == "SUCCEEDED"
    calls = hasty_site.calls(going_on)
    keys = [call.key for call in calls if call.is_submission and call.step == "middle"]
    assert keys == [f"{going_on}/middle/1"] * 2
    assert {step: len(hasty_keys(hasty_site, going_on, step)) for step in CHAIN} == dict.fromkeys(CHAIN, 1)
    assert hasty_site.ended(giving_up, within_s=60)["state"] == "FAILED"
    assert "its dispatcher died" in hasty_site.steps(giving_up)["middle"]["message"]
    assert submissions(hasty_site.calls(giving_up)) == {"first": 1, "middle": 1}


def hasty_keys(site: Site, run_id: str, step: str) -> set[str]:
    """Return the keys with which a step's jobs were submitted."""
    return {call.key for call in site.calls(run_id) if call.is_submission and call.step == step}


@pytest.mark.parametrize("function", [PartName.DISPATCHER, PartName.CHECKER])
def test_a_function_dies_while_jobs_run(hasty_site: Site, function: PartName) -> None:
    """Jobs are polled to their end, and none is submitted twice."""
    hasty_site.script("rules: [{step: middle, duration: 1.5}]")
    run_id = hasty_site.start(definition(CHAIN))
    hasty_site.submitted(run_id, "middle")
    kill_worker(hasty_site, function)
    assert hasty_site.ended(run_id, within_s=60)["state"] == "SUCCEEDED"
    assert hasty_keys(hasty_site, run_id, "last") == {f"{run_id}/last/1"}


def test_a_job_is_forgotten(hasty_site: Site) -> None:
    """A job that the Task Runner forgot is submitted as a new attempt."""
    hasty_site.script("rules: [{step: middle, duration: 0.3, lose_job: once}]")
    run_id = hasty_site.start(definition(CHAIN, middle={"retry": {"backoff": {"initial": "0.2s"}}}))
    assert hasty_site.ended(run_id, within_s=60)["state"] == "SUCCEEDED"
    calls = hasty_site.calls(run_id)
    assert submissions(calls) == {"first": 1, "middle": 2, "last": 1}
    assert violations(calls, CHAIN) == []
