"""A retry of named steps that dies, and is continued by an older version, which does not know of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator import commits, retry
from atom_workflows.core import rerun
from atom_workflows.core.consistency import find_flaws
from atom_workflows.core.records import StepRecord
from atom_workflows.core.states import RunState
from atom_workflows.ports import Document, Query, Store, Write, WriteResult
from support.commands import retry_run
from support.mortal import Died, Fate, make_mortal
from support.workflows import definition

DIAMOND = definition({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"]})


@dataclass(slots=True)
class OlderStore:
    """A store as a version sees it that does not know of selections."""

    inner: Store

    def get(self, paths: Sequence[str], *, fields: Sequence[str] | None = None) -> list[Document | None]:
        """See `ports.Store.get`."""
        return [None if one is None else _as_older(one) for one in self.inner.get(paths, fields=fields)]

    def commit(self, writes: Sequence[Write]) -> list[WriteResult]:
        """See `ports.Store.commit`."""
        return self.inner.commit(writes)

    def query(self, query: Query) -> list[Document]:
        """See `ports.Store.query`."""
        return [_as_older(one) for one in self.inner.query(query)]

    def count(self, query: Query) -> int:
        """See `ports.Store.count`."""
        return self.inner.count(query)


def _listed(steps: Mapping[str, StepRecord]) -> dict[str, list[str]]:
    return {name: [one for one in step.dependents if one in steps] for name, step in steps.items()}


def _as_older(document: Document) -> Document:
    known = {name: value for name, value in document.fields.items() if name != "selection"}
    return document._replace(fields=known)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 14))
@pytest.mark.parametrize("only", [True, False], ids=["only", "from"])
def test_an_older_version_ends_a_run_that_it_does_not_understand(
    fatal: int, monkeypatch: pytest.MonkeyPatch, *, only: bool, after: bool
) -> None:
    """It may forget the choice, but no document contradicts another, and the next retry does what was asked for."""
    monkeypatch.setattr(commits, "MAX_WRITES", 2)
    world = World()
    run_id = world.start(DIAMOND)
    world.run_to_end(run_id)
    names = {"only" if only else "first": ["b"]}
    newer = world.services
    make_mortal(world, Fate(fatal=fatal, after=after))
    with suppress(Died):
        retry_run(world.services, run_id, **names)  # type: ignore[arg-type] # a list for either of them
    world.services = replace(newer, store=OlderStore(newer.store))
    with monkeypatch.context() as older:
        # It follows the edges that each node lists.
        for module in (rerun, retry):
            older.setattr(module, "dependents_of", _listed)
        assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert all(step.state.is_terminal for step in world.steps(run_id).values())
    world.services = newer
    before = len(world.submissions())
    retry_run(world.services, run_id, **names)  # type: ignore[arg-type] # see above
    assert not list(find_flaws(world.steps(run_id), now=world.clock.now()))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    again = [one.partition("/")[0] for one in world.submissions()[before:]]
    assert again == (["b"] if only else ["b", "d", "e"])
