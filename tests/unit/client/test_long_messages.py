"""A message that was cut says so, wherever it is read."""

from __future__ import annotations

from typing import Final

from atom_client.views.explanations import look_at_step
from atom_client.views.summary import verdict
from atom_client.views.why_step import step_headline
from atom_emulator.testing.world import World
from atom_workflows.core.outcomes import MAX_MESSAGE_LENGTH
from support.workflows import chain, script

LONG: Final = "the value is not a date; " * 200


def test_message_that_was_cut_ends_with_an_ellipsis_and_no_stop() -> None:
    """In the step, among the errors of its run, in the run's sentences, and in the step's own."""
    world = World(script(s0={"always_fail": True, "message": LONG}))
    run_id = world.start(chain(1))
    world.run_to_end(run_id)
    run, step = world.run(run_id), world.steps(run_id)["s0"]
    assert len(step.message) == MAX_MESSAGE_LENGTH
    sentences = verdict(run, [step], now=world.clock.now(), loops={})
    headline = step_headline(look_at_step(world.services, run, "s0"))
    shown = [step.message, run.errors[0]["message"], headline, next(one for one in sentences if "`s0`" in one)]
    assert [text[-1] for text in shown] == ["…"] * 4
