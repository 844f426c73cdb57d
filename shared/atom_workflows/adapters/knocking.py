"""One request to an address, without a credential, to see who answers; nothing is made of the answer but its status."""

from __future__ import annotations

from typing import Any, Final

import google.auth.exceptions

from atom_workflows.adapters.brief_request import BriefRequest, GaveUp
from atom_workflows.errors import TaskRunnerUnavailable

_TransportError: Final[Any] = google.auth.exceptions.TransportError


def knock(url: str) -> int:
    """The status of a GET; raises `TaskRunnerUnavailable` with the reason if there is no answer."""
    try:
        return BriefRequest()(url).status
    except GaveUp as error:
        reason = error.reason
    except _TransportError as error:
        reason = str(error)
    raise TaskRunnerUnavailable(reason)
