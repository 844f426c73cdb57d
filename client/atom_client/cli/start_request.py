"""Build a start message, checked as the start function will check it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from atom_client.cli.given_time import read_given_time
from atom_client.cli.params import read_given
from atom_client.cli.platform import names_local_platform
from atom_client.cli.platform_choice import check_url
from atom_client.cli.sources import request_for
from atom_client.deployment import environment
from atom_client.errors import Misuse
from atom_client.planning.params import pairs_of
from atom_client.planning.requests import BUCKET_PREFIX, RunRequest, require_object
from atom_workflows.settings import from_environment
from atom_workflows.task_runner_urls import shown_url


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The options that the user gave.

    `labels` and `params` have the form `name=value`, and `params_file` may be stdin.
    """

    source: str
    key: str | None = None
    labels: Sequence[str] = ()
    params: Sequence[str] = ()
    params_file: str | None = None
    task_runner_url: str | None = None
    at: datetime | None = None
    wait: bool = False
    timeout_s: float | None = None
    no_queue: bool = False
    as_json: bool = False


def read_request(options: StartOptions) -> RunRequest:
    """Read the file and the parameters, and reject options that cannot work."""
    if options.task_runner_url is not None:
        check_url(options.task_runner_url)
        place = environment()
        settings = from_environment(place)
        # A user may have exported only the emulators' addresses; in that case, the platform itself decides.
        is_listed = names_local_platform(place) and settings.task_runner_url
        if is_listed and not settings.may_use_task_runner(options.task_runner_url):
            url = shown_url(options.task_runner_url)
            raise Misuse(
                f"the local platform uses a different Task Runner than --tr-url {url}. Leave out --tr-url, or start a "
                f"platform that uses it: `atom-workflows local up --tr-url={shlex.quote(url)}`"
            )
    if options.key is not None and not options.key.strip():
        raise Misuse("--key is empty; give a key that identifies only this run, or leave --key out")
    if options.source.startswith(BUCKET_PREFIX):
        require_object(options.source)
    given = read_given(options.params, options.params_file, source=options.source)
    request = request_for(options.source, options.key, params=given, labels=pairs_of("--label", options.labels))
    scheduled_at = None
    if options.at is not None:
        zone = None if request.workflow is None else request.workflow.timezone
        if options.at.tzinfo is None and zone is None:
            raise Misuse(
                "--at needs an offset such as Z or +01:00, as the timezone of a file in a bucket is not known here"
            )
        scheduled_at = read_given_time(options.at, zone, now=datetime.now(UTC))
    return replace(request, scheduled_at=scheduled_at, no_queue=options.no_queue)
