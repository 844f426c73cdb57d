"""Parts that run together or not at all."""

from __future__ import annotations

import os
import queue
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from atom_emulator.platform.errors import PartCrashed, PartNotReady
from atom_emulator.platform.part import PartSpec
from atom_emulator.platform.supervisor import Supervisor
from unit.emulator.platform.processes import ended, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT = "import threading; threading.Event().wait()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {WAIT}"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Give a supervisor with little patience, stopped at the end."""
    supervisor = Supervisor(grace_s=0.2)
    yield supervisor
    supervisor.stop()


def python(name: str, program: str, folder: Path, *, revived: bool = False) -> PartSpec:
    """Build a part that runs a Python program."""
    command = [sys.executable, "-c", program]
    return PartSpec(name=name, command=command, log=folder / f"{name}.log", revived=revived)


def test_stop_ends_every_part(supervisor: Supervisor, tmp_path: Path) -> None:
    """All parts have ended when `stop` returns, which is no crash."""
    parts = [supervisor.start(python(name, WAIT, tmp_path)) for name in ("a", "b")]
    supervisor.stop()
    supervisor.stop()
    assert all(part.exited.is_set() for part in parts)
    assert supervisor.wait()
    assert supervisor.crash is None


def test_a_part_that_ignores_sigterm_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """A part that does not end within the grace period is killed."""
    part = supervisor.start(python("stubborn", STUBBORN, tmp_path))
    supervisor.wait_until(part, lambda: part.log_tail() == "up", timeout_s=60)
    supervisor.stop()
    assert part.exited.is_set()


def test_a_crash_stops_the_others_and_is_reported(tmp_path: Path) -> None:
    """A crash stops the other parts, and is reported with its log's end."""
    crashes: queue.Queue[PartCrashed] = queue.Queue()
    supervisor = Supervisor(grace_s=0.2, on_crash=crashes.put)
    healthy = supervisor.start(python("healthy", WAIT, tmp_path))
    supervisor.start(python("broken", "raise SystemExit('no disk')", tmp_path))
    with pytest.raises(PartCrashed) as caught:
        supervisor.wait(60)
    crash = crashes.get(timeout=60)
    assert crash is caught.value
    assert (crash.part, crash.exit_code, crash.log_tail) == ("broken", 1, "no disk")
    assert healthy.exited.is_set()


def test_no_part_starts_after_a_crash(supervisor: Supervisor, tmp_path: Path) -> None:
    """Starting a part after a crash raises the crash."""
    supervisor.start(python("broken", "", tmp_path))
    until(lambda: supervisor.crash)
    with pytest.raises(PartCrashed):
        supervisor.start(python("late", WAIT, tmp_path))


def test_waiting_for_a_part_ends_with_anothers_crash(supervisor: Supervisor, tmp_path: Path) -> None:
    """Waiting for a part ends when another one crashes."""
    slow = supervisor.start(python("slow", WAIT, tmp_path))
    supervisor.start(python("broken", "", tmp_path))
    with pytest.raises(PartCrashed):
        supervisor.wait_until(slow, lambda: False, timeout_s=60)


def test_a_part_that_is_never_ready_is_reported(supervisor: Supervisor, tmp_path: Path) -> None:
    """A part that is not ready in time raises PartNotReady."""
    part = supervisor.start(python("slow", WAIT, tmp_path))
    with pytest.raises(PartNotReady):
        supervisor.wait_until(part, lambda: False, timeout_s=0.05)


def test_a_revived_part_that_is_killed_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """A revived part is started again however often it is killed."""
    spec = python("lasting", f"print('up', flush=True); {WAIT}", tmp_path, revived=True)
    part = supervisor.start(spec)
    supervisor.wait_until(part, lambda: "up" in part.log_tail(), timeout_s=60)
    for deaths in (1, 2):
        before = supervisor.process_group("lasting")
        os.killpg(before, signal.SIGKILL)
        until(lambda deaths=deaths: spec.log.read_text().count("up") == deaths + 1)  # type: ignore[misc]  # mypy infers no type for a lambda with a default
        assert supervisor.process_group("lasting") != before
    assert (supervisor.crash, supervisor.revivals) == (None, {"lasting": 2})
    last = supervisor.process_group("lasting")
    supervisor.stop()
    assert ended(last)


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"])
def test_a_revived_part_that_cannot_run_is_a_crash(supervisor: Supervisor, tmp_path: Path, program: str) -> None:
    """A revived part that ends by itself or is never ready is a crash."""
    supervisor.start(python("broken", program, tmp_path, revived=True))
    with pytest.raises(PartCrashed):
        supervisor.wait(60)
