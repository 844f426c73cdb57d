"""Where these tests call commands, and what holds for all of them.

They run in a folder in which no run was ever kept, whatever this project's own has, and every JSON document that a
command prints is held against its documented shape.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from atom_client.views import as_json
from support.json_shapes import require_documented


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder, and return it."""
    folder = tmp_path_factory.mktemp("working")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def documented_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare each document with the shapes of the command that prints it."""
    printed = as_json.json_text

    def compared(value: Any) -> str:
        text = printed(value)
        if isinstance(value, dict) and "version" in value:
            context = click.get_current_context(silent=True)
            command = "" if context is None else context.command_path.partition(" ")[2]
            require_documented(command, json.loads(text))
        return text

    monkeypatch.setattr(as_json, "json_text", compared)
