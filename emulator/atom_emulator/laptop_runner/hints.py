"""Report ended jobs from a separate thread, so that no call has to wait for it."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from atom_emulator.job_hints import MAX_HINTS, JobHints
from atom_workflows.messages.internal import JobEnded


class HintThread:
    """Publishes hints to the topic whose address is in a file."""

    def __init__(self, address_file: Path) -> None:
        self._hints = JobHints(address_file)
        self._keys: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="hints", daemon=True).start()

    def send(self, key: str) -> None:
        """Publish that the job with this idempotency key has ended.

        Returns at once; the hint is published soon.
        """
        self._keys.put(key)

    def _run(self) -> None:
        while True:
            keys = [self._keys.get()]
            while len(keys) < MAX_HINTS and not self._keys.empty():
                keys.append(self._keys.get())
            self._hints.publish([JobEnded(idempotency_key=key) for key in keys])
