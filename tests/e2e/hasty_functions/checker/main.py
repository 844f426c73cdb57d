"""The checker as it is deployed, but quick to believe that a job is lost."""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path

from atom_workflows import settings
from atom_workflows.core import polling

vars(polling)["MISSING_GRACE"] = timedelta(seconds=1)
vars(settings)["MIN_LEASE_S"] = 1

checker = runpy.run_path(str(Path(__file__).parents[4] / "functions" / "checker" / "main.py"))["checker"]
