"""Check the workflow that a user names, before anything is started.

It may be a file, stdin or an object in a bucket.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from atom_client.errors import Misuse
from atom_client.planning.requests import BUCKET_PREFIX, GivenFile, RunRequest, request_for_file, request_for_object
from atom_client.text import name_of
from atom_workflows.language.limits import MAX_FILE_BYTES

if TYPE_CHECKING:
    from atom_client.planning.params import GivenParams

STDIN: Final = "-"
STDIN_NAME: Final = "stdin.yaml"


def request_for(
    source: str,
    run_key: str | None = None,
    *,
    params: GivenParams | None = None,
    labels: Mapping[str, str] | None = None,
    env_names: Collection[str] | None = None,
) -> RunRequest:
    """Return the request for a run of a file or an object.

    Raises the same errors as `request_for_file`, and `Failure` for an unreadable file.
    """
    if source.startswith(BUCKET_PREFIX):
        return request_for_object(source, run_key, params=params, labels=labels)
    name = STDIN_NAME if source == STDIN else Path(source).name
    file = GivenFile(content=content_of(source), name=name, shown=shown_name(source))
    return request_for_file(file, run_key, params=params, labels=labels, env_names=env_names)


def shown_name(source: str) -> str:
    """Return a file's name as shown in messages."""
    return "<stdin>" if source == STDIN else source


def content_of(source: str, *, what: str = "the name of the workflow file") -> bytes:
    """Read a file, stopping once it is too large.

    Error messages refer to `source` as `what`. Raises `Failure` if it cannot be read.
    """
    most = MAX_FILE_BYTES + 1  # A device or a pipe may never end.
    if source == STDIN:
        return sys.stdin.buffer.read(most)
    if not source:
        raise Misuse(f"{what} is empty")
    try:
        with Path(source).open("rb") as file:
            return file.read(most)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        advice = "" if what.startswith("--") else ". Name a workflow file."
        raise Misuse(f"{name_of(source)} cannot be read: {reason}{advice}") from error
    except ValueError as error:  # The name contains a null character.
        raise Misuse(f"{name_of(source)!r} is not a file name: {error}") from error
