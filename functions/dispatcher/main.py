"""The dispatcher function, which submits ready steps and applies outcomes of attempts."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.cold_start import load_modules

with load_modules():
    from atom_workflows.bootstrap import services
    from atom_workflows.handlers.delivery import Answer
    from atom_workflows.handlers.dispatcher import on_steps
    from atom_workflows.handlers.entry import answer_request
    from atom_workflows.log import log_to_stdout

log_to_stdout()


@functions_framework.http
def dispatcher(request: flask.Request) -> Answer:
    """Handle one event from the topic `steps`."""
    return answer_request("steps", on_steps, services(), dict(request.headers), request)
