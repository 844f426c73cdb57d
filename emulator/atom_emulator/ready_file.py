"""The file in which a server reports to its parent that it is listening, and on which port."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_ready_file(path: Path, *, port: int, **more: Any) -> None:
    """Write the port and other details as one line of JSON.

    The file appears only once it is complete, so a reader never sees half of it.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps({"port": port, **more}) + "\n", encoding="utf-8")
    partial.replace(path)


def read_port(path: Path) -> int | None:
    """Return the port, or None until the server listens."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["port"])
    except (FileNotFoundError, ValueError):
        return None
