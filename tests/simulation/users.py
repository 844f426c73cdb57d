"""What users do: they start runs, cancel them and retry them, at any moment, twice at once, and die while at it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

from atom_workflows.coordinator.commands import cancel_run, retry_run
from atom_workflows.coordinator.repair import examine
from atom_workflows.coordinator.services import Services
from atom_workflows.core.states import RunState
from atom_workflows.errors import RunNotFound, RunStateError
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

_REFUSED: Final = (RunStateError, RunNotFound)

OnFailure: TypeAlias = Callable[[BaseException], None]


class Users:
    """Those of all runs. `on_begin` is told of each command that begins for a run, `on_failure` how one failed.

    `on_command` is told of the run when one begins and when it ends, as this may give the run more time.
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
        """Do what comes to their minds."""
        for flow in self._flows:
            self._act(flow)

    def start(self, flow: Flow) -> None:
        """Ask for the run, perhaps twice at once."""
        flow.is_started = True
        message = Message(topic="start", body=flow.scenario.start)
        self._bus.send(message)
        if self._calls.strikes(Fault.START_REPEATED):
            self._bus.send(message)

    def next_start(self) -> float:
        """When they ask for the next run."""
        return min((one.scenario.starts_at for one in self._flows if not one.is_started), default=float("inf"))

    def _act(self, flow: Flow) -> None:
        run = flow.watch.run
        if not flow.is_started and self._calls.scheduler.now >= flow.scenario.starts_at:
            self.start(flow)
        elif flow.wants_retry:
            if flow.may_retry(flow.watch.now) and self._chance.random() < _RETRIED:
                flow.retries -= 1
                self._bus.echo(flow.run_id)
                self._commands(flow, "retry", retry_run)
        elif flow.cancels and run is not None and self._cancels(run.state):
            flow.cancels -= 1
            flow.watch.cancel_was_asked = True
            self._commands(flow, "cancel", cancel_run)
        elif run is not None and self._examines(flow):
            self._commands(flow, "doctor", _mend)

    def _examines(self, flow: Flow) -> bool:
        faults, now = self._calls.faults, self._calls.scheduler.now
        if faults.is_calm:
            is_due = bool(flow.watch.forgotten) and not flow.watch.has_ended and now >= flow.next_doctor
            flow.next_doctor = now + _DOCTOR_EVERY_S if is_due else flow.next_doctor
            return is_due
        examines = flow.doctors > 0 and self._chance.random() < _EXAMINED
        flow.doctors -= examines
        return examines

    def _cancels(self, state: RunState) -> bool:
        return not self._calls.faults.is_calm and self._chance.random() < _CANCELLED_WHILE[state]

    def _commands(self, flow: Flow, name: str, command: Callable[[Services, str], None]) -> None:
        for _ in range(self._chance.choice([1, 1, 2])):
            self._command(flow, name, command)

    def _command(self, flow: Flow, name: str, command: Callable[[Services, str], None]) -> None:
        instance, services = self._instances.one_of("user")
        run = flow.watch.run
        assert run is not None
        one = self._calls.scheduler.start(
            name,
            lambda: command(services, flow.run_id),
            instance,
            lambda one: self._ended(one, flow, name, run.retries),
        )
        self._on_begin(one, flow.run_id)
        self._on_command(flow)
        self._calls.trace.note("command", one.name, flow.run_id)

    def _ended(self, invocation: Invocation, flow: Flow, name: str, round_before: int) -> None:
        error, run = invocation.error, flow.watch.run
        self._calls.trace.note("done" if error is None else "failed", invocation.name, repr(error))
        self._on_command(flow)
        if error is None:
            is_done = run is not None and (run.retries > round_before or (name == "cancel" and run.state.is_terminal))
            if not is_done and name != "doctor":
                flow.watch.found(Rule.COMMAND, f"{name} returned, and nothing came of it")
        elif not isinstance(error, _REFUSED):
            flow.watch.leave_all_to_audit()
            self._on_failure(error)


def _mend(services: Services, run_id: str) -> None:
    examine(services, run_id, fixing=True)
