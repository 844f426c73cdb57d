"""Read the file into which a job wrote its outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from atom_workflows.bounded_json import read_json
from atom_workflows.core import outputs as limits
from atom_workflows.errors import JsonTooDeep, OutputsUnusable

MAX_FILE_BYTES: Final = 4 * limits.MAX_OUTPUTS_BYTES
"""The maximum size of the file. The limit on outputs is lower, but excludes whitespace, since people indent JSON."""


def read_outputs(data: bytes) -> Mapping[str, Any]:
    """Return the outputs in a file's content.

    Only the first `MAX_FILE_BYTES` + 1 bytes need to be given. An empty file has no outputs. Raises `OutputsUnusable`,
    whose message says what is wrong and what to do instead.
    """
    if len(data) > MAX_FILE_BYTES:
        raise OutputsUnusable(
            f"its outputs file has more than {MAX_FILE_BYTES:,} bytes: write large outputs to another file or to "
            "Cloud Storage, and return their location"
        )
    if not data.strip():
        return {}
    try:
        value = read_json(data, most_values=limits.MAX_OUTPUTS_BYTES)
    except JsonTooDeep:
        raise OutputsUnusable(limits.TOO_DEEP) from None
    except ValueError as error:
        raise OutputsUnusable(
            f'its outputs file is not JSON: {error}; write an object, such as {{"rows": 12}}'
        ) from error
    # Null means no outputs in a response, but a job that writes null into its file has made a mistake.
    found = limits.read_outputs([] if value is None else value)
    if found.problem:
        raise OutputsUnusable(found.problem)
    outputs: Mapping[str, Any] = json.loads(found.text)
    return outputs
