"""Two cancellations of one run, of which the second ends it at once."""

from __future__ import annotations

import json
from typing import Any

from atom_emulator.testing.world import World
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path
from atom_workflows.ports import Update
from support.commands import cancel_run
from support.meanwhile import meanwhile
from support.workflows import definition


def test_a_cancel_ends_the_run_that_another_one_will_end_at_once() -> None:
    """A cancellation whose run loses its steps under `finally` meanwhile still ends the run before it returns."""
    world = World("default: {duration: 1000}")
    text = json.loads(definition({"a": []})) | {"finally": [{"id": "last", "task": {"imageUri": "image"}}]}
    run_id = world.start(json.dumps(text))

    looks = 0

    def is_last_look(name: str, argument: Any) -> bool:
        nonlocal looks
        found = world.store.inner.get([run_path(run_id)])[0]
        has_stopped = found is not None and found.fields.get("stop") and world.steps(run_id)["a"].state.is_terminal
        looks += bool(has_stopped) and name == "get" and argument == [run_path(run_id)]
        # The first is that of the loop over open steps, the second that before the main part ends.
        return looks == 2

    def end_at_once() -> None:
        # The other one dies after it has recorded that.
        found = world.store.inner.get([run_path(run_id)])[0]
        assert found is not None
        fields = {"stop": {**found.fields["stop"], "now": True}}
        world.store.commit([Update(path=run_path(run_id), fields=fields)])

    happens = meanwhile(world, is_last_look, end_at_once)
    cancel_run(world.services, run_id)
    assert happens.happened
    assert world.run(run_id).state is RunState.CANCELLED
