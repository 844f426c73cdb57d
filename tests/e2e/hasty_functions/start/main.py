"""The start function as it is deployed."""

from __future__ import annotations

import runpy
from pathlib import Path

start = runpy.run_path(str(Path(__file__).parents[4] / "functions" / "start" / "main.py"))["start"]
