"""The journal: every accepted job, one JSON object a line, so that a restarted server still knows them.

What a line tells is the submission; how its job goes follows from the script, as it did the first time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atom_emulator.task_runner.jobs import Acceptance


class Journal:
    """Jobs in a file. Whoever empties the file makes the next server forget them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, accepted: Acceptance) -> None:
        """Write a job down before its submission is answered."""
        line = {
            "id": accepted.job_id,
            "job": accepted.job,
            "idempotency_key": accepted.idempotency_key,
            "at": accepted.at,
        }
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

    def clear(self) -> None:
        """Forget every job."""
        self._path.write_bytes(b"")

    def read(self) -> Iterator[Acceptance]:
        """The jobs in the order in which they were accepted; a line that a death cut short was not answered."""
        if not self._path.exists():
            return
        whole, _, _ = self._path.read_text().rpartition("\n")
        for text in whole.splitlines():
            line: dict[str, Any] = json.loads(text)
            yield Acceptance(job_id=line["id"], job=line["job"], idempotency_key=line["idempotency_key"], at=line["at"])
