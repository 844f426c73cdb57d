"""Hand on items' places, and find items that did not use theirs.

core/places.py explains how places are counted. This module finds the items to which the counters refer: either
immediately, in the invocation whose commit freed a place, or later, from the shards, if that invocation died before
these items began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from atom_workflows import log
from atom_workflows.coordinator.commits import Decision, Freed
from atom_workflows.coordinator.limits import Budget
from atom_workflows.coordinator.loading import StoredStep, load_run, load_steps
from atom_workflows.coordinator.outbox import Outbox
from atom_workflows.coordinator.services import Services
from atom_workflows.core.consistency import Finding, check_places
from atom_workflows.core.endings import block_item
from atom_workflows.core.expansion import is_current
from atom_workflows.core.gathering import explain_failures
from atom_workflows.core.item_ids import expander_id, item_id, places_id, places_prefix
from atom_workflows.core.kinds import LOOPS_SCHEMA, NodeKind
from atom_workflows.core.places import Shard, is_too_many, move_places, waiting_key
from atom_workflows.core.records import RunRecord, StepRecord
from atom_workflows.core.states import TERMINAL_STEP_STATES, RunState, StepState
from atom_workflows.documents import step_path, steps_path
from atom_workflows.errors import Conflict
from atom_workflows.messages.internal import ReadyStep, seed_message
from atom_workflows.ports import Condition, Document, Query, Update

_FAILED_STATES: Final = frozenset({StepState.FAILED, StepState.CANCELLED})

PAGE: Final = 200
"""The number of waiting items that are read at a time."""

_TRIES: Final = 5

_CALLS_OF_SHARD: Final = 4
"""The number of calls that an audit makes for each shard."""


@dataclass(frozen=True, slots=True)
class _Loop:
    """A step whose items need places, with its run and its expansion."""

    run_id: str
    each: str
    expansion: int

    @classmethod
    def of(cls, step: StepRecord) -> _Loop:
        """Return the loop to which an item or a shard belongs."""
        return cls(step.run_id, step.each, step.expansion)

    def shard_id(self, number: int) -> str:
        """Return the id of a shard."""
        return places_id(self.each, self.expansion, number)

    @property
    def keys(self) -> tuple[str, str]:
        """The range of keys under which items wait; its end is exclusive."""
        prefix = places_prefix(self.each, self.expansion)
        return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)

    def keys_of(self, shard: Shard) -> tuple[str, str]:
        """Return the key range of items that have been given places."""
        shard_id = self.shard_id(shard.number)
        return waiting_key(shard_id, 0), waiting_key(shard_id, shard.next)


# -- in the invocation that freed a place ----------------------------------------------------------------------------


def hand_on_places(outbox: Outbox, freed: Sequence[Freed]) -> dict[str, int]:
    """Return the items that take over the places that a commit freed.

    Each is paired with the round (`Shard.retries`) in which it was given its place. If too many items failed, one
    waiting item is published instead, which causes all of them to be blocked. If a shard has no more items, its places
    are moved to another shard.
    """
    handed: dict[str, int] = {}
    for one in freed:
        services, loop, shard = outbox.services, _Loop.of(one.step), one.shard
        if one.failed and not shard.is_stopped:
            stops = _stop_if_too_many(outbox, loop, _load_shards(services, loop, shard.shards))
        else:
            stops = shard.is_stopped
        if not stops:
            numbers = shard.handed_on(one.count)
            handed |= dict.fromkeys(_items_at(services, loop, shard, numbers), shard.retries)
            if len(numbers) < one.count:
                handed |= _move_places(services, loop, shard.shards)
    return handed


def seat_handed(steps: Iterable[StoredStep], handed: Mapping[str, int]) -> list[StoredStep]:
    """Allow the items returned by `hand_on_places` to run."""
    return [
        _seat(one) if one.step.awaits_place and handed.get(one.step.id) == one.step.retries else one for one in steps
    ]


def _items_at(services: Services, loop: _Loop, shard: Shard, numbers: range) -> list[str]:
    """Return the ids of the items with these numbers in their shard."""
    if not numbers:
        return []
    if not shard.retries:
        # In the first round, all items run, in their order.
        return [item_id(loop.each, shard.position(number), loop.expansion) for number in numbers]
    shard_id = loop.shard_id(shard.number)
    keys = waiting_key(shard_id, numbers.start), waiting_key(shard_id, numbers.stop)
    return _waiting_ids(services, loop.run_id, keys, most=len(numbers))


def _move_places(services: Services, loop: _Loop, count: int) -> dict[str, int]:
    """Move free places to shards with waiting items.

    Returns the items that were handed these places, each with its round.
    """
    for _ in range(_TRIES):
        stored = _load_shards(services, loop, count)
        shards = {one.step.id: one.step.places for one in stored if one.step.places is not None}
        gains = move_places(list(shards.values()))
        if not gains or any(shard.is_stopped for shard in shards.values()):
            return {}
        moved = [
            (one, replace(shard, places=shard.places + gain, next=shard.next + gain), gain)
            for one in stored
            if (shard := one.step.places) is not None and (gain := gains.get(shard.number, 0))
        ]
        writes = [
            Update(
                path=step_path(loop.run_id, one.step.id),
                fields={"places": shard.places, "next": shard.next},
                guard=one.version,
            )
            for one, shard, _ in moved
        ]
        try:
            services.store.commit(writes)
        except Conflict:
            continue
        takers = [(shard, shard.handed_on(gain)) for _, shard, gain in moved if gain > 0]
        return {item: shard.retries for shard, numbers in takers for item in _items_at(services, loop, shard, numbers)}
    log.debug("step.places.contended", f"free places of step {loop.each} stay unused for now", run_id=loop.run_id)
    return {}


# -- in any invocation, from what the shards say ---------------------------------------------------------------------


def seat(services: Services, steps: Sequence[StoredStep]) -> tuple[list[StoredStep], list[StoredStep]]:
    """Let waiting items run if they have been given places.

    Returns the steps, and the shards of the waiting items that will not run because too many others failed. Shards are
    read after the items, since a retry distributes the places before it resets the items.
    """
    shard_ids = dict.fromkeys(one.step.shard for one in steps if one.step.awaits_place)
    found = load_steps(services, steps[0].step.run_id, shard_ids)
    shards = {one.step.id: one.step.places for one in found}
    seated = [
        _seat(one)
        if one.step.awaits_place
        and (shard := shards.get(one.step.shard)) is not None
        and shard.has_handed(one.step.waits_at, retries=one.step.retries)
        else one
        for one in steps
    ]
    return seated, [one for one in found if one.step.places and one.step.places.is_stopped]


def block_waiting(outbox: Outbox, stopped: Sequence[StoredStep]) -> list[Decision]:
    """Return decisions that block the waiting items of stopped shards.

    The result contains one page of items per step; the next page is left to another invocation.
    """
    services, decisions = outbox.services, list[Decision]()
    for loop, shard in {_Loop.of(one.step): one.step for one in stopped}.items():
        found = map(StoredStep.without_task, _query_waiting(services, loop.run_id, loop.keys, most=PAGE + 1))
        waiting = [one for one in found if one.step.awaits_place]
        count = shard.places.shards if shard.places else 0
        failed = sum(one.step.places.failed for one in _load_shards(services, loop, count) if one.step.places)
        why = explain_failures(failed, shard.items, shard.tolerate)
        for one in waiting[:PAGE]:
            decisions.append(Decision(stored=one, change=block_item(one.step, why, now=services.clock.now())))
        outbox.add_ready(loop.run_id, [ReadyStep(step_id=one.step.id) for one in waiting[PAGE:]])
    return decisions


def audit_places(outbox: Outbox, run: RunRecord, budget: Budget) -> int:
    """Publish items that were given places but have not been started.

    Another invocation does this if it would take too many calls. Returns the number of events.
    """
    loops = _open_loops(outbox.services, run)
    if sum(map(len, loops.values())) * _CALLS_OF_SHARD <= budget.calls:
        return _publish_placed(outbox, loops, budget)
    outbox.add([seed_message(run.id)])
    return 1


def publish_placed(outbox: Outbox, run: RunRecord, budget: Budget) -> int:
    """Publish items that were given places but have not been started.

    Returns their number. Also finishes what a killed instance may have left undone, and repairs what someone else's
    write may have broken: recounts the places, stops a step if too many of its items failed, and moves free places to
    shards with waiting items. Once the budget is spent, the other steps are left to the next audit, which begins with
    a different step.
    """
    return _publish_placed(outbox, _open_loops(outbox.services, run), budget)


def _publish_placed(outbox: Outbox, loops: Mapping[_Loop, Sequence[StoredStep]], budget: Budget) -> int:
    services, published = outbox.services, 0
    order = list(loops)
    first = int(services.clock.now().timestamp() // 60) % max(len(order), 1)
    for loop in order[first:] + order[:first]:
        if published and budget.is_spent:
            break
        found = dict.fromkeys(_find_placed(outbox, loop, loops[loop]))
        outbox.add_ready(loop.run_id, [ReadyStep(step_id=step_id) for step_id in found])
        published += len(found)
        budget.spend(calls=_CALLS_OF_SHARD * len(loops[loop]))
    return published


def _find_placed(outbox: Outbox, loop: _Loop, stored: Sequence[StoredStep]) -> Iterator[str]:
    """Yield the ids of the items to publish.

    These are the items that may begin or, if too many have failed, one waiting item, which causes all waiting items to
    be blocked.
    """
    services = outbox.services
    for one in stored:
        if (finding := recount(services, one.step)) is None:
            continue
        fix = Update(path=step_path(one.step.run_id, one.step.id), fields=finding.fields, guard=one.version)
        with suppress(Conflict):
            services.store.commit([fix])
            log.warning("step.places.fixed", finding.what, run_id=one.step.run_id, step_id=one.step.id)
    now = _load_shards(services, loop, len(stored))
    shards = [one.step.places for one in now if one.step.places is not None]
    if any(shard.is_stopped for shard in shards) or _stop_if_too_many(outbox, loop, now):
        yield from _waiting_ids(services, loop.run_id, loop.keys, most=1)
        return
    if move_places(shards):
        yield from _move_places(services, loop, len(shards))
    # Until the first item ends, only those have places that had them from the beginning, and these do not wait.
    for shard in (one for one in shards if one.next > one.places):
        waiting = _query_waiting(services, loop.run_id, loop.keys_of(shard), most=PAGE, fields=("remaining",))
        # Counters that someone else has changed are left to a repair, which is due once nothing else can be done.
        yield from (one.id for one in waiting if one.fields["remaining"] == 1)


def recount(services: Services, step: StepRecord) -> Finding | None:
    """Check a shard's counters against the number of its ended items.

    Any commit that ends an item changes the shard, so the result holds as long as the shard has not changed since it
    was read. The exception is a stop, which ends items without counting them, so that is checked last.
    """
    if step.places is None:
        return None
    failed = _count_items(services, step, _FAILED_STATES)
    ended = failed + _count_items(services, step, TERMINAL_STEP_STATES - _FAILED_STATES)
    finding = check_places(step, ended=ended, failed=failed)
    return finding if finding is None or _is_at_work(services, step) else None


def _is_at_work(services: Services, shard: StepRecord) -> bool:
    """Return True if the shard's step is open and not being stopped."""
    stored = load_run(services, shard.run_id)
    if stored is None or stored.run.state is not RunState.RUNNING or stored.run.stop is not None:
        return False
    # The commit that takes a stop back comes after the step's end.
    return not any(one.step.state.is_terminal for one in load_steps(services, shard.run_id, [shard.each]))


def _count_items(services: Services, step: StepRecord, states: Iterable[StepState]) -> int:
    """Count a shard's items that are in any of these states."""
    where: list[Condition] = [("shard", "==", step.id), ("state", "in", sorted(states))]
    if step.retries:
        # Items that kept their results are not counted. In the first round there are none, and 0 is not stored.
        where.append(("retries", "==", step.retries))
    return services.store.count(Query(collection=steps_path(step.run_id), where=where))


def publish_next(outbox: Outbox, ended: Sequence[StepRecord]) -> None:
    """Publish the items that may have received places from ended items."""
    shards = dict.fromkeys(step.shard for step in ended if step.shard)
    run_id = ended[0].run_id
    for one in load_steps(outbox.services, run_id, shards):
        shard, loop = one.step.places, _Loop.of(one.step)
        if shard is not None:
            keys = loop.keys if shard.is_stopped else loop.keys_of(shard)
            waiting = _waiting_ids(outbox.services, run_id, keys, most=1 if shard.is_stopped else PAGE)
            outbox.add_ready(run_id, [ReadyStep(step_id=step_id) for step_id in waiting])


def _open_loops(services: Services, run: RunRecord) -> dict[_Loop, list[StoredStep]]:
    """Return the shards of each step that still has open items."""
    if run.schema < LOOPS_SCHEMA:
        return {}
    query = Query(collection=steps_path(run.id), where=[("kind", "==", NodeKind.PLACES.value)])
    loops: dict[_Loop, list[StoredStep]] = {}
    for one in map(StoredStep.of, services.store.query(query)):
        loops.setdefault(_Loop.of(one.step), []).append(one)
    names = dict.fromkeys(name for loop in loops for name in (loop.each, expander_id(loop.each)))
    known = {one.step.id: one.step for one in load_steps(services, run.id, names)}
    return {
        loop: shards
        for loop, shards in loops.items()
        if is_current(shards[0].step, known.get(expander_id(loop.each)))
        and not (loop.each in known and known[loop.each].state.is_terminal)
        and not all(one.step.places is None or one.step.places.is_over for one in shards)
    }


def _stop_if_too_many(outbox: Outbox, loop: _Loop, stored: Sequence[StoredStep]) -> bool:
    """Stop starting a step's items if too many have failed.

    One waiting item is published, which causes all waiting items to be blocked.
    """
    shards = [one.step.places for one in stored if one.step.places is not None]
    if not is_too_many(shards):
        return False
    # The mark names the round, so it is void if a retry has dealt the places out in the meantime.
    writes = [
        Update(path=step_path(loop.run_id, loop.shard_id(shard.number)), fields={"stopped": shard.retries + 1})
        for shard in shards
    ]
    outbox.services.store.commit(writes)
    log.info("step.stopped", f"no more items of step {loop.each} will begin: too many failed", run_id=loop.run_id)
    waiting = _waiting_ids(outbox.services, loop.run_id, loop.keys, most=1)
    outbox.add_ready(loop.run_id, [ReadyStep(step_id=step_id) for step_id in waiting])
    return True


# -- both ------------------------------------------------------------------------------------------------------------


def _load_shards(services: Services, loop: _Loop, count: int) -> list[StoredStep]:
    return load_steps(services, loop.run_id, map(loop.shard_id, range(count)))


def _waiting_ids(services: Services, run_id: str, keys: tuple[str, str], *, most: int) -> list[str]:
    return [one.id for one in _query_waiting(services, run_id, keys, most=most, fields=("state",))]


def _query_waiting(
    services: Services, run_id: str, keys: tuple[str, str], *, most: int, fields: Sequence[str] | None = None
) -> list[Document]:
    """Return the first items whose waiting keys are in this range.

    The end of the range is exclusive.
    """
    query = Query(
        collection=steps_path(run_id),
        where=[("waits_at", ">=", keys[0]), ("waits_at", "<", keys[1])],
        order_by=[("waits_at", "ascending")],
        limit=most,
        fields=fields,
    )
    return services.store.query(query)


def _seat(stored: StoredStep) -> StoredStep:
    """Return the item, changed so that it no longer awaits its place.

    Its document is changed only by the next decision about the item.
    """
    return stored._replace(step=replace(stored.step, remaining=stored.step.remaining - 1, waits_at=""))
