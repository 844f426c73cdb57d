"""A platform that keeps its state in the folder of a project: its parts' options, and what it continues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from atom_emulator.log_files import make_folder
from atom_emulator.platform.abandoned import cancel_open_runs, end_abandoned_run
from atom_emulator.platform.errors import PortTaken, RunnerMissing
from atom_emulator.platform.network import HOST, reserve_port
from atom_emulator.platform.options import FUNCTIONS, PartName, PlatformOptions
from atom_emulator.platform.project_folder import ProjectFolder
from atom_emulator.platform.recovery import (
    OwnRunner,
    Recovered,
    gather_mock_jobs,
    join_history,
    last_port,
    prepare_messages,
    recover,
    remove_files,
)
from atom_workflows.settings import from_environment

_HOLDING: frozenset[PartName] = frozenset({PartName.FIRESTORE, PartName.PUBSUB, *FUNCTIONS})
"""The parts without which nothing can change the history, or ask for a job."""


class Keeping:
    """The history of a platform. One that is not `alone` has a single run, and begins without the others."""

    def __init__(self, options: PlatformOptions, project: Path, lock: int) -> None:
        self.folder = ProjectFolder.of(project)
        self.alone = not options.only_run
        self._options = options
        self._lock = lock
        self._may_have_run = False
        self.cancelled: set[str] = set()
        self.missing_script = ""

    def holds(self, name: PartName) -> tuple[int, ...]:
        """Return the descriptors that a part holds as long as it lives."""
        return (self._lock,) if name in _HOLDING else ()

    def server_options(self, name: PartName) -> list[str]:
        """Return the options with which a server keeps its state."""
        if name is PartName.FIRESTORE:
            return [f"--history={self.folder.history}", *([] if self.alone else ["--afresh"])]
        # A platform with a single run has no message that would still be wanted when it has ended.
        return [f"--messages={self.folder.messages}"] if self.alone and name is PartName.PUBSUB else []

    @property
    def mock_journal(self) -> Path:
        """The file in which a mock Task Runner keeps its jobs, so that the next one knows them."""
        return self.folder.mock_jobs / f"{self._options.only_run or 'platform'}.jsonl"

    def task_runner_port(self, chosen: int, until_closed: ExitStack) -> int:
        """Reserve a port for the platform's own Task Runner: the last one, if possible, as runs contain its address."""
        last = last_port(self.folder.history) if self.alone and not chosen else 0
        try:
            return reserve_port(PartName.TASK_RUNNER, chosen or last, until_closed)
        except PortTaken:
            if chosen:
                raise
        return reserve_port(PartName.TASK_RUNNER, 0, until_closed)

    def begin(self, runner: str, port: int, *, jobs: Path, keep: timedelta) -> list[str]:
        """Prepare the history, and return the open runs that the platform goes on with.

        `runner` is what runs jobs, and `port` that of the platform's own Task Runner, or 0. Raises `PlatformError`.
        """
        script = self._options.task_runner_script
        own = OwnRunner(
            kind="mock" if runner == "scripted" else runner,
            url=f"http://{HOST}:{port}" if port else "",
            script="" if script is None else str(script),
        )
        if not self.alone:
            join_history(self.folder.history, own)
            self._may_have_run = True
            make_folder(self.folder.mock_jobs)
            return []
        chosen = {"WORKFLOW_TASK_RUNNER_URL": own.url or self._options.task_runner_url or ""}
        settings = from_environment({**os.environ, **self._options.environment, **chosen})
        found = self._recover(own, settings.may_use_task_runner)
        self.missing_script = found.script
        prepare_messages(self.folder.messages, self.folder.history)
        remove_files(found.expired_runs, jobs=jobs, logs=self.folder.path / "logs", keep=keep)
        gather_mock_jobs(self.folder.mock_jobs, self.mock_journal, found.open_runs)
        return list(found.open_runs)

    def _recover(self, own: OwnRunner, may_use: Callable[[str], bool]) -> Recovered:
        """Recover the history, and if requested, cancel the runs that need other Task Runners."""
        while True:
            try:
                return recover(self.folder.history, self._database, own, may_use=may_use)
            except RunnerMissing as missing:
                # A run that could not be cancelled is found again.
                if not self._options.cancel_others or not self.cancelled.isdisjoint(missing.runs):
                    raise
                is_kind = missing.option.startswith("--runner ")
                reason = f"it needs {missing.option}, and `local up` was given --cancel-others"
                cancel_open_runs(self.folder.history, self._database, missing.runs, reason, jobs_ended=is_kind)
                self.cancelled.update(missing.runs)

    def end(self) -> None:
        """End the single run of a platform whose parts have ended, if it has not ended itself."""
        if self._may_have_run:
            own = not self._options.task_runner_url
            end_abandoned_run(self.folder.history, self._database, self._options.only_run, jobs_ended=own)
            self.mock_journal.unlink(missing_ok=True)

    @property
    def _database(self) -> str:
        # The functions use this database, whatever it is called in the shell; see `PlatformOptions.project`.
        return f"projects/{self._options.project}/databases/(default)"

    @contextmanager
    def announced(self, environment: Mapping[str, str]) -> Iterator[None]:
        """Let commands find the platform by these variables while the block lasts.

        The platform of a single run is found only by commands about that run.
        """
        with self.folder.announced(environment, only_run=self._options.only_run):
            yield


@contextmanager
def keeping(options: PlatformOptions) -> Iterator[Keeping | None]:
    """Hold the project's folder while the block lasts, if the platform keeps a history. Raises `FolderInUse`."""
    if options.history is None or not options.keeps_history:
        yield None
        return
    folder = ProjectFolder.of(options.history)
    alone = not options.only_run
    with folder.held(alone=alone, by=f"atom-workflows {'local up' if alone else 'run'}") as lock:
        yield Keeping(options, options.history, lock)
