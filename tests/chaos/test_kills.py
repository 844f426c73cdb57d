"""The whole platform is killed and started again, often enough for every build; `make kills` does it 200 times."""

from __future__ import annotations

from pathlib import Path

from chaos.kills import Plan, play


def test_runs_outlive_the_platform(tmp_path: Path) -> None:
    """Every run ends as it should however often the platform is killed, and no job is given twice."""
    result = play(Plan(), tmp_path)
    text = "\n".join(result.lines())
    assert not result.verdict.findings, text
    assert sum(result.open_at_kills) >= result.plan.kills, text
    assert result.verdict.twice == 0, text
