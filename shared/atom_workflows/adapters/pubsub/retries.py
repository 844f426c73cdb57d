"""Time limits for Pub/Sub requests, and the errors that are retried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_exception_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits in seconds: for one attempt, and for all attempts together."""

    call_s: float = 10.0
    total_s: float

    @property
    def options(self) -> dict[str, Any]:
        """A client's call options; a timeout alone would not limit its retries."""
        return {"retry": self.retry, "timeout": self.call_s}

    @property
    def retry(self) -> Retry:
        """The retry policy for a request."""
        return Retry(
            predicate=if_exception_type(
                google_errors.ServiceUnavailable,
                google_errors.ResourceExhausted,
                google_errors.Aborted,
                google_errors.InternalServerError,
            ),
            initial=0.1,
            maximum=2.0,
            timeout=self.total_s,
        )
