"""Report ended jobs to the topic `jobs`: what the Task Runners on this machine share.

A Task Runner starts before the platform has its topics, so it gets the path of a file that will contain the address.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from atom_workflows.messages.internal import JobEnded, job_ended_message

MAX_HINTS: Final = 1_000
"""The maximum number of messages in a request, as in Pub/Sub itself."""

_TIMEOUT_S: Final = 2.0
_PAUSES_S: Final = (0.2, 0.0)

# The address is on this machine, whatever proxy the environment names.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))

_log = logging.getLogger(__name__)


def write_address(path: Path, *, pubsub_url: str, project: str) -> None:
    """Write the topic's address, for the Task Runners that were given this path.

    `pubsub_url` is the address of Pub/Sub's REST API. A reader never sees half of the file.
    """
    address = {"url": f"{pubsub_url}/v1/projects/{project}/topics/jobs:publish"}
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(address) + "\n", encoding="utf-8")
    partial.replace(path)


class JobHints:
    """Publishes hints to the topic whose address is in a file. Safe to use from several threads."""

    def __init__(self, address_file: Path) -> None:
        self._file = address_file

    def publish(self, ended: Sequence[JobEnded]) -> None:
        """Publish a hint for each of the jobs.

        Takes a few seconds at most. A hint that cannot be published is logged and dropped, as the job is polled anyway.
        """
        for start in range(0, len(ended), MAX_HINTS):
            part = ended[start : start + MAX_HINTS]
            reason = self._try_to_publish(part)
            if reason:
                _log.warning("%d hints that jobs have ended were not published: %s", len(part), reason)

    def _try_to_publish(self, ended: Sequence[JobEnded]) -> str:
        """Publish hints in one request, which is repeated once.

        Returns the reason if both attempts failed.
        """
        reason = ""
        for pause_s in _PAUSES_S:
            try:
                url = str(json.loads(self._file.read_text(encoding="utf-8"))["url"])
                _post(url, ended)
            except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
                time.sleep(pause_s)
            else:
                return ""
        return reason


def _post(url: str, ended: Sequence[JobEnded]) -> None:
    messages = [
        {"data": base64.b64encode(json.dumps(message.body).encode()).decode(), "attributes": dict(message.attributes)}
        for message in map(job_ended_message, ended)
    ]
    content = json.dumps({"messages": messages}).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310 (the platform's own address)
    with _OPENER.open(request, timeout=_TIMEOUT_S) as response:
        response.read()
