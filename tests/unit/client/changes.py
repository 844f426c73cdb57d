"""Changes as the topic `events` tells them, for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from support.world import START


def told(step: str, state: str, *, attempt: int = 1, at: float = 0, message: str = "") -> dict[str, Any]:
    """A step's change, `at` seconds after the start."""
    return {
        "step": step,
        "state": state,
        "attempt": attempt,
        "job_state": "",
        "message": message,
        "at": (START + timedelta(seconds=at)).isoformat(),
    }


def run_told(state: str) -> dict[str, Any]:
    """A run's change."""
    return {"run": "r1", "state": state, "at": START.isoformat()}
