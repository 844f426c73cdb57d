"""The dispatcher function: ready steps are submitted, attempts that ended are settled."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from atom_workflows.bootstrap import services
from atom_workflows.decision_log import log_to_stdout
from atom_workflows.handlers import on_steps

log_to_stdout()


@functions_framework.cloud_event
def dispatcher(event: CloudEvent) -> None:
    """Handle one event of the topic `steps`."""
    on_steps(services(), event["id"], event.data)
