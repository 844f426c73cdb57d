"""The checker function: a tick makes it look at every step that is due."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.bootstrap import services
from atom_workflows.decision_log import log_to_stdout, tracing
from atom_workflows.handlers.answering import Answer
from atom_workflows.handlers.tick import on_tick

log_to_stdout()


@functions_framework.http
def checker(request: flask.Request) -> Answer:
    """Answer one event of the topic `tick`."""
    deployed, headers = services(), dict(request.headers)
    with tracing(headers, deployed.settings.project):
        return on_tick(deployed, headers, request.get_data())
