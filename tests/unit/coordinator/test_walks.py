"""The walk of a plain step: it passes few files, since what it does not use is not entered."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from atom_emulator.testing.world import World
from atom_workflows import coordinator
from atom_workflows.coordinator.checker.audit import audit_due_run
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.start import handle_start
from support.workflows import definition

FOLDER = Path(coordinator.__file__).parent
HANDLERS = {handler.__code__: handler.__name__ for handler in (handle_start, handle_steps, handle_tick)}


class Walk:
    """Notes, by handler, the files of the coordinator whose functions run, except while a run is audited."""

    def __init__(self) -> None:
        self.files: dict[str, set[str]] = defaultdict(set)
        self._handler: tuple[str, FrameType] | None = None
        self._audit: FrameType | None = None

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """Follow the calls and returns of the interpreter (see `sys.setprofile`)."""
        if event == "call":
            self._enter(frame)
        elif event == "return":
            self._audit = None if frame is self._audit else self._audit
            self._handler = None if self._handler and frame is self._handler[1] else self._handler

    def _enter(self, frame: FrameType) -> None:
        path = Path(frame.f_code.co_filename)
        if self._handler is None and frame.f_code in HANDLERS:
            self._handler = HANDLERS[frame.f_code], frame
        if frame.f_code is audit_due_run.__code__:
            self._audit = frame
        if self._handler and self._audit is None and path.is_relative_to(FOLDER):
            self.files[self._handler[0]].add(path.relative_to(FOLDER).as_posix())


@pytest.fixture(name="files", scope="module")
def _files() -> dict[str, set[str]]:
    """Return the files that a run of two steps passes from its start to its end, by handler."""
    world, walk = World("default: {duration: 100}"), Walk()
    before = sys.getprofile()
    sys.setprofile(walk.note)
    try:
        world.run_to_end(world.start(definition({"first": [], "second": ["first"]})))
    finally:
        sys.setprofile(before)
    return walk.files


@pytest.mark.parametrize(("handler", "most"), [("handle_start", 10), ("handle_steps", 8), ("handle_tick", 7)])
def test_a_plain_run_passes_few_files(files: dict[str, set[str]], handler: str, most: int) -> None:
    """A plain run enters no file of a feature that it does not use, so that a reader can follow it."""
    assert 1 < len(files[handler]) <= most, sorted(files[handler])
