"""Counters of the server's calls and documents, counted as Firestore bills them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence

AGGREGATED_PER_READ = 1000
"""An aggregation is billed as one read per thousand documents that it examined."""


class Counters:
    """Documents read, written and deleted, and calls by method, since the start or the last reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents = Counter(reads=0, writes=0, deletes=0)
        self._written: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def count_call(self, method: str) -> None:
        """Count a call, successful or not."""
        with self._lock:
            self._calls[method] += 1

    def count_refusal(self, method: str) -> None:
        """Count a call that was answered with an error, such as a commit whose precondition did not hold."""
        with self._lock:
            self._refused[method] += 1

    def count_reads(self, documents: int) -> None:
        """Count documents read.

        A read that found nothing is billed as one.
        """
        with self._lock:
            self._documents["reads"] += max(1, documents)

    def count_aggregation(self, documents: int) -> None:
        """Count the reads of an aggregation."""
        self.count_reads(-(-documents // AGGREGATED_PER_READ))

    def count_commit(self, *, written: Sequence[str], deleted: Sequence[str]) -> None:
        """Count a commit's writes and deletes, given the documents' paths.

        Writes that changed nothing count as well.
        """
        with self._lock:
            self._documents["writes"] += len(written)
            self._documents["deletes"] += len(deleted)
            self._written.update(path.split("/")[-2] for path in written)

    def reset(self) -> None:
        """Set all counts to zero."""
        with self._lock:
            self._documents = Counter(reads=0, writes=0, deletes=0)
            self._written.clear()
            self._calls.clear()
            self._refused.clear()

    def as_json(self) -> bytes:
        """Return the counts as JSON data.

        `{"reads": n, "writes": n, "deletes": n, "written": {"steps": n, ...}, "calls": {"Commit": n, ...},
        "refused": {"Commit": n, ...}}`; `written` breaks the writes down by collection, `refused` are the calls that
        were answered with an error.
        """
        with self._lock:
            own = {"written": self._written, "calls": self._calls, "refused": self._refused}
            return json.dumps({**self._documents, **own}).encode()
