"""What the end of a job says about it, where a real job cannot easily show that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from atom_emulator.laptop_runner.ends import End, conclude
from atom_emulator.laptop_runner.files import JobFiles
from atom_workflows.runner.reports import JobState


def test_outputs_that_may_not_be_read_are_not_lost_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a container wrote its outputs for its own user only, the job's message says so, and what to do."""
    files = JobFiles(tmp_path)
    real = os.open

    def refuse(path: Any, *options: Any) -> int:
        if path == files.outputs:
            raise PermissionError
        return real(path, *options)

    monkeypatch.setattr(os, "open", refuse)
    result = conclude(End(code=0), stopped=None, timeout=None, last_lines="", outputs=files.read_outputs)
    assert (result.state, result.outputs) == (JobState.SUCCEEDED, None)
    assert "not readable" in result.message
    assert "644" in result.message
