"""Outages: what may succeed later is answered with an error, so that Pub/Sub delivers it again."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from atom_emulator.testing.world import World
from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.adapters.storage.source import StorageSource
from contract.backends import firestore_at, pubsub_at
from functions.posting import EVENTS, Deployed

EVERY = [path.stem for path in sorted(EVENTS.glob("*.json"))]


@pytest.fixture
def refusing_address() -> str:
    """Return an address where no one listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("name", EVERY)
def test_without_a_store_every_event_is_delivered_again(
    functions: Deployed, world: World, monkeypatch: pytest.MonkeyPatch, refusing_address: str, name: str
) -> None:
    """An event that met no store is delivered again, and submits nothing before."""
    store = firestore_at(refusing_address, monkeypatch, call_timeout_s=0.05, total_timeout_s=0.05)
    functions.on(replace(world.services, store=store))
    assert functions.post(name) == 500
    [line] = functions.logged("event.failed")
    assert (line["severity"], line["reason"]) == ("WARNING", "StoreUnavailable")
    assert line["event_id"]
    assert world.submissions() == []
    functions.on(world.services)
    assert functions.post(name) == 204


def test_without_a_bus_a_started_run_is_published_again(
    functions: Deployed, world: World, monkeypatch: pytest.MonkeyPatch, refusing_address: str
) -> None:
    """A second delivery publishes what the first one only saved."""
    bus = pubsub_at(refusing_address, monkeypatch, limits=Limits(call_s=0.05, total_s=0.05))
    functions.on(replace(world.services, bus=bus))
    assert functions.post("start-push-inline") == 500
    functions.on(world.services)
    assert functions.post("start-push-inline") == 204
    [line] = functions.logged("run.start.again")
    assert world.run_to_end(line["run_id"]).state == "SUCCEEDED"


def test_without_a_bucket_an_upload_is_delivered_again(
    functions: Deployed, world: World, monkeypatch: pytest.MonkeyPatch, refusing_address: str
) -> None:
    """A storage that does not answer makes no run INVALID."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", refusing_address)
    functions.on(replace(world.services, source=StorageSource()))
    assert functions.post("start-eventarc-object-finalized") == 500
    functions.on(world.services)
    assert functions.post("start-eventarc-object-finalized") == 204
    assert functions.logged("run.start")


def test_an_outage_of_the_task_runner_is_no_failure_of_the_event(functions: Deployed) -> None:
    """An event whose Task Runner is away is acknowledged."""
    world = World("default: {submit_errors: [503]}")
    functions.on(world.services)
    assert functions.post("start-push-inline") == 204
    assert functions.post("dispatcher-push-step-ready") == 204
    [line] = functions.logged("task_runner.unavailable")
    assert (line["severity"], line["step_id"]) == ("WARNING", "extract")
    assert world.run_to_end(line["run_id"]).state == "SUCCEEDED"
