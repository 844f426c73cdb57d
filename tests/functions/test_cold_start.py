"""What a function imports: a cold start takes as long as that does."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
OTHERS = {
    "start": (
        "atom_workflows.coordinator.checker.burst",
        "atom_workflows.coordinator.dispatch",
        "atom_workflows.coordinator.run_commands",
        "atom_workflows.coordinator.run_status",
        "atom_workflows.handlers.runs",
    ),
    "dispatcher": (
        "atom_workflows.language",
        "yaml",
        "atom_workflows.coordinator.checker.burst",
        "atom_workflows.coordinator.run_commands",
    ),
    "checker": ("atom_workflows.language", "yaml", "atom_workflows.coordinator.dispatch"),
}
"""What only another function needs."""

NOBODY_S = (
    *("atom_client", "atom_emulator", "rich", "atom_workflows.adapters.pubsub.dead_letters"),
    *("atom_workflows.listening", "atom_workflows.adapters.firestore.listener"),
)
LIST_MODULES = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules, sep='\\n')"


OF_OTHERS = ("google.cloud.firestore", "google.cloud.pubsub_v1", "grpc", "yaml", "atom_workflows.bootstrap")


@cache
def imported(function: str) -> frozenset[str]:
    """Return the modules that a fresh process has loaded with the function."""
    command = [sys.executable, "-c", LIST_MODULES, str(FUNCTIONS / function / "main.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("function", OTHERS)
def test_a_function_imports_nothing_that_it_does_not_need(function: str) -> None:
    """A function imports nothing that only another program needs."""
    assert "atom_workflows.bootstrap" in imported(function)
    for name in (*NOBODY_S, *OTHERS[function]):
        assert name not in imported(function)


def test_the_runner_starts_without_googles_clients() -> None:
    """The runner needs neither Firestore nor, until it reports an end, Pub/Sub."""
    assert "atom_workflows.runner_bootstrap" in imported("runner")
    for name in (*NOBODY_S, *OF_OTHERS):
        assert name not in imported("runner")
