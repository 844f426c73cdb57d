"""A run and its steps as they stand, and what follows from that by the oracle's rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from atom_workflows.core.graph import MAIN_END_ID, is_internal
from atom_workflows.core.records import RunRecord, StepRecord, Stop
from atom_workflows.core.states import StepState
from atom_workflows.ports import Document
from simulation.language import steps_read
from simulation.oracle import End, Facts, Fate, fate, runs_again, values
from simulation.scenario import Scenario, StepPlan

_COUNTERS: Final = ("remaining", "unsuccessful", "skipped", "total", "stained")


class Standing:
    """A run and its steps as they stand in the store.

    `scenario` is the version of its file that the run was started from. `gone` are steps whose documents were deleted
    by the meddler; they are known as they stood then.

    `outputs` are those of steps as they are stored. `reruns` are the steps that each retry has to run again, by its
    number. `was_stopped` says that the run was, in this round, and `stops` how, one after the other; a handler may not
    know of the latest. `is_nothing_started` says that no step had run or failed when the main part ended.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.run: RunRecord | None = None
        self.steps: dict[str, StepRecord] = {}
        self.gone: set[str] = set()
        self.outputs: dict[str, Mapping[str, Any]] = {}
        self.reruns: dict[int, set[str]] = {}
        self.was_stopped = False
        self.stops: list[Stop] = []
        self.is_nothing_started = False

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
            ends = {name: self.end_of(name) for name in self.steps}
            self.reruns[run.retries] = runs_again(self.scenario, ends)
            self.was_stopped, self.stops = False, []
        if run.stop is not None and run.stop not in self.stops:
            self.stops.append(run.stop)
        self.was_stopped = self.was_stopped or run.stop is not None
        if run.main_state is not None and (before is None or before.main_state is None):
            ran = (step.state in {StepState.SUCCEEDED, StepState.FAILED} for step in self.users_steps().values())
            self.is_nothing_started = not any(ran) and not any(step.attempt for step in self.steps.values())

    def users_steps(self) -> dict[str, StepRecord]:
        """Return the steps without those that the compiler added."""
        return {name: step for name, step in self.steps.items() if not is_internal(name)}

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
        )

    def facts(self, plan: StepPlan, last: tuple[str, str] | None = None) -> Facts | None:
        """Return what the step's file entry may read, as it stands.

        None if some of it has not ended, or is gone.
        """
        read = [name for _, value in plan.args for name in steps_read(value)]
        condition = [] if plan.when is None else list(steps_read(plan.when))
        ends = {name: self.end_of(name) for name in (*plan.depends_on, *condition, *read)}
        known = {name: end for name, end in ends.items() if end is not None and name not in self.gone}
        if self.run is None or len(known) < len(ends):
            return None
        return Facts(
            mode=self.scenario.mode,
            ends=known,
            attempt=self.steps[plan.id].attempt,
            last=last,
            main_state="" if self.run.main_state is None else self.run.main_state.value,
            failures=self.run.failure_count,
            is_nothing_started=self.is_nothing_started,
        )

    def fate_of(self, name: str) -> Fate | None:
        """Return what must become of a step, or None while that is not decided."""
        plan = self.scenario.by_id[name]
        if name in self.scenario.finally_ids and (self.run is None or self.run.main_state is None):
            return None
        facts = self.facts(plan)
        return None if facts is None else fate(self.scenario, plan, facts)

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
        counters: Counter[str] = Counter()
        for need in map(self.steps.__getitem__, step.depends_on):
            end = self.end_of(need.id)
            if end is None:
                counters["remaining"] += 1
            elif need.schema == 1:
                counters["unsuccessful"] += end.is_failure
            elif need.id == MAIN_END_ID:
                # Whatever became of the main steps, those under `finally` run, unless none was started.
                counters += Counter(total=1, skipped=end.by_choice)
            elif is_internal(need.id):
                counters += self.implied(need)
            else:
                is_stained = end.is_failure or need.stained > 0
                counters += Counter(total=1, unsuccessful=end.is_failure, skipped=end.by_choice, stained=is_stained)
        return +counters
