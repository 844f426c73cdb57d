"""Run a workload and record what it cost."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atom_emulator.platform.options import PartName
from atom_workflows.coordinator.services import Services
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, step_path
from atom_workflows.ports import Message
from atom_workflows.run_documents import run_record
from bench import processes
from bench.counts import Counts, Servers
from bench.workloads import Workload

FILE: Final = "bench.json"
LOOK_EVERY_S: Final = 0.05
GIVE_UP_S: Final = 120.0
GIVE_UP_S_PER_STEP: Final = 0.05


class Inconsistent(Exception):
    """A run did not succeed, or the servers did not count what was requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One pass of a workload.

    `wall_s` is the time from just before the start message to the last run's own `finished_at`. `counts` exclude the
    observer's own requests; processor time includes answering them. `floor_s` is the time that bare calls took right
    after.
    """

    wall_s: float
    counts: Counts
    cpu_s: Mapping[PartName, float]
    floor_s: float = 0.0


class Bench:
    """A platform being measured.

    A client reaches it through `services`. `run_ids` are the runs of the latest sample.
    """

    def __init__(self, services: Services, servers: Servers) -> None:
        self._services = services
        self._servers = servers
        self.run_ids: list[str] = []
        self._looks = 0
        self._patience_s = GIVE_UP_S

    def sample(self, workload: Workload) -> Sample:
        """Run the workload once. Raises `Inconsistent`."""
        self._patience_s = GIVE_UP_S + GIVE_UP_S_PER_STEP * workload.steps
        parts = processes.by_part()
        counts, cpu_s, looks = self._servers.counts(), processes.cpu_seconds(parts), self._looks
        wall_s = self._run(workload)
        self._until(lambda: self._servers.backlog() == 0, "an event was never acknowledged")
        counts = self._servers.counts() - counts
        taken_s = {part: after - cpu_s[part] for part, after in processes.cpu_seconds(parts).items()}
        _check(workload, counts)
        return Sample(wall_s=wall_s, counts=_without_looks(counts, self._looks - looks), cpu_s=taken_s)

    def request_body(self, run_key: str) -> Any:
        """Run one step and return the body of its submission."""
        definition = json.dumps({"name": "bench", "steps": [{"id": "s0", "task": {"imageUri": "image"}}]})
        run_id = self.start(definition, [run_key])[0]
        self._until(lambda: self._finished_at(run_id) is not None, f"run {run_id} did not end")
        document = self._services.store.get([step_path(run_id, "s0")])[0]
        if document is None:
            raise Inconsistent(f"run {run_id} has no step s0")
        return json.loads(document.fields["task"])

    def _run(self, workload: Workload) -> float:
        series = uuid.uuid4().hex
        began = time.time()
        self.run_ids = self.start(workload.definition, [f"{series}-{number}" for number in range(workload.runs)])
        return max(self._end_of(run_id) for run_id in self.run_ids) - began

    def start(self, definition: str, run_keys: Sequence[str]) -> list[str]:
        """Start runs of one definition and return their ids."""
        body = {"definition": definition, "workflow_path": FILE}
        self._services.bus.publish([Message(topic="start", body={**body, "run_key": key}) for key in run_keys])
        return [run_id_for(FILE, "key", key) for key in run_keys]

    def _end_of(self, run_id: str) -> float:
        ended: list[float] = []

        def has_ended() -> bool:
            at = self._finished_at(run_id)
            ended.extend([at] if at is not None else [])
            return bool(ended)

        self._until(has_ended, f"run {run_id} did not end")
        return ended[0]

    def _finished_at(self, run_id: str) -> float | None:
        self._looks += 1
        document = self._services.store.get([run_path(run_id)])[0]
        run = None if document is None else run_record(document)
        if run is None or not run.state.is_terminal or run.finished_at is None:
            return None
        if run.state is not RunState.SUCCEEDED:
            raise Inconsistent(f"run {run_id} is {run.state}: {run.errors}")
        return run.finished_at.timestamp()

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + self._patience_s
        while not condition():
            if time.monotonic() > deadline:
                raise Inconsistent(f"{otherwise} within {self._patience_s:.0f} s")
            time.sleep(LOOK_EVERY_S)


def _check(workload: Workload, counts: Counts) -> None:
    if counts.submissions != workload.steps:
        raise Inconsistent(f"{workload.title}: {counts.submissions} jobs were submitted for {workload.steps} steps")


def _without_looks(counts: Counts, looks: int) -> Counts:
    """Subtract the observer's polls from the counts.

    Each poll is one call that reads one document.
    """
    own = dict.fromkeys(Counts.__dataclass_fields__, 0) | {"reads": looks, "store_calls": looks}
    return counts - Counts(**own)
