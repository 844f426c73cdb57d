"""Gather a run's parameters, start time and environment from the user's input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from atom_client.planning.walk import Known
from atom_workflows.core.workflow import JsonValue, Workflow
from atom_workflows.expressions.types import INSTANT, read_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a planned run starts with: parameters, a time and an environment.

    The parameters are JSON values and include defaults.
    """

    params: Mapping[str, JsonValue]
    at: datetime
    env: Mapping[str, str]

    def known(self, workflow: Workflow) -> Known:
        """Return the values that expressions can read."""
        zone = workflow.timezone
        types = {param.name: param.type for param in workflow.params}
        at: Any = read_value(self.at.isoformat(), INSTANT, zone=zone)
        return Known(
            params={name: read_value(value, types[name], zone=zone) for name, value in self.params.items()},
            run={"workflow": workflow.name, "createdAt": at, "scheduledAt": at, "window": None, "scratch": None},
            env=self.env,
        )
