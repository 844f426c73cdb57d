"""The options of the platform, and the names of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeAlias

from atom_emulator.platform.errors import PartCrashed


class PartName(StrEnum):
    """The child processes. The last three are the deployed functions."""

    FIRESTORE = "firestore"
    PUBSUB = "pubsub"
    TASK_RUNNER = "task-runner"
    STORAGE = "storage"
    START = "start"
    DISPATCHER = "dispatcher"
    CHECKER = "checker"


Emulators: TypeAlias = Literal["embedded", "google"]
"""The Firestore and Pub/Sub to start: this package's own, or Google's."""

Runner: TypeAlias = Literal["mock", "process", "docker"]
"""What runs jobs: nothing, since a mock only pretends to, or this machine, as processes or containers."""

FUNCTIONS = (PartName.START, PartName.DISPATCHER, PartName.CHECKER)

REVIVABLE = frozenset({*FUNCTIONS, PartName.TASK_RUNNER})
"""The parts that can be replaced without losing data that the others need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformOptions:
    """The options of the platform. Every part uses a free port unless `ports` names one.

    `firestore_address` and `pubsub_address` (host:port) and `task_runner_url` name servers that are already running;
    the platform then starts none of its own. `bucket` is created in the platform's own Cloud Storage; with None, the
    platform has no Cloud Storage. `environment` is passed to the functions and overrides all other variables. A
    `log_dir` of None means a new folder under `.atom-workflows/logs/` of the working directory.

    With a `history`, the folder of a project, the embedded Firestore and Pub/Sub keep their state in `.atom-workflows/`
    there, and the platform goes on with the runs that are open. One platform at a time can do so. With `only_run` it
    begins without them, and only adds its run. With None, the state is in memory. With `cancel_others`, it cancels the
    open runs that need another Task Runner, which would otherwise keep it from starting.

    With a `runner` other than the mock, jobs really run on this machine, and their files are in `jobs_dir`, by default
    `.atom-workflows/jobs/` of the working directory. At most `slots` run at a time; 0 means one per processor. With
    `only_run`, only that run's jobs run.

    Functions and the Task Runner named in `revived` are started again, at the same address, when they are killed, as
    Cloud Run replaces an instance; any other part that ends stops the platform. The new Task Runner knows the jobs that
    it finds in `task_runner_journal`; without a journal, it knows none.
    """

    project: str = "atom-local"
    emulators: Emulators = "embedded"
    functions_dir: Path | None = None
    firestore_address: str | None = None
    pubsub_address: str | None = None
    bucket: str | None = "atom-local"
    task_runner_url: str | None = None
    runner: Runner = "mock"
    jobs_dir: Path | None = None
    slots: int = 0
    only_run: str = ""
    task_runner_script: Path | None = None
    task_runner_duration_s: float = 0.0
    ports: Mapping[PartName, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tick_every_s: float = 5.0
    threads: int = 8
    log_dir: Path | None = None
    start_timeout_s: float = 30.0
    grace_s: float = 3.0
    on_crash: Callable[[PartCrashed], None] | None = None
    revived: frozenset[PartName] = frozenset()
    task_runner_journal: Path | None = None
    history: Path | None = None
    cancel_others: bool = False

    @property
    def keeps_history(self) -> bool:
        """True if the platform has a history, and servers of its own that can keep it."""
        return self.history is not None and self.emulators == "embedded" and self.firestore_address is None

    def __post_init__(self) -> None:
        if kept := sorted(self.revived - REVIVABLE):
            raise ValueError(f"{' and '.join(kept)} cannot be revived: its data would be lost")
