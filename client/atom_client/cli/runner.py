"""`runner check`: test a Task Runner against the contract.

Prints what the Task Runner supports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

import click

from atom_client.cli.platform_choice import check_url
from atom_client.errors import RUN_FAILED, Misuse
from atom_client.runner_check.optional import check_optional, check_token
from atom_client.runner_check.required import check_required
from atom_client.runner_check.results import Row, Seen, Verdict, summarize, unchecked
from atom_client.runner_check.rule_names import TOKEN
from atom_client.runner_check.session import Job, Session
from atom_client.text import one_line
from atom_client.views.as_json import json_document
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.tokens import FixedToken, tokens_for
from atom_workflows.hosts import is_this_machine
from atom_workflows.settings import NO_TOKEN, Settings

_RULE_WIDTH: Final = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """The options that the user gave. Arguments are JSON, as in a workflow file's `args`."""

    url: str
    token: str | None
    image: str
    engine: str
    arguments: str | None
    failing_image: str | None
    failing_arguments: str | None
    stoppable_arguments: str | None
    impossible_arguments: str | None
    timeout_s: float
    as_json: bool


def check_runner(options: CheckOptions, settings: Settings) -> int:
    """Check a Task Runner and return the exit code.

    Each row is printed as soon as it is known, since jobs take time.
    """
    rows = []
    for row in _rows(options, settings):
        rows.append(row)
        if not options.as_json:
            click.echo(f"{row.verdict:14}{row.rule:{_RULE_WIDTH}}{one_line(row.detail)}")
    is_broken = any(row.verdict is Verdict.FAILED for row in rows)
    if options.as_json:
        click.echo(json_document({"follows_contract": not is_broken, "rules": [row.as_fields() for row in rows]}))
    else:
        click.echo(f"\n{summarize(rows)}")
    return RUN_FAILED if is_broken else 0


def _rows(options: CheckOptions, settings: Settings) -> Iterator[Row]:
    check_url(options.url)
    url = options.url.rstrip("/")
    # A Task Runner on this machine is usually called without a token, so it gets one only if the user gives it.
    is_here = is_this_machine(urlsplit(options.url).hostname or "")
    token = options.token or settings.task_runner_token or (NO_TOKEN if is_here else None)
    is_anonymous = token == NO_TOKEN
    named = replace(settings, task_runner_url=url, task_runner_token=token)
    client = TaskRunnerClient(_NoToken() if is_anonymous else tokens_for(named))
    session = Session(task_runner=client, url=url, timeout_s=options.timeout_s)
    succeeding = _job("atom-check-succeeds", options, options.image, options.arguments)
    failing = None
    if options.failing_image is not None or options.failing_arguments is not None:
        image = options.image if options.failing_image is None else options.failing_image
        failing = _job("atom-check-fails", options, image, options.failing_arguments)
    arguments = options.arguments if options.stoppable_arguments is None else options.stoppable_arguments
    seen = Seen()
    impossible = None
    if options.impossible_arguments is not None:
        impossible = _job("atom-check-cannot-start", options, options.image, options.impossible_arguments)
    yield from check_required(session, succeeding, failing, seen, impossible=impossible)
    yield from check_optional(session, _job("atom-check-stops", options, options.image, arguments), seen)
    if is_anonymous:
        yield unchecked(TOKEN, "no token was sent; give --tr-auth-jwt")
    else:
        yield check_token(TaskRunnerClient(_NoToken()), session)


class _NoToken(FixedToken):
    """Sends no token. Implements the client's `Tokens`."""

    def __init__(self) -> None:
        super().__init__(NO_TOKEN)

    def explain_denial(self, base_url: str, status: int) -> str:  # noqa: ARG002 (the same for every address)
        """See `Tokens.explain_denial`."""
        return "no token was sent; give one with --tr-auth-jwt"


def _job(name: str, options: CheckOptions, image: str, arguments: str | None) -> Job:
    given = {"imageUri": image, "engine": options.engine}
    task: dict[str, Any] = {key: value for key, value in given.items() if value}
    if arguments is not None:
        try:
            task["args"] = json.loads(arguments)
        except ValueError as error:
            example = '["sh", "-c", "exit 0"]'
            raise Misuse(f"{arguments!r} is not JSON ({error}); write arguments as {example}") from error
        if not isinstance(task["args"], list | dict):
            raise Misuse(f'arguments must be a JSON list or object, such as ["sh", "-c", "exit 0"], not {arguments!r}')
    return Job(name=name, task=task)
