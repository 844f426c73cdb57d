"""The start function as it is deployed."""

from __future__ import annotations

import runpy
from pathlib import Path

from atom_workflows import settings

vars(settings)["MIN_LEASE_S"] = 1

start = runpy.run_path(str(Path(__file__).parents[4] / "functions" / "start" / "main.py"))["start"]
