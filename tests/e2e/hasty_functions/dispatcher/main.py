"""The dispatcher as it is deployed, but content with a short lease: a dead one is replaced within seconds."""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path

from atom_workflows import settings
from atom_workflows.coordinator import submission
from atom_workflows.core import stopping

# As the checker believes it.
vars(stopping)["MISSING_GRACE"] = timedelta(seconds=1)
vars(submission)["SUBMIT_BUDGET"] = timedelta(seconds=1)
vars(settings)["MIN_LEASE_S"] = 1

dispatcher = runpy.run_path(str(Path(__file__).parents[4] / "functions" / "dispatcher" / "main.py"))["dispatcher"]
