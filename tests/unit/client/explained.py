"""Call commands on a whole coordinator in one process, as tests of explanations do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from click.testing import CliRunner, Result

from atom_client.cli.commands import cli
from atom_emulator.testing.world import World
from atom_workflows.coordinator.services import Services
from support.workflows import definition


def call(world: World, *args: str) -> Result:
    """Call a command that finds this world's services."""

    def connect(_: Mapping[str, str]) -> Services:
        return world.services

    return CliRunner().invoke(cli, args, obj=connect, catch_exceptions=False)


def said(world: World, *args: str) -> str:
    """Return what a command that succeeds prints."""
    result = call(world, *args)
    assert result.exit_code == 0, result.output
    return result.stdout


def why(world: World, *args: str) -> str:
    """Return an explanation for people."""
    return said(world, "why", *args)


def why_json(world: World, *args: str) -> Any:
    """Return an explanation for programs."""
    return json.loads(said(world, "why", *args, "--json"))


def flow(edges: Mapping[str, Sequence[str]], *, more: Mapping[str, Any], **steps: Mapping[str, Any]) -> str:
    """Return a workflow of these steps, with more fields of the file."""
    return json.dumps({**json.loads(definition(edges, **steps)), **more})


CLEAN: list[dict[str, Any]] = [{"id": "clean", "task": {"imageUri": "image"}}]
"""Steps under `finally`."""
