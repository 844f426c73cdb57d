"""Changes as the topic `events` reports them, for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from atom_emulator.testing.world import START


def change(step: str, state: str, *, attempt: int = 1, at: float = 0, message: str = "") -> dict[str, Any]:
    """Return a step's change, `at` seconds after the start."""
    return {
        "step": step,
        "state": state,
        "attempt": attempt,
        "job_state": "",
        "message": message,
        "at": (START + timedelta(seconds=at)).isoformat(),
    }


def run_change(state: str) -> dict[str, Any]:
    """Return a run's change."""
    return {"run": "r1", "state": state, "at": START.isoformat()}
