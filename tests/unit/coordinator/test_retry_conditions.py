"""What the condition of a retry can read."""

from __future__ import annotations

from atom_emulator.testing.world import World
from support.workflows import definition, script

TWICE = "not (failure.reason == 'OOM' and (step.last.reason ?? '') == 'OOM')"


def test_it_reads_the_attempt_before_the_one_that_failed() -> None:
    """A step that runs out of memory twice in a row is not tried a third time."""
    world = World(script(a={"always_fail": True, "reason": ["OOM", "PREEMPTED", "OOM", "OOM"]}))
    retry = {"maxAttempts": 9, "when": TWICE, "backoff": {"initial": "1s"}}
    run_id = world.start(definition({"a": []}, a={"retry": retry}))
    world.run_to_end(run_id)
    assert world.steps(run_id)["a"].attempt == 4
