"""Kills processes at random, as machines do that go down or run out of memory."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import psutil

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import FUNCTIONS, PartName
from chaos.tally import Fault, Tally

_WEIGHTS: Final = {
    (Fault.WORKER_KILLED, PartName.START): 2,
    (Fault.WORKER_KILLED, PartName.DISPATCHER): 6,
    (Fault.WORKER_KILLED, PartName.CHECKER): 4,
    (Fault.FUNCTION_KILLED, PartName.START): 1,
    (Fault.FUNCTION_KILLED, PartName.DISPATCHER): 1,
    (Fault.FUNCTION_KILLED, PartName.CHECKER): 1,
    (Fault.TASK_RUNNER_KILLED, PartName.TASK_RUNNER): 3,
    (Fault.TASK_RUNNER_FORGOT, PartName.TASK_RUNNER): 1,
}
"""What is killed, and how often compared with the others."""

_FIRST: Final = (
    (Fault.WORKER_KILLED, PartName.DISPATCHER),
    (Fault.TASK_RUNNER_FORGOT, PartName.TASK_RUNNER),
    (Fault.WORKER_KILLED, PartName.CHECKER),
    (Fault.FUNCTION_KILLED, PartName.DISPATCHER),
    (Fault.TASK_RUNNER_KILLED, PartName.TASK_RUNNER),
)
"""Each kind of death once, however short the storm."""


class Killer:
    """A thread that kills while its `with` block lasts: each kind once, then as the dice say.

    `may_forget` is asked before the Task Runner is made to forget its jobs.
    """

    def __init__(
        self,
        platform: LocalPlatform,
        *,
        every_s: float,
        dice: random.Random,
        tally: Tally,
        may_forget: Callable[[], bool],
    ) -> None:
        self._platform = platform
        self._every_s = every_s
        self._dice = dice
        self._tally = tally
        self._may_forget = may_forget
        self._to_do = dice.sample(_FIRST, len(_FIRST))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._dice.uniform(0.5, 1.5) * self._every_s):
            if not self._to_do:
                self._to_do = self._dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            if self._strike(*self._to_do[0]):
                self._to_do.pop(0)
            else:
                self._to_do.append(self._to_do.pop(0))  # Not now, as what it would kill is just starting.

    def _strike(self, fault: Fault, part: PartName) -> bool:
        """Kill one part.

        Returns False if it is not running, or must not forget now.
        """
        group = self._platform.process_group(part)
        if fault is Fault.WORKER_KILLED:
            victims = _workers(group)
            if not victims:
                return False
            self._tally.add(fault, part)
            victims[0].kill()
            return True
        if part in FUNCTIONS and not _workers(group):
            return False
        if fault is Fault.TASK_RUNNER_FORGOT:
            if not self._may_forget():
                return False
            self._forget()
        self._tally.add(fault, part)
        os.killpg(group, signal.SIGKILL)
        return True

    def _forget(self) -> None:
        journal = self._platform.options.task_runner_journal
        assert journal is not None
        Path(journal).write_bytes(b"")


def _workers(group: int) -> list[psutil.Process]:
    """Return the processes that handle events.

    They are the last in the line of launcher, gunicorn and worker.
    """
    try:
        return [
            worker for server in psutil.Process(group).children() for worker in server.children() if worker.is_running()
        ]
    except psutil.NoSuchProcess:
        return []
