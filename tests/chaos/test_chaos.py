"""A storm on each kind of servers, short enough for every build; `make chaos` makes longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from atom_emulator.platform.options import Emulators
from chaos.report import report
from chaos.storm import ALL_ENDED_WITHIN_S, Plan, play
from chaos.workloads import SHAPES
from support.services import need

RUNS = 2 * len(SHAPES)
SECONDS = 10


@pytest.mark.parametrize("emulators", ["embedded", "google"])
def test_every_run_weathers_the_storm(emulators: Emulators, tmp_path: Path) -> None:
    """Every run ends as it should under every kind of fault."""
    if emulators == "google":
        need("google emulators")
    result = play(Plan(emulators=emulators, runs=RUNS, seconds=SECONDS), tmp_path)
    text = "\n".join(report(result))
    assert not result.problems, text
    assert result.fewest_in_flight >= result.plan.runs // 2, text
    assert result.calm_s < ALL_ENDED_WITHIN_S, text
