"""The dispatcher function, which handles events from the topic `steps`."""

from __future__ import annotations

from collections.abc import Mapping

from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.handlers.delivery import Answer, on_event
from atom_workflows.messages.internal import read_steps_event


def on_steps(services: Services, headers: Mapping[str, str], raw: bytes) -> Answer:
    """Handle a request to the dispatcher."""
    return on_event(services, "steps", headers, raw, lambda body: handle_steps(services, read_steps_event(body)))
