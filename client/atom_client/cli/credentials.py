"""Whether a local platform's functions will have a token for the Task Runner: they have this shell's credentials."""

from __future__ import annotations

from collections.abc import Mapping

from atom_client.cli.local import TOKEN, PlatformChoice, token_for
from atom_workflows.errors import TaskRunnerError


def credential_problem(choice: PlatformChoice, environment: Mapping[str, str]) -> str:
    """Why no ID token can be had here now, and what to do; empty if one can, or none is needed.

    A step would wait for one until its timeout, as in a deployment whose metadata server is away for a moment.
    """
    url = choice.task_runner_url
    if url is None or token_for(choice, environment):
        return ""
    from atom_workflows.adapters.tokens import tokens_for  # noqa: PLC0415 (Google's clients take a second to import)
    from atom_workflows.settings import from_environment  # noqa: PLC0415 (likewise)

    settings = from_environment({**environment, TOKEN: "", "WORKFLOW_TASK_RUNNER_URL": url})
    try:
        tokens_for(settings).token_for(url)
    except TaskRunnerError as error:
        return f"{error}; a Task Runner that asks for no token is called with --tr-auth-jwt=none"
    return ""
