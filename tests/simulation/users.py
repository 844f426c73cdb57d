"""Users start runs, cancel them, retry them and mark steps, at any moment and twice at once, and die meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final, TypeAlias

from atom_workflows.coordinator import commands
from atom_workflows.coordinator.marks import Wish
from atom_workflows.coordinator.repair import examine
from atom_workflows.coordinator.services import Services
from atom_workflows.core.item_ids import shown_id
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState, StepState
from atom_workflows.errors import MarkError, RunNotFound, RunStateError, SelectionError
from atom_workflows.ports import Message
from simulation.bus import FaultyBus
from simulation.calls import Calls
from simulation.faults import Fault
from simulation.findings import Rule
from simulation.flow import Flow
from simulation.instances import Instances
from simulation.scheduler import Invocation

_CANCELLED_WHILE: Final = defaultdict(lambda: 0.002, {RunState.SEEDING: 0.05})
"""How likely a turn brings a cancel: a run is SEEDING for a few turns only."""

_RETRIED: Final = 0.05
_EXAMINED: Final = 0.004
_DOCTOR_EVERY_S: Final = 60.0
"""Once nothing goes wrong any more, they look that often at a run that only the doctor can set going."""

ACTOR: Final = "ana@example.com"

_REFUSED: Final = (RunStateError, RunNotFound, SelectionError, MarkError)

_FROM: Final = (0, 0, 0, 1, 2)
_ONLY: Final = (0, 1, 1, 2, 3)
_FAILED_TOO: Final = 0.3

_MARKED: Final = 0.03
_ITEMS_OF_NONE: Final = 2
"""The length of the lists that a person supplies for a loop without items."""

OnFailure: TypeAlias = Callable[[BaseException], None]


class Users:
    """The users of all runs. `on_begin` gets each command that begins, `on_failure` each error of one.

    `on_command` gets the run when a command begins and when it ends, as this may give the run more time.
    """

    def __init__(  # noqa: PLR0913 - each is one thing that they touch
        self,
        *,
        flows: Sequence[Flow],
        bus: FaultyBus,
        calls: Calls,
        chance: Random,
        instances: Instances,
        on_begin: Callable[[Invocation, str], None],
        on_failure: OnFailure,
        on_command: Callable[[Flow], None],
    ) -> None:
        self._flows = flows
        self._bus = bus
        self._calls = calls
        self._chance = chance
        self._instances = instances
        self._on_begin = on_begin
        self._on_failure = on_failure
        self._on_command = on_command

    def act(self) -> None:
        """Let the users of each run do something now and then."""
        for flow in self._flows:
            self._act(flow)

    def name_steps(self) -> None:
        """Let the users of each run retry it from steps that they name, now and then, or act as before."""
        for flow in self._flows:
            if flow.may_select and self._chance.random() < _RETRIED:
                flow.selections -= 1
                self._bus.echo(flow.run_id)
                self._run_commands(flow, "retry", partial(commands.retry_run, actor=ACTOR, **self._draw_names(flow)))
            elif flow.may_mark and self._chance.random() < _MARKED:
                flow.marks -= 1
                wish = self._draw_mark(flow)
                flow.watch.marks.append(wish)
                self._bus.echo(flow.run_id)
                self._run_commands(flow, "mark", partial(commands.mark_step, wish=wish, actor=ACTOR))
            else:
                self._act(flow)

    def _draw_mark(self, flow: Flow) -> Wish:
        """Return a step or an item to mark, mostly one that has not succeeded, with the outputs that it declares."""
        watch = flow.watch
        items = [one.id for step in flow.scenario.by_id for one in watch.items_of(step) or ()]
        names = [*flow.scenario.by_id, *items]
        others = [name for name in names if name in watch.steps and watch.steps[name].state is not StepState.SUCCEEDED]
        name = self._chance.choice(others or names)
        state, plan = self._chance.choice([StepState.SUCCEEDED, StepState.SKIPPED]), watch.plan_of(name)
        outputs: dict[str, Any] = {}
        if state is StepState.SUCCEEDED and plan is not None and plan.numbers:
            outputs = {"n": self._chance.randint(0, 9), "job": "by hand"}
            if plan.loop is not None and plan.index is None:
                gathered = flow.watch.scenario.gathers[name]
                outputs = {one: [value] * _ITEMS_OF_NONE for one, value in outputs.items() if one in gathered}
        return Wish(step=shown_id(name), state=state, outputs=outputs)

    def _draw_names(self, flow: Flow) -> dict[str, Any]:
        """Return steps and items to name: one or a few, in any of the ways that there are."""
        steps = list(flow.scenario.by_id)
        items = [shown_id(one.id) for step in steps for one in flow.watch.items_of(step) or ()]
        names = [*steps, *steps, *items]
        first, only = (self._chance.choices(names, k=self._chance.choice(most)) for most in (_FROM, _ONLY))
        if not first and not only:
            only = [self._chance.choice(names)]
        return {"first": first, "only": only, "failed": self._chance.random() < _FAILED_TOO}

    def start(self, flow: Flow) -> None:
        """Ask for the run, perhaps twice at once."""
        flow.is_started = True
        message = Message(topic="start", body=flow.scenario.start)
        self._bus.send(message)
        if self._calls.strikes(Fault.START_REPEATED):
            self._bus.send(message)

    def next_start(self) -> float:
        """Return the time at which they ask for the next run."""
        return min((one.scenario.starts_at for one in self._flows if not one.is_started), default=float("inf"))

    def _act(self, flow: Flow) -> None:
        run = flow.watch.run
        if not flow.is_started and self._calls.scheduler.now >= flow.scenario.starts_at:
            self.start(flow)
        elif flow.wants_retry:
            if flow.may_retry(flow.watch.now) and self._chance.random() < _RETRIED:
                flow.retries -= 1
                self._bus.echo(flow.run_id)
                self._run_commands(flow, "retry", partial(commands.retry_run, actor=ACTOR))
        elif flow.cancels and run is not None and self._wants_cancel(run.state):
            flow.cancels -= 1
            flow.watch.cancel_was_asked = True
            at_once = flow.scenario.cancels_at_once
            self._run_commands(flow, "cancel", partial(commands.cancel_run, actor=ACTOR, now=at_once))
        elif run is not None and self._wants_doctor(flow):
            self._run_commands(flow, "doctor", _repair)

    def _wants_doctor(self, flow: Flow) -> bool:
        faults, now = self._calls.faults, self._calls.scheduler.now
        if faults.is_calm:
            is_due = bool(flow.watch.forgotten) and not flow.watch.has_ended and now >= flow.next_doctor
            flow.next_doctor = now + _DOCTOR_EVERY_S if is_due else flow.next_doctor
            return is_due
        examines = flow.doctors > 0 and self._chance.random() < _EXAMINED
        flow.doctors -= examines
        return examines

    def _wants_cancel(self, state: RunState) -> bool:
        return not self._calls.faults.is_calm and self._chance.random() < _CANCELLED_WHILE[state]

    def _run_commands(self, flow: Flow, name: str, command: Callable[[Services, str], object]) -> None:
        for _ in range(self._chance.choice([1, 1, 2])):
            self._run_command(flow, name, command)

    def _run_command(self, flow: Flow, name: str, command: Callable[[Services, str], object]) -> None:
        instance, services = self._instances.one_of("user")
        run = flow.watch.run
        assert run is not None
        one = self._calls.scheduler.start(
            name,
            lambda: command(services, flow.run_id),
            instance,
            lambda one: self._on_end(one, flow, name, run.retries),
        )
        self._on_begin(one, flow.run_id)
        self._on_command(flow)
        self._calls.trace.note("command", one.name, flow.run_id)

    def _on_end(self, invocation: Invocation, flow: Flow, name: str, round_before: int) -> None:
        error, run = invocation.error, flow.watch.run
        self._calls.trace.note("done" if error is None else "failed", invocation.name, repr(error))
        self._on_command(flow)
        if error is None:
            is_done = run is not None and (run.retries > round_before or (name == "cancel" and _is_cancelled(run)))
            if not is_done and name not in {"doctor", "mark"}:
                flow.watch.report(Rule.COMMAND, f"{name} returned, and nothing came of it")
        elif not isinstance(error, _REFUSED):
            flow.watch.leave_all_to_audit()
            self._on_failure(error)


def _is_cancelled(run: RunRecord) -> bool:
    """Return True if a cancel has ended the run, or its main part, which steps under `finally` follow."""
    return run.state.is_terminal or run.main_state is not None


def _repair(services: Services, run_id: str) -> None:
    examine(services, run_id, fixing=True)
