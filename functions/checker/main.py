"""The checker function: a tick makes it look at every step that is due."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from atom_workflows.bootstrap import services
from atom_workflows.decision_log import log_to_stdout
from atom_workflows.handlers import on_tick

log_to_stdout()


@functions_framework.cloud_event
def checker(event: CloudEvent) -> None:
    """Handle one event of the topic `tick`."""
    on_tick(services(), event["id"], event.data)
