"""The runs that are in flight: started, watched, and replaced as they end."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from atom_workflows.core.run_ids import run_id_for
from chaos.judge import Ended
from chaos.workloads import Workload

TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "INVALID"})
MOST_FORGOTTEN: Final = 2
"""A job that is lost a third time fails its step, as it should: then the end of a run could not be predicted."""

_CALL_S: Final = 30.0


@dataclass(slots=True)
class Run:
    """A run that was started. `ended_at` is when it was seen to have ended, in seconds of this process's clock."""

    workload: Workload
    forgotten: int = 0
    ended_at: float | None = None
    state: str = ""


@dataclass(slots=True)
class Flight:
    """All runs of a storm, by id; with direct connections to the servers."""

    database: Any
    publisher: Any
    project: str
    dice: random.Random
    workloads: Iterator[Workload]
    runs: dict[str, Run] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, workload: Workload | None = None) -> str:
        """Ask for one more run, by message."""
        workload = workload or next(self.workloads)
        path, run_key = f"{workload.shape.replace(' ', '-')}.yaml", uuid.UUID(int=self.dice.getrandbits(128)).hex
        body = {"workflow_path": path, "definition": workload.definition, "run_key": run_key}
        run_id = run_id_for(path, "key", run_key)
        with self._lock:
            self.runs[run_id] = Run(workload=workload)
        topic = f"projects/{self.project}/topics/start"
        message = {"data": json.dumps(body).encode()}
        self.publisher.api.publish(topic=topic, messages=[message], timeout=_CALL_S)
        return run_id

    def open(self) -> dict[str, Run]:
        """Return the runs not yet seen to have ended."""
        with self._lock:
            return {run_id: run for run_id, run in self.runs.items() if run.ended_at is None}

    def is_over(self) -> bool:
        """Return True once every run was seen to have ended."""
        return not self.open()

    def are_all_there(self) -> bool:
        """Return True once every run was seen to have a document."""
        return all(run.state for run in self.open().values())

    def look(self) -> int:
        """Note which runs have ended, and return how many."""
        still = self.open()
        references = [self.database.document(f"runs/{run_id}") for run_id in still]
        if not references:
            return 0
        ended = 0
        for found in self.database.get_all(references, field_paths=["state"], retry=None, timeout=_CALL_S):
            state = (found.to_dict() or {}).get("state", "")
            still[found.id].state = state
            if state in TERMINAL:
                still[found.id].ended_at = time.monotonic()
                ended += 1
        return ended

    def may_forget(self) -> bool:
        """Allow the Task Runner to forget its jobs.

        Returns False if some run has been through that too often.
        """
        with self._lock:
            still = [run for run in self.runs.values() if run.ended_at is None]
            if any(run.forgotten >= MOST_FORGOTTEN for run in still):
                return False
            for run in still:
                run.forgotten += 1
        return True

    def documents(self, run_id: str) -> Ended:
        """Return the run as the store holds it now."""
        document = self.database.document(f"runs/{run_id}")
        steps: dict[str, Mapping[str, Any]] = {
            step.id: step.to_dict() for step in document.collection("steps").stream(retry=None, timeout=_CALL_S)
        }
        run = self.runs[run_id]
        return Ended(
            run_id=run_id,
            workload=run.workload,
            run=document.get(retry=None, timeout=_CALL_S).to_dict() or {},
            steps=steps,
            forgotten=run.forgotten,
        )
