"""A console of a folder's history: it changes runs whose own platforms are up, and says why it changes no others."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from atom_client.cli.history import NoPlatform
from atom_client.cli.platform import OwnPlatforms
from atom_client.console.app import NO_PLATFORM
from atom_client.console.schedules import NOTHING_STARTS
from atom_emulator.platform.project_folder import ProjectFolder
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services
from support.workflows import definition, script
from unit.client.console.asking import Page

FLOW = definition({"a": [], "b": ["a"]})


class Platforms:
    """Platforms of single runs, by the ids of the runs."""

    def __init__(self, up: Mapping[str, Services]) -> None:
        self.up = dict(up)

    def is_up(self, run_id: str) -> bool:
        """See `OwnPlatforms`."""
        return run_id in self.up

    def connect(self, run_id: str) -> Services | None:
        """See `OwnPlatforms`."""
        return self.up.get(run_id)


def console_of_history(world: World, *up: str, **options: Any) -> Page:
    """Return a console that reads the world's documents, but has no platform except for the runs that are `up`."""
    absent: Any = NoPlatform()
    history = replace(world.services, bus=absent, task_runner=absent)
    return Page(history, own_platforms=Platforms(dict.fromkeys(up, world.services)), **options)


def begun() -> tuple[World, str]:
    """Return a world with a run whose first step is RUNNING."""
    world = World(script(a={"duration": 900}))
    run_id = world.start(FLOW)
    world.settle_down()
    return world, run_id


@pytest.mark.parametrize(("action", "body"), [("cancel", {}), ("mark", {"step": "b", "state": "skipped"})])
def test_run_on_a_platform_of_its_own_is_changed_there(action: str, body: dict[str, Any]) -> None:
    """Just as on a platform that stays up."""
    world, run_id = begun()
    page = console_of_history(world, run_id)
    assert page.get(f"/runs/{run_id}").body["why_fixed"] == ""
    assert page.get(f"/runs/{run_id}/steps/a").body["why_fixed"] == ""
    seen = page.preview(f"/runs/{run_id}/{action}", **body).body["seen"]
    assert page.post(f"/runs/{run_id}/{action}", **body, seen=seen).status == 200
    assert world.run(run_id).changes


@pytest.mark.parametrize("action", ["cancel", "mark", "retry", "repair"])
def test_run_without_a_platform_is_not_changed(action: str) -> None:
    """Its page says why beforehand, and each request is refused with the same sentence."""
    world, run_id = begun()
    page = console_of_history(world)
    assert page.get(f"/runs/{run_id}").body["why_fixed"] == NO_PLATFORM
    refused = page.preview(f"/runs/{run_id}/{action}", step="b", state="skipped")
    assert (refused.status, "atom-workflows local up" in refused.error) == (409, True)
    assert not world.run(run_id).changes


@pytest.mark.parametrize("path", ["/start", "/schedules/pause", "/dead-letters/drop"])
def test_nothing_else_is_changed_in_a_history(path: str) -> None:
    """Even while the platform of a run is up."""
    world, run_id = begun()
    page = console_of_history(world, run_id)
    about = page.get("/console").body
    assert (about["read_only"], about["why_read_only"]) == (True, NO_PLATFORM)
    assert (page.post(path).status, page.post(path).error) == (403, NO_PLATFORM)


def test_read_only_console_changes_no_run_on_its_own_platform() -> None:
    """It says that it is read-only, and not that a platform is missing."""
    world, run_id = begun()
    page = console_of_history(world, run_id, read_only=True)
    refused = page.preview(f"/runs/{run_id}/cancel")
    assert (refused.status, "read-only" in refused.error) == (403, True)
    assert "read-only" in page.get(f"/runs/{run_id}").body["why_fixed"]


def test_history_says_that_its_schedules_start_nothing() -> None:
    """They are ACTIVE in its documents, but nothing reads these until a platform is up again."""
    world = World()
    world.upload("schedules: [{cron: 30 2 * * *}]\nsteps: [{id: a, task: {imageUri: i}}]\n")
    found = console_of_history(world).get("/schedules").body
    assert (found["files"][0]["state"], found["stopped"]) == ("ACTIVE", NOTHING_STARTS)
    assert Page(world.services).get("/schedules").body["stopped"] == ""


def test_platforms_of_two_runs_keep_their_variables_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has a bucket and values for its workflows; the other must not read files there, or see the values."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINE", "mine")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    places: list[dict[str, str]] = []
    services = World().services

    def connect(place: Mapping[str, str]) -> Services:
        places.append(dict(place))
        return services

    @click.command()
    def console() -> None:
        """Do nothing."""

    folder = ProjectFolder.of(tmp_path)
    with ExitStack() as up:
        listening = up.enter_context(socket.create_server(("127.0.0.1", 0)))
        up.enter_context(console.make_context("console", [], obj=connect))
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
            monkeypatch.setenv(name, "")
        common = {"FIRESTORE_EMULATOR_HOST": host, "PUBSUB_EMULATOR_HOST": host}
        more = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1", "WORKFLOW_ENV_X": "1", "MINE": "theirs"}
        up.enter_context(folder.held(alone=False, by="run"))
        up.enter_context(folder.announced({**common, **more}, only_run="flow-1"))
        up.enter_context(folder.announced(common, only_run="flow-2"))
        platforms = OwnPlatforms()
        for run_id in ("flow-1", "flow-2", "flow-1"):
            platforms.connect(run_id)
            is_first = run_id == "flow-1"
            assert os.environ["MINE"] == ("theirs" if is_first else "mine")
            assert [name in os.environ for name in ("STORAGE_EMULATOR_HOST", "WORKFLOW_ENV_X")] == [is_first] * 2
        for name in more:
            monkeypatch.delenv(name, raising=False)
    first, second = places
    assert more.items() <= first.items()
    assert second["MINE"] == "mine"
    assert not second.keys() & {"STORAGE_EMULATOR_HOST", "WORKFLOW_ENV_X"}
