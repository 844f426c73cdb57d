"""Scripts of the mock Task Runner for runs whose file is not read before they start."""

from __future__ import annotations

from pathlib import Path

from atom_client.cli.mock_script import find_unmatched_rules
from atom_client.views.queries import read_steps
from atom_emulator.testing.world import World
from support.workflows import definition


def test_rules_without_a_job_are_found_in_the_steps_of_a_run(tmp_path: Path) -> None:
    """The steps of a run show which rules matched none of its jobs, if there are any."""
    script = tmp_path / "jobs.yaml"
    script.write_text("rules:\n  - step: laod\n  - image: image\n  - step: extract\n")
    world = World()
    run_id = world.start(definition({"extract": [], "load": ["extract"]}))
    steps = read_steps(world.services.store, run_id)
    assert find_unmatched_rules(script, "daily", steps) == [
        f"{script}:2:5: rules[0].step: no job of daily matches laod; did you mean load?"
    ]
    assert find_unmatched_rules(script, "daily", []) == []
