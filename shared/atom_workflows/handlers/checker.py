"""The checker function.

It handles events from the topic `tick`, and Task Runners' hints from the topic `jobs`.
"""

from __future__ import annotations

from collections.abc import Mapping

from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.checker.hints import handle_hint
from atom_workflows.coordinator.services import Services
from atom_workflows.handlers.delivery import Answer, on_events
from atom_workflows.messages.internal import read_job_ended, read_tick_event


def on_tick(services: Services, headers: Mapping[str, str], raw: bytes) -> Answer:
    """Handle a request to the checker."""
    handlers = {
        "tick": lambda body: handle_tick(services, read_tick_event(body)),
        "jobs": lambda body: handle_hint(services, read_job_ended(body)),
    }
    return on_events(services, handlers, headers, raw)
