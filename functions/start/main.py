"""The start function: a start message or an uploaded file becomes a run."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from atom_workflows.bootstrap import services
from atom_workflows.decision_log import log_to_stdout
from atom_workflows.handlers import on_start

log_to_stdout()


@functions_framework.cloud_event
def start(event: CloudEvent) -> None:
    """Handle one event of the topic `start`."""
    on_start(services(), event["id"], event["type"], event.data)
