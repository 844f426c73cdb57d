"""The dispatcher function: ready steps are submitted, attempts that ended are settled."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.bootstrap import services
from atom_workflows.decision_log import log_to_stdout, tracing
from atom_workflows.handlers.answering import Answer
from atom_workflows.handlers.steps import on_steps

log_to_stdout()


@functions_framework.http
def dispatcher(request: flask.Request) -> Answer:
    """Answer one event of the topic `steps`."""
    deployed, headers = services(), dict(request.headers)
    with tracing(headers, deployed.settings.project):
        return on_steps(deployed, headers, request.get_data())
