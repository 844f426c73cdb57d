"""Publish hints that jobs have ended, so that no one has to poll for it.

A hint that cannot be published is dropped: the job's status is asked for anyway, only later.
"""

from __future__ import annotations

import base64
import json
import logging
import queue
import threading
import urllib.error
import urllib.request
from typing import Final

from atom_workflows.messages.internal import JobEnded, job_ended_message

_TIMEOUT_S: Final = 5.0
_MOST_AT_ONCE: Final = 100

_log = logging.getLogger(__name__)


class Hints:
    """Publishes hints from a thread of its own, through Pub/Sub's REST interface.

    `topic_url` is the address of the topic: `http://…/v1/projects/P/topics/T`.
    """

    def __init__(self, topic_url: str) -> None:
        self._url = f"{topic_url}:publish"
        # The server is on this machine, whatever proxy is set.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._keys: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="hints", daemon=True).start()

    def send(self, key: str) -> None:
        """Publish soon that the job with this idempotency key has ended. Returns at once."""
        self._keys.put(key)

    def _run(self) -> None:
        while True:
            keys = [self._keys.get()]
            while len(keys) < _MOST_AT_ONCE and not self._keys.empty():
                keys.append(self._keys.get())
            try:
                self._publish(keys)
            except OSError as error:
                _log.warning("hints for %d jobs were not published: %s", len(keys), error)

    def _publish(self, keys: list[str]) -> None:
        messages = [job_ended_message(JobEnded(idempotency_key=key)) for key in keys]
        encoded = [
            {
                "data": base64.b64encode(json.dumps(message.body).encode()).decode(),
                "attributes": dict(message.attributes),
            }
            for message in messages
        ]
        request = urllib.request.Request(  # noqa: S310 (the platform's own address)
            self._url,
            json.dumps({"messages": encoded}).encode(),
            {"Content-Type": "application/json"},
        )
        with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
            answer.read()
