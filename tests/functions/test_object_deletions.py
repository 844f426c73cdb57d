"""Deletions that a bucket reports: they end the schedules of a workflow file, and nothing else does."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.schedules import list_schedules
from atom_workflows.handlers.start import on_start

NAME = "workflows/daily.yaml"
PATH = f"gs://flows/{NAME}"
NIGHTLY = "schedules: [{cron: 0 2 * * *}]\nsteps: [{id: a, task: {imageUri: image}}]"


def report(world: World, **attributes: str) -> int:
    """Push a notification to the start function, and return the status of its answer."""
    told = {"bucketId": "flows", "objectId": NAME, "objectGeneration": "7", "eventType": "OBJECT_DELETE", **attributes}
    body = {
        "message": {"attributes": told, "data": "", "messageId": "1"},
        "subscription": "projects/p/subscriptions/start",
    }
    _, status, _ = on_start(world.services, {"Content-Type": "application/json"}, json.dumps(body).encode())
    return status


def count_schedules(world: World) -> int:
    """Return how many schedules are registered."""
    return sum(len(found.entries) for found in list_schedules(world.services))


@pytest.fixture
def world() -> World:
    """Return a world in which a file with a schedule was uploaded, by a notification."""
    here = World()
    here.files.content[PATH, "7"] = NIGHTLY.encode()
    assert report(here, eventType="OBJECT_FINALIZE") == HTTPStatus.NO_CONTENT
    assert count_schedules(here) == 1
    return here


def test_a_deletion_ends_the_schedules(world: World) -> None:
    """The deletion of the newest generation counts, however often it is reported."""
    assert report(world) == report(world) == HTTPStatus.NO_CONTENT
    assert count_schedules(world) == 0


@pytest.mark.parametrize(
    "attributes",
    [
        {"overwrittenByGeneration": "8"},
        {"objectGeneration": "6"},
        {"objectId": "workflows/other.yaml"},
        {"objectId": "other/daily.yaml"},
        {"objectId": "workflows/daily.txt"},
        {"objectGeneration": "seven"},
        {"objectGeneration": "9" * 40},
        {"eventType": "OBJECT_ARCHIVE"},
    ],
    ids=str,
)
def test_anything_else_ends_nothing(world: World, attributes: dict[str, str]) -> None:
    """An object that was overwritten, an older generation, another object: all of them are acknowledged, too."""
    assert report(world, **attributes) == HTTPStatus.NO_CONTENT
    assert count_schedules(world) == 1


def test_a_notification_without_an_object_is_dropped(world: World) -> None:
    """Redelivery could not help, so it is acknowledged."""
    body = {"message": {"attributes": {"eventType": "OBJECT_DELETE"}, "data": ""}, "subscription": "s"}
    _, status, _ = on_start(world.services, {"Content-Type": "application/json"}, json.dumps(body).encode())
    assert status == HTTPStatus.NO_CONTENT
    assert count_schedules(world) == 1
