"""The checker function, which handles events from the topic `tick`."""

from __future__ import annotations

from collections.abc import Mapping

from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.services import Services
from atom_workflows.handlers.delivery import Answer, on_event
from atom_workflows.messages.internal import read_tick_event


def on_tick(services: Services, headers: Mapping[str, str], raw: bytes) -> Answer:
    """Handle a request to the checker."""
    return on_event(services, "tick", headers, raw, lambda body: handle_tick(services, read_tick_event(body)))
