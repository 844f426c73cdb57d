"""The dispatcher function: ready steps are submitted, attempts that ended are settled."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.bootstrap import services
from atom_workflows.decision_log import log_to_stdout
from atom_workflows.handlers.answering import Answer
from atom_workflows.handlers.entry import answer_request
from atom_workflows.handlers.steps import on_steps

log_to_stdout()


@functions_framework.http
def dispatcher(request: flask.Request) -> Answer:
    """Answer one event of the topic `steps`."""
    return answer_request("steps", on_steps, services(), dict(request.headers), request)
