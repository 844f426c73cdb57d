"""The runner function: the Task Runner that runs containers on Google Cloud."""

from __future__ import annotations

import flask
import functions_framework

from atom_workflows.cold_start import load_modules

with load_modules():
    from atom_workflows.handlers.delivery import Answer
    from atom_workflows.handlers.runner import answer_call
    from atom_workflows.log import log_to_stdout
    from atom_workflows.runner_bootstrap import runner_services

log_to_stdout()


@functions_framework.http
def runner(request: flask.Request) -> Answer:
    """Answer a Task Runner call, or a notification from Batch."""
    return answer_call(runner_services(), dict(request.headers), request)
