"""Every JSON document that a command prints in these tests is held against its documented shape."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest

from atom_client.views import as_json
from support.json_shapes import require_documented


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
