"""The dispatcher function as it is deployed, but in haste."""

from __future__ import annotations

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "haste.py"))

dispatcher = runpy.run_path(str(Path(__file__).parents[4] / "functions" / "dispatcher" / "main.py"))["dispatcher"]
