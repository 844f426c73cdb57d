"""The start function: a start message, an uploaded file or an HTTP call becomes a run."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.bootstrap import services
from atom_workflows.decision_log import log_to_stdout, tracing
from atom_workflows.handlers.answering import Answer
from atom_workflows.handlers.start import on_start

log_to_stdout()


@functions_framework.http
def start(request: flask.Request) -> Answer:
    """Answer one event of the topic `start`, or one call that asks for a run."""
    deployed, headers = services(), dict(request.headers)
    with tracing(headers, deployed.settings.project):
        return on_start(deployed, headers, request.get_data())
