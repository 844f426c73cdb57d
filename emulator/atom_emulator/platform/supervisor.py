"""Supervise the parts: when one ends, all are stopped, unless that one is to be revived."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from atom_emulator.platform.errors import PartCrashed, PartNotReady
from atom_emulator.platform.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from atom_emulator.platform.part import PartSpec

_LOOK_EVERY_S: Final = 0.005


class Supervisor:
    """Starts parts and stops them all as soon as one ends unexpectedly.

    A part that is to be revived is started again if it is killed after it was ready; `revivals` counts the restarts.
    `on_crash` is called once, from another thread, after everything has been stopped.
    """

    def __init__(self, *, grace_s: float = 3.0, on_crash: Callable[[PartCrashed], None] | None = None) -> None:
        self.crash: PartCrashed | None = None
        self.revivals: Counter[str] = Counter()
        self._grace_s = grace_s
        self._on_crash = on_crash
        self._parts: list[Part] = []
        self._ready: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = False
        self._stopped = threading.Event()

    def start(self, spec: PartSpec) -> Part:
        """Start a part.

        Raises `PartCrashed` if another one has crashed meanwhile.
        """
        with self._lock:
            self._raise_crash()
            part = Part(spec, self._handle_exit)
            self._parts.append(part)
            return part

    def wait_until(self, part: Part, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until the part is ready.

        Raises `PartCrashed` (of any part) or `PartNotReady`.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if part.exited.wait(_LOOK_EVERY_S) or self.crash is not None:
                self._stopped.wait(self._grace_s + 1)
                self._raise_crash()
            if time.monotonic() > deadline:
                raise PartNotReady(part.name, timeout_s, part.log_tail())
        self._ready.add(part.name)

    def process_group(self, name: str) -> int:
        """Return the process group of the part of that name.

        If the part was restarted, this is the group of its latest process. Raises `KeyError` if there is none.
        """
        with self._lock:
            part = {part.name: part for part in self._parts}[name]
        return part.process_group

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until everything is stopped.

        Returns False if time is up first. Raises `PartCrashed`.
        """
        stopped = self._stopped.wait(timeout_s)
        self._raise_crash()
        return stopped

    def stop(self) -> None:
        """Stop all parts, and kill what is left after the grace period.

        All are stopped at the same time. May be called twice.
        """
        with self._lock:
            first = not self._stopping
            self._stopping = True
            parts = list(self._parts)
        if not first:
            self._stopped.wait(self._grace_s + 1)
            return
        # Ending one of them may end the fork server, which then starts none of the others.
        for part in parts:
            part.forbid_start()
        for part in parts:
            part.terminate()
        deadline = time.monotonic() + self._grace_s
        for part in parts:
            part.exited.wait(max(0.0, deadline - time.monotonic()))
        for part in parts:
            part.kill()
        for part in parts:
            part.exited.wait(1.0)  # The kernel ends a killed process; nothing here can fail, only take a moment.
        self._stopped.set()

    def _raise_crash(self) -> None:
        if self.crash is not None:
            raise self.crash

    def _handle_exit(self, part: Part) -> None:
        with self._lock:
            if self._stopping or self.crash is not None:
                return
            if part.spec.revived and part.was_killed and part.name in self._ready:
                self.revivals[part.name] += 1
                self._parts[self._parts.index(part)] = Part(part.spec, self._handle_exit)
                return
            self.crash = PartCrashed(part.name, part.exit_code or 0, part.log_tail())
        self.stop()
        if self._on_crash is not None:
            self._on_crash(self.crash)
