"""The folder `.atom-workflows` of a project: who is using it, and how to find its platform.

A platform that keeps its history in the folder holds a lock on a file in it, and so do the parts that may change the
history. The kernel releases the lock when the last of them has ended, however it ended, so its next holder knows that
nothing of an earlier platform is still running.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from atom_emulator.log_files import OWN_FOLDER, make_folder
from atom_emulator.platform.errors import FolderInUse, FolderUnusable

ENDS_WITHIN_S: Final = 5.0
"""How long to wait for a platform that is up: it may be about to end."""

PARTS_END_WITHIN_S: Final = 40.0
"""How long to wait for the parts of a platform whose own process was killed.

A function that was killed in part still finishes its requests: gunicorn gives them 30 s.
"""

_LOOK_EVERY_S: Final = 0.05
_LOWEST_DESCRIPTOR: Final = 10
_MOST_BYTES: Final = 100_000
_OF_A_RUN: Final = "run-{}.json"
"""The name of the file by which the platform of a single run is found."""


@dataclass(frozen=True, slots=True)
class ProjectFolder:
    """The folder, which need not exist yet."""

    path: Path

    @classmethod
    def of(cls, project: Path) -> ProjectFolder:
        """Return the folder of a project."""
        return cls(project / OWN_FOLDER)

    @property
    def history(self) -> Path:
        """The file with the documents."""
        return self.path / "history.db"

    @property
    def messages(self) -> Path:
        """The file of unacknowledged messages."""
        return self.path / "messages.db"

    @property
    def mock_jobs(self) -> Path:
        """The folder with the jobs of mock Task Runners."""
        return self.path / "mock-jobs"

    @property
    def _lock(self) -> Path:
        return self.path / "platform.lock"

    @property
    def _state(self) -> Path:
        return self.path / "platform.json"

    @contextmanager
    def held(self, *, alone: bool, by: str) -> Iterator[int]:
        """Hold the folder, alone or with others that do not need exclusive use.

        Yields the descriptor of the lock, for the parts to inherit. `by` is the command that others see in errors.
        Raises `FolderInUse`.
        """
        with self._usable():
            make_folder(self.path)
            opened = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # A function's socket becomes descriptor 3 of its process (child.py), in place of what would be there.
            lock = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR)
            os.close(opened)
        try:
            self._acquire(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            # Others may hold the folder, too, and some that did have ended.
            holders = [*([] if alone else self._holders()), {"pid": os.getpid(), "command": by}]
            with suppress(OSError):  # On a full disk, others are told less.
                os.truncate(lock, 0)
                os.pwrite(lock, json.dumps(holders).encode(), 0)
            if alone:
                # It is what a platform left that was killed.
                with self._usable():
                    for left in (self._state, *self.path.glob(_OF_A_RUN.format("*"))):
                        left.unlink(missing_ok=True)
            yield lock
        finally:
            os.close(lock)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FolderUnusable(self.path, error) from error

    def _acquire(self, lock: int, kind: int) -> None:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = next(iter(self._holders()), {})
                if time.monotonic() - began > (ENDS_WITHIN_S if holder else PARTS_END_WITHIN_S):
                    alone = kind == fcntl.LOCK_EX
                    raise FolderInUse(self.path, holder.get("pid"), holder.get("command"), alone=alone) from None
                time.sleep(_LOOK_EVERY_S)
            except OSError as error:
                raise FolderUnusable(self.path, error) from error
            else:
                return

    def _holders(self) -> list[dict[str, Any]]:
        """Return the other processes that have acquired the lock and are running."""
        found = _read_json(self._lock)
        holders = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return [one for one in holders if one.get("pid") != os.getpid() and _is_running(one.get("pid"))]

    @contextmanager
    def announced(self, environment: Mapping[str, str], *, only_run: str = "") -> Iterator[None]:
        """Let commands in this project find the platform by these variables.

        It is found while the block lasts. With `only_run`, only commands about that run find it: there may be other
        platforms, each with a run of its own.
        """
        state = self.path / _OF_A_RUN.format(only_run) if only_run else self._state
        partial = state.with_suffix(".partial")
        with ExitStack() as stack:
            with self._usable():
                partial.unlink(missing_ok=True)
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                file = stack.enter_context(os.fdopen(descriptor, "w", encoding="utf-8"))
                # It is locked as long as this process lives, so what one left that was killed is not taken for it.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                json.dump({"pid": os.getpid(), "environment": dict(environment)}, file)
                file.flush()
                partial.replace(state)
            try:
                yield
            finally:
                # If the folder was removed or renamed, there may be another platform's in its place.
                if _announcement(state).get("pid") == os.getpid():
                    with suppress(OSError):
                        state.unlink(missing_ok=True)

    def running_platform(self) -> dict[str, str] | None:
        """Return the variables of the platform that is up in this folder, or None.

        Anything that a killed platform left behind is ignored, even while its parts are still ending.
        """
        state = _announcement(self._state)
        return _variables_in(state) if _is_running(state.get("pid")) and _is_held_alone(self._lock) else None

    def platform_of_run(self, run_id: str) -> dict[str, str] | None:
        """Return the variables of this run's own platform, if it is up."""
        state = self.path / _OF_A_RUN.format(run_id)
        return _variables_in(_announcement(state)) if _is_held_alone(state) else None

    def runs_under_way(self) -> list[str]:
        """Return the runs whose own platforms are up."""
        before, _, after = _OF_A_RUN.partition("{}")
        found = [file for file in self.path.glob(_OF_A_RUN.format("*")) if _is_held_alone(file)]
        return sorted(file.name.removeprefix(before).removesuffix(after) for file in found)


def _announcement(state: Path) -> dict[str, Any]:
    found = _read_json(state)
    return found if isinstance(found, dict) else {}


def _variables_in(announcement: Mapping[str, Any]) -> dict[str, str] | None:
    found = announcement.get("environment")
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else None


def _is_held_alone(file: Path) -> bool:
    """Return True if a process holds an exclusive lock on the file."""
    try:
        lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def _read_json(file: Path) -> Any:
    try:
        with file.open(encoding="utf-8") as opened:
            return json.loads(opened.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return []


def _is_running(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # It is another user's.
    except (ProcessLookupError, OverflowError):
        return False
    return True
