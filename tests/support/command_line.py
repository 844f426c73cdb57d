"""Calls of the command line on a coordinator in this process."""

from __future__ import annotations

from collections.abc import Mapping

from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services


def call_runs(world: World, *args: str, answer: str | None = None) -> Result:
    """Call a command of the group `runs` that finds this world's services.

    `answer` is what the user types.
    """

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, ["runs", *args], obj=connect, input=answer, catch_exceptions=False)
