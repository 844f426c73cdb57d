"""What a step with many items costs: documents written, and memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.expansion import expand
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import load_steps
from atom_workflows.core.changes import apply_change
from atom_workflows.core.states import RunState
from atom_workflows.core.transitions import claim
from atom_workflows.documents import step_path
from atom_workflows.expressions.types import INT
from atom_workflows.ports import Create, Update, Write, WriteResult
from atom_workflows.step_documents import change_fields
from support.loops import RUN, each, start, step, workflow

SIZE = 1_000


@pytest.mark.parametrize(("outputs", "most"), [({}, 4.5), ({"n": INT}, 5.5)], ids=["plain", "with outputs"])
def test_an_item_takes_few_writes(outputs: dict[str, object], most: float) -> None:
    """An item is created, released, claimed and ended, and some share a barrier; its outputs are one more document."""
    world = World("default: {outputs: {n: 1}}")
    train = step("train", for_each=each(list(range(SIZE))), outputs=outputs)
    reads = "sum(steps.train.outputs.n)" if outputs else "steps.train.counts.total"
    start(world, workflow(train, step("last", "train", args={"x": reads})))
    assert world.run_to_end(RUN).state is RunState.SUCCEEDED
    assert world.store.writes / SIZE <= most
    by_item = Counter({path: count for path, count in world.store.written.items() if "/train[" in path})
    assert {count for path, count in by_item.items() if "/steps/" in path} == {4}
    # Reading an item takes one read, and gathering its outputs another.
    assert world.store.reads / SIZE <= (2.2 if outputs else 1.2)


class Forgetful:
    """A store that answers for what is created without keeping it."""

    def __init__(self, world: World) -> None:
        self._inner = world.store.inner
        self.get, self.query, self.count = self._inner.get, self._inner.query, self._inner.count
        self.created = 0

    def commit(self, writes: list[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        self.created += sum(isinstance(one, Create) for one in writes)
        return self._inner.commit([one for one in writes if not isinstance(one, Create)])


def test_items_are_not_all_in_memory_at_the_same_time() -> None:
    """Creating items of 80 MB in total takes a small part of that."""
    world = World()
    long = [{"name": "x" * 3_900, "n": number} for number in range(100)]
    start(world, workflow(step("train", for_each=each({"a": long, "b": long}))))
    (stored,) = load_steps(world.services, RUN, ["~each.train"])
    change = claim(stored.step, now=world.clock.now(), lease=world.services.settings.lease)
    path = step_path(RUN, "~each.train")
    world.store.commit([Update(path=path, fields=change_fields(change))])
    (stored,) = load_steps(world.services, RUN, ["~each.train"])
    store = Forgetful(world)
    services = replace(world.services, store=store)  # type: ignore[arg-type]
    assert stored.step.loop is not None
    tracemalloc.start()
    decision = expand(services, stored, stored.step.loop, Budget(services.clock))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decision is not None
    assert apply_change(stored.step, decision.change).items == 10_000
    assert store.created > 10_000
    assert peak < 25_000_000
