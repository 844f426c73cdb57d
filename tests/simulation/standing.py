"""A run and its steps as they stand, and what follows from that by the oracle's rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from atom_workflows.coordinator.marks import Wish
from atom_workflows.core.graph import MAIN_END_ID, is_internal
from atom_workflows.core.item_ids import EXPANDER_PREFIX, expander_id, item_id, parse_item_id
from atom_workflows.core.kinds import NodeKind
from atom_workflows.core.records import RunRecord, StepRecord, Stop
from atom_workflows.core.states import StepState
from atom_workflows.ports import Document
from simulation.language import steps_read
from simulation.oracle import End, Facts, Fate, NoAnswerError, fate, items_of, values
from simulation.oracle_retries import Named, Names, runs_again
from simulation.oracle_runs import count_items, end_of_items
from simulation.scenario import Scenario, StepPlan

_COUNTERS: Final = ("remaining", "unsuccessful", "skipped", "total", "stained")
_FAILED: Final = frozenset({StepState.FAILED, StepState.CANCELLED})


class Standing:
    """A run and its steps as they stand in the store.

    `scenario` is the version of its file that the run was started from. `gone` are steps whose documents were deleted
    by the meddler; they are known as they stood then.

    `kept` are steps that the run keeps of another one, and how they ended there.

    `outputs` are those of steps as they are stored. `reruns` are the steps that each retry has to run again, by its
    number. `was_stopped` says that the run was, in this round, and `stops` how, one after the other; a handler may
    not know of the latest. `names` are the steps that a person named for this round, if one did, and `left` are the
    steps that were left as they are although what they depend on may have run again. `marks` are those that people
    asked for, in any round. `is_nothing_started` says that no step had run or failed when the main part ended, as
    far as the store then knew.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.run: RunRecord | None = None
        self.steps: dict[str, StepRecord] = {}
        self.gone: set[str] = set()
        self.outputs: dict[str, Mapping[str, Any]] = {}
        self.kept: Mapping[str, End] = {}
        self.reruns: dict[int, set[str]] = {}
        self.was_stopped = False
        self.stops: list[Stop] = []
        self.is_nothing_started = False
        self.names: Names | None = None
        self.left: set[str] = set()
        self.marks: list[Wish] = []

    def see_outputs(self, document: Document) -> None:
        """Note the outputs of a step as they were written; those of an earlier round are void."""
        text = document.fields.get("values")
        if text:
            self.outputs[document.id] = json.loads(text)
        else:
            self.outputs.pop(document.id, None)

    def see_round(self, before: RunRecord | None, run: RunRecord) -> None:
        """Note how the round of a run stands: stopped, at the end of its main part, or begun again."""
        if before is not None and run.retries > before.retries:
            ends = {name: self.end_of(name) for name in self.users_steps()}
            self.names = Names.read(run.changes[-1].what)
            again = runs_again(self.scenario, ends, dict(self._known_items()), self._named(ends))
            self.reruns[run.retries] = again
            self.left = (self.left | ({*self.scenario.by_id} if self.names else set())) - again
            self.was_stopped, self.stops = False, []
        if run.stop is not None and run.stop not in self.stops:
            self.stops.append(run.stop)
        self.was_stopped = self.was_stopped or run.stop is not None
        if run.main_state is not None and (before is None or before.main_state is None):
            there = [step for name, step in self.steps.items() if name not in self.gone]
            has_ended = {StepState.SUCCEEDED, StepState.FAILED}
            ran = (step.id in self.scenario.by_id and step.state in has_ended for step in there)
            self.is_nothing_started = not any(ran) and not any(step.attempt for step in there)

    def _named(self, ends: Mapping[str, End | None]) -> Named | None:
        """Return what a person named for this round, and what that means for steps behind it."""
        if self.names is None:
            return None
        # The node that creates a loop's items has what the loop depends on.
        deciding = {name: self.steps.get(expander_id(name), self.steps[name]) for name in ends}
        reacted = {name for name, step in deciding.items() if step.unsuccessful or step.stained}
        return Named(names=self.names, reacted=frozenset(reacted))

    def users_steps(self) -> dict[str, StepRecord]:
        """Return the steps of the file, without what was added for them."""
        return {name: self.steps[name] for name in self.scenario.by_id if name in self.steps}

    # -- loops -------------------------------------------------------------------------------------------------------

    def is_current(self, step: StepRecord) -> bool:
        """Return True unless the node is of a list that was replaced, or that is not known yet."""
        if not step.each or step.kind in {NodeKind.EXPAND, NodeKind.GATHER}:
            return True
        expander = self.steps.get(expander_id(step.each))
        is_over = expander is not None and expander.state is StepState.SUCCEEDED
        return is_over and expander is not None and expander.expansion == step.expansion

    def items_of(self, loop_id: str) -> list[StepRecord] | None:
        """Return the items of a loop in order, None if its list is not known."""
        expander = self.steps.get(expander_id(loop_id))
        if expander is None or expander.state is not StepState.SUCCEEDED or expander.problem:
            return None
        names = [item_id(loop_id, index, expander.expansion) for index in range(expander.items)]
        return [self.steps[name] for name in names if name in self.steps]

    def plan_of(self, name: str) -> StepPlan | None:
        """Return the plan of a step or an item, None if it is neither."""
        step = self.steps.get(name)
        return self.scenario.plan_of(name, json.loads(step.item) if step is not None and step.item else None)

    def items_due(self, loop_id: str) -> list[Any] | None:
        """Return the items that a loop should have, None if its list has no answer."""
        plan = self.scenario.by_id[loop_id]
        facts = self.facts(plan)
        try:
            return None if facts is None else items_of(plan, facts)
        except NoAnswerError:
            return None

    def end_due(self, loop_id: str) -> End:
        """Return how a loop should end, given how its items ended."""
        items = self.items_of(loop_id)
        if items is None:
            return End(state=StepState.FAILED)
        ends = [end for item in items if (end := self.end_of(item.id)) is not None]
        return end_of_items(self.scenario, self.scenario.by_id[loop_id], ends)

    def is_unstarted(self, step: StepRecord) -> bool:
        """Return True if an item was rightly left out, since more of its loop had failed than may."""
        plan = self.scenario.by_id.get(step.each)
        if step.index is None or plan is None or plan.loop is None or plan.loop.max_parallel is None:
            return False
        ends = [end for item in self.items_of(step.each) or () if (end := self.end_of(item.id)) is not None]
        # Its attempts are those of earlier rounds: a step is never skipped once it was tried in its round.
        is_left_out = step.state is StepState.SKIPPED and not step.by_choice
        return is_left_out and count_items(ends)[2] > plan.loop.tolerate

    def lost_places(self, loop_id: str) -> str:
        """Return what is wrong with the places of a loop all of whose items have ended, or ""."""
        expander, items = self.steps.get(expander_id(loop_id)), self.items_of(loop_id)
        shards = [one for one in self.steps.values() if one.each == loop_id and one.places and self.is_current(one)]
        if expander is None or not items or not shards or any(one.places and one.places.is_stopped for one in shards):
            return ""
        places = [one.places for one in shards if one.places]
        free, limit = sum(shard.free for shard in places), self.scenario.by_id[loop_id].loop
        if limit is None or limit.max_parallel != free:
            return f"{free} places of {loop_id} are free in the end: {places}"
        return ""

    def miscounted_places(self, loop_id: str) -> Iterator[str]:
        """Yield the nodes that handed out more or fewer places than were there or given back, unless all is over."""
        for node in [one for one in self.steps.values() if one.each == loop_id and self.is_current(one)]:
            shard = node.places
            if shard is None or shard.is_stopped or node.id in self.gone:
                continue
            own = [one for one in self.steps.values() if one.shard == node.id and one.retries == shard.retries]
            ended = sum(one.state.is_terminal for one in own)
            if shard.next != shard.places + ended:
                yield f"{node.id} handed out {shard.next} places: it had {shard.places}, and {ended} of its items ended"

    def under_way(self, loop_id: str) -> list[str]:
        """Return the items of a loop that are under way, of all its lists."""
        states = {StepState.DISPATCHING, StepState.RUNNING, StepState.RETRYING}
        return [
            name
            for name, step in self.steps.items()
            if step.each == loop_id and step.index is not None and step.state in states
        ]

    def _known_items(self) -> Iterator[tuple[str, dict[str, End | None]]]:
        for plan in self.scenario.all_steps:
            items = self.items_of(plan.id)
            expander = None if plan.loop is None else self.end_of(expander_id(plan.id))
            if items is not None:
                yield plan.id, {item.id: self.end_of(item.id) for item in items}
            elif expander is not None and expander.by_choice:
                # There were to be none.
                yield plan.id, {}

    def _counts(self, step: StepRecord) -> tuple[int, int, int, int]:
        items = self.items_of(step.id) or []
        # Items that a stop has ended, in any round, are not counted: they have no failure of their own.
        failed = sum(item.state in _FAILED and item.last_kind not in {"", "stopped"} for item in items)
        succeeded = sum(item.state is StepState.SUCCEEDED for item in items)
        return len(items), succeeded, failed, sum(item.by_choice for item in items)

    def failures(self, names: Iterable[str]) -> int:
        """Return how many failures of steps and items make a run fail that consists of these steps."""
        return sum(map(self._failures, names))

    def _failures(self, name: str) -> int:
        end = self.end_of(name)
        plan = self.scenario.by_id[name]
        own = end is not None and end.fails_run
        if plan.loop is None or (end is not None and (end.state is StepState.SUCCEEDED or end.is_tolerated)):
            return own
        ended = [self.end_of(item.id) for item in self.items_of(name) or ()]
        return own + sum(end is not None and end.fails_run for end in ended)

    # -- what the oracle says ----------------------------------------------------------------------------------------

    def end_of(self, name: str) -> End | None:
        """Return how a step ended, or None while it has not."""
        step = self.steps.get(name)
        if step is None or not step.state.is_terminal:
            return None
        return End(
            state=step.state,
            is_tolerated=step.tolerated,
            by_choice=step.by_choice,
            outputs=self.outputs.get(name),
            counts=self._counts(step) if step.kind is NodeKind.GATHER else (0, 0, 0, 0),
        )

    def facts(self, plan: StepPlan, last: tuple[str, str] | None = None, attempt: int = 0) -> Facts | None:
        """Return what the step's file entry may read, as it stands.

        None if some of it has not ended, or is gone.
        """
        ends = {name: self.end_of(name) for name in (*plan.depends_on, *sorted(plan.reads))}
        known = {name: end for name, end in ends.items() if end is not None and name not in self.gone}
        if self.run is None or len(known) < len(ends):
            return None
        return Facts(
            mode=self.scenario.mode,
            ends=known,
            attempt=attempt,
            last=last,
            main_state="" if self.run.main_state is None else self.run.main_state.value,
            failures=self.run.failure_count,
            is_nothing_started=self.is_nothing_started,
            item=plan.item,
            index=plan.index,
        )

    def fate_of(self, name: str) -> Fate | None:
        """Return what must become of a step, or None while that is not decided."""
        step = self.steps.get(name)
        owner = name if step is None else step.each or name
        plan = self.plan_of(name) or self.scenario.by_id[owner]
        if owner in self.scenario.finally_ids and (self.run is None or self.run.main_state is None):
            return None
        if step is not None and step.kind is NodeKind.GATHER and not self._has_items_ended(owner):
            return None
        facts = self.facts(plan)
        if facts is not None and step is not None and step.is_marked:
            return Fate.IS_SKIPPED if self.ends_skipped(step) else Fate.RUNS
        return None if facts is None else fate(self.scenario, plan, facts)

    def ends_skipped(self, step: StepRecord) -> bool:
        """Return True if a marked step ends as skipped; a node that would create items does so in any case."""
        return step.kind is NodeKind.EXPAND or (step.mark or {}).get("state") == StepState.SKIPPED

    def _has_items_ended(self, loop_id: str) -> bool:
        """Return True if nothing is left for which a loop waits."""
        if self.end_of(expander_id(loop_id)) is None:
            return False
        return all(self.end_of(item.id) is not None for item in self.items_of(loop_id) or ())

    def outputs_of_run(self) -> Mapping[str, str | int] | None:
        """Return the outputs that the run should have, or None if one of them has no answer."""
        read = [name for _, value in self.scenario.outputs for name in steps_read(value)]
        ends = {name: end for name in read if (end := self.end_of(name)) is not None}
        return values(self.scenario.outputs, Facts(mode=self.scenario.mode, ends=ends))

    # -- counters ----------------------------------------------------------------------------------------------------

    def miscount(self, step: StepRecord) -> str:
        """Return how a step's counters contradict its dependencies, or ""."""
        implied = self.implied(step)
        counters = {name: int(getattr(step, name)) for name in _COUNTERS}
        actual = +Counter(counters)
        return "" if actual == implied else f"{step.id} has {dict(actual)}; its dependencies say {dict(implied)}"

    def implied(self, step: StepRecord) -> Counter[str]:
        """Return the counters that the states of its dependencies imply.

        From the second schema on, the dependencies of an internal barrier count instead of the barrier.
        """
        counters: Counter[str] = Counter(remaining=1 if step.waits_at else 0)
        for need in map(self.steps.__getitem__, step.depends_on):
            end = self.end_of(need.id)
            if end is None:
                counters["remaining"] += 1
            elif need.schema == 1:
                # Without marks, no step is skipped by choice, and none succeeds behind a failure.
                is_behind = not end.is_failure and bool(need.stained or need.unsuccessful)
                counters += Counter(unsuccessful=end.is_failure, skipped=end.by_choice, stained=is_behind)
            elif need.id == MAIN_END_ID:
                # Whatever became of the main steps, those under `finally` run, unless none was started.
                counters += Counter(total=1, skipped=end.by_choice)
            elif is_internal(need.id) and not need.id.startswith(EXPANDER_PREFIX):
                counters += self.implied(need)
            else:
                # Only a loop itself stains, not its items.
                is_stained = parse_item_id(need.id) is None and (end.is_failure or need.stained > 0)
                counters += Counter(total=1, unsuccessful=end.is_failure, skipped=end.by_choice, stained=is_stained)
        return +counters
