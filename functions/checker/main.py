"""The checker function, which handles due steps and hints about jobs."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.cold_start import load_modules

with load_modules():
    from atom_workflows.bootstrap import services
    from atom_workflows.handlers.checker import on_tick
    from atom_workflows.handlers.delivery import Answer
    from atom_workflows.handlers.entry import answer_request
    from atom_workflows.log import log_to_stdout

log_to_stdout()


@functions_framework.http
def checker(request: flask.Request) -> Answer:
    """Handle one event from the topics `tick` and `jobs`."""
    return answer_request("tick", on_tick, services(), dict(request.headers), request)
