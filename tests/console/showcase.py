"""A world that has something for every view of the console: what its pictures and the tests of all views show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from atom_client.cli.quiet import no_logs
from atom_client.views.dead_letters import Desk
from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.start import handle_start
from atom_workflows.messages.dead_letters import GivenUp, dead_letter_message
from atom_workflows.messages.start import read_start_event
from support.letters import MemoryDeadLetters

BEGAN: Final = datetime(2026, 11, 27, 3, tzinfo=UTC)
FILE: Final = "gs://acme-workflows/workflows/sales.yaml"
OTHER: Final = "gs://acme-workflows/workflows/returns.yaml"

SALES: Final = """\
# What the shops have sold on a day, cleaned, added up and scored.
name: sales
timezone: Europe/Madrid
schedules: [{cron: 30 4 * * *}]
params:
  day: {type: date, default: "${{ day(run.scheduledAt, -1) }}", description: The day whose sales are loaded.}
  model: {type: text, enum: [small, large], default: small, description: Which model scores the orders.}
  mail: {type: bool, default: true}
defaults:
  timeout: 1h
  retry: {maxAttempts: 3, backoff: {initial: 30s}}
steps:
  - id: list
    task: {imageUri: registry.example/sales/list, args: {day: "${{ params.day }}"}}
    outputs: {files: [gsUri]}
  - id: load
    dependsOn: [list]
    forEach: ${{ steps.list.outputs.files }}
    maxParallel: 4
    task: {imageUri: registry.example/sales/load, args: {from: "${{ item }}", day: "${{ params.day }}"}}
  - {id: rates, task: {imageUri: registry.example/sales/rates}}
  - {id: clean, dependsOn: [load, rates], task: {imageUri: registry.example/sales/clean}}
  - {id: totals, dependsOn: [clean], task: {imageUri: registry.example/sales/totals}}
  - id: train
    dependsOn: [clean]
    task: {imageUri: "registry.example/ml/train:${{ params.model }}", scaleTier: CUSTOM, masterType: n1-highmem-8}
  - {id: score, dependsOn: [train, totals], task: {imageUri: registry.example/ml/score}}
  - {id: mail, dependsOn: [score], when: params.mail, task: {imageUri: registry.example/sales/mail}}
finally:
  - {id: tidy, task: {imageUri: registry.example/sales/tidy}}
"""

SCRIPT: Final[dict[str, Any]] = {
    "rules": [
        {
            "step": "list",
            "duration": 20,
            "logsUrl": "https://logs.example/list",
            "outputs": {"files": [f"gs://acme-sales/shop-{number}.csv" for number in range(12)]},
        },
        {"step": "load[7]", "duration": 60, "fail_times": 1, "message": "the connection was reset"},
        {"step": "load", "duration": 45},
        {"step": "rates", "duration": 30},
        {"step": "clean", "duration": 150, "states": ["QUEUED", "RUNNING"]},
        {"step": "totals", "duration": 40},
        {
            "step": "train",
            "image": "*:large",
            "duration": 300,
            "always_fail": True,
            "reason": "OOM",
            "message": "the machine ran out of memory after 3.1 GB of orders",
            "logsUrl": "https://logs.example/train",
        },
        {"step": "train", "duration": 300, "logsUrl": "https://logs.example/train"},
    ],
    "default": {"duration": 15},
}


@dataclass(frozen=True, slots=True)
class Showcase:
    """The world, its dead letters, and the ids of its runs."""

    world: World
    desk: Desk
    succeeded: str
    failed: str
    running: str
    invalid: str
    letter: str


def build_showcase() -> Showcase:
    """Return a world with two runs that succeeded, one that failed, one that is under way, and an invalid one."""
    world = World(json.dumps(SCRIPT), clock=MovedClock(BEGAN))
    with no_logs():
        succeeded = [_run_day(world, day) for day in ("2026-11-25", "2026-11-26")]
        failed = _run_day(world, "2026-11-27", model="large")
        wrong = SALES.replace("dependsOn: [clean]", "dependsOn: [cleaned]")
        invalid = _start(world, wrong, day="2026-11-29", path=OTHER)
        running = _start(world, SALES, day="2026-11-28", model="large")
        for _ in range(38):
            world.settle_down()
            world.clock.move(timedelta(seconds=10))
            world.tick()
        world.upload(SALES, path=FILE)
        _give_up(world)
    desk = Desk(bus=world.bus, box=MemoryDeadLetters(world.bus, world.clock), project="acme")
    held = desk.box.take(1)
    desk.box.release(held)
    return Showcase(world, desk, succeeded[-1], failed, running, invalid, held[0].id)


def _run_day(world: World, day: str, **params: str) -> str:
    run_id = _start(world, SALES, day=day, **params)
    world.run_to_end(run_id)
    world.clock.move(timedelta(days=1) - timedelta(minutes=20))
    return run_id


def _start(world: World, definition: str, *, day: str, path: str = FILE, **params: str) -> str:
    world.files.content[path, "1"] = definition.encode()
    body = {
        "workflow_path": path,
        "run_key": day,
        "params": {"day": day, **params},
        "labels": {"team": "sales"},
    }
    return handle_start(world.services, read_start_event(body, event_id=day)).run_id


def _give_up(world: World) -> None:
    for number, (data, error, reason) in enumerate(
        (
            (b'{"workflow_path": "gs://acme-workflows/old/sales.yaml"}', "SourceNotFound", "the file does not exist"),
            (b'{"workflow_pth": 1}', "MalformedEvent", "it names no workflow"),
        )
    ):
        letter = GivenUp(
            topic="start",
            event_id=f"e-{number}",
            data=data,
            attributes={},
            published_at="2026-11-30T02:10:00Z",
            deliveries=10,
            error=error,
            reason=reason,
        )
        world.bus.publish([dead_letter_message(letter)])
