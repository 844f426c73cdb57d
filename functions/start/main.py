"""The start function, which turns messages, uploads and HTTP calls into runs."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.cold_start import load_modules

with load_modules():
    from atom_workflows.bootstrap import services
    from atom_workflows.handlers.delivery import Answer
    from atom_workflows.handlers.entry import answer_request
    from atom_workflows.handlers.start import on_start
    from atom_workflows.log import log_to_stdout

log_to_stdout()


@functions_framework.http
def start(request: flask.Request) -> Answer:
    """Handle one event from the topic `start`, or one HTTP call."""
    return answer_request("start", on_start, services(), dict(request.headers), request)
