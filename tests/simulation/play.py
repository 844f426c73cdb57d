"""One simulation: handlers, messages, ticks and users take turns until the run is over or a rule is broken."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from atom_emulator.firestore.memory import MemoryStore
from atom_workflows.coordinator.check import handle_tick
from atom_workflows.coordinator.commands import cancel_run, retry_run
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.coordinator.wake_limit import WakeLimit
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.core.states import RunState
from atom_workflows.errors import (
    AlreadyExists,
    BusUnavailable,
    Conflict,
    MalformedEvent,
    RunNotFound,
    RunStateError,
    StoreUnavailable,
)
from atom_workflows.events import read_steps_event, read_tick_event, tick_message
from atom_workflows.ports import Message
from atom_workflows.settings import Settings
from atom_workflows.start_events import read_start_event
from simulation import run_rules
from simulation.bus import Delivery, FaultyBus
from simulation.calls import Calls
from simulation.dice import dice
from simulation.drawing import Drawn
from simulation.evidence import Evidence
from simulation.faults import Fault, Faults
from simulation.findings import Rule
from simulation.machine import InterleavedWorkers, SkewedClock, true_time
from simulation.oracle import longest_path_s
from simulation.scheduler import Died, Instance, Invocation, Scheduler
from simulation.store import FaultyStore
from simulation.task_runner import FaultyTaskRunner
from simulation.trace import Trace
from simulation.watch import Watch
from support.world import TASK_RUNNER_URL, Files

_PATH: Final = "flow.yaml"
_KEY: Final = "k"
_RUN_ID: Final = run_id_for(_PATH, "key", _KEY)
_TICK_S: Final = 60.0
_INSTANCES: Final = 3
_CALM_PAUSE_S: Final = 1.0
_LEFT_OVER_S: Final = 1800.0
"""Time to repair, once the faults stop: events on their way (600 s), a lease (180 s), the audit (300 s), a burst."""
_SLACK_S: Final = 240.0
"""What a step may take beyond its job: ticks, polls, a deferral that began before the faults stopped."""
_MAX_TURNS: Final = 80_000

_CANCELLED_WHILE: Final = defaultdict(lambda: 0.002, {RunState.SEEDING: 0.05})
"""How likely a turn brings a cancel: a run is SEEDING for a few turns only."""

_HANDED_BACK: Final = (StoreUnavailable, BusUnavailable, Conflict, AlreadyExists)
"""What a handler may raise: its event comes again."""
_ANSWERED: Final = (RunNotFound, MalformedEvent)
_REFUSED: Final = (RunStateError, RunNotFound)


class Play:
    """A simulation under way. `watch.findings` holds what was found, `trace` what happened."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self._chance = dice(drawn.seed, "play", drawn.schedule)
        weather = drawn.weather
        self.scheduler = Scheduler(self._chance, weather.pause_s)
        self.faults = Faults(weather, self._chance)
        self.trace = Trace(self.scheduler)
        self.calls = Calls(scheduler=self.scheduler, faults=self.faults, trace=self.trace)
        memory = MemoryStore(lambda: true_time(self.scheduler))
        evidence = Evidence(self.scheduler)
        self.watch = Watch(
            scenario=drawn.scenario,
            run_id=_RUN_ID,
            memory=memory,
            evidence=evidence,
            trace=self.trace,
            skew_s=weather.skew_s,
            pause_s=weather.pause_s,
        )
        self.bus = FaultyBus(self.calls, self.watch.on_accepted)
        self._settings = Settings(task_runner_url=TASK_RUNNER_URL, poll_workers=drawn.limits.workers)
        self._ports: dict[str, Any] = {
            "store": FaultyStore(memory=memory, calls=self.calls, on_commit=self.watch.on_commit),
            "bus": self.bus,
            "task_runner": FaultyTaskRunner(
                scenario=drawn.scenario, calls=self.calls, evidence=evidence, on_submit=self.watch.on_submit
            ),
            "source": Files(),
            "clock": SkewedClock(self.scheduler),
            "workers": InterleavedWorkers(self.scheduler, self._settings.poll_workers),
        }
        self._instances: dict[str, list[Instance]] = {}
        self._next_tick = _TICK_S / 2
        self._must_end_by = float("inf")
        self._cancels, self._retries = drawn.scenario.cancels, drawn.scenario.retries
        self._commands_that_failed = 0

    # -- the turns -------------------------------------------------------------------------------------------------

    def to_the_end(self) -> None:
        """Play until everything is over, or something was found."""
        with self.drawn.limits.applied():
            try:
                self._start()
                for _ in range(_MAX_TURNS):
                    if self.watch.findings or self._is_over():
                        break
                    self._turn()
                else:
                    self.watch.found(Rule.BUDGET, f"{_MAX_TURNS} turns were not enough")
            finally:
                self.scheduler.close()
            if not self.watch.findings:
                run_rules.check_end(self.watch)

    def _is_over(self) -> bool:
        run = self.watch.run
        quiet = not self.scheduler.invocations and not self.bus.under_way
        if quiet and not self._is_left_to_audit():
            self.watch.when_quiet()
        if self.scheduler.now > self._must_end_by and not self.watch.has_ended:
            state = "missing" if run is None else run.state.value
            self.watch.found(Rule.STUCK, f"the run is {state}, with {self.watch.open_steps()}")
        return quiet and self.faults.is_calm and self.watch.has_ended and not self._wants_retry()

    def _is_left_to_audit(self) -> bool:
        """Whether something happened after which a released step rightly waits for the audit of its run.

        A conflict tells a handler that another one changed the step, and so leaves what follows to that one.
        """
        conflicts = self.faults.struck[Fault.STORE_CONFLICT] + self.faults.struck[Fault.STORE_CONFLICT_AFTER]
        return bool(conflicts or self.bus.lost_redeliveries or self._commands_that_failed)

    def _turn(self) -> None:
        self._weather()
        self._users()
        ready = self.scheduler.ready()
        arrived = self.bus.has_arrived(self.scheduler.now)
        overdue = [one for one in ready if one.must_go_on_by <= self.scheduler.now]
        if (ready or arrived) and self._chance.random() > 0.03:
            if ready and (not arrived or self._chance.random() >= self.drawn.weather.haste):
                self.scheduler.go_on(self._chance.choice(ready))
            else:
                self._deliver()
        elif overdue:
            self.scheduler.go_on(self._chance.choice(overdue))
        else:
            self._let_time_pass(dawdle=bool(ready or arrived))

    def _let_time_pass(self, *, dawdle: bool) -> None:
        now = self.scheduler.now
        until = min(self._next_tick, self.scheduler.next_wake_up(), self.bus.next_arrival(now))
        if dawdle:
            until = min(until, now + self._chance.uniform(0, 3))
        self.scheduler.now = max(until, now + 0.001)

    def _weather(self) -> None:
        now = self.scheduler.now
        if not self.faults.is_calm and now > self.drawn.weather.calm_at:
            self.faults.is_calm = True
            self.scheduler.pause_s = min(self.scheduler.pause_s, _CALM_PAUSE_S)
            self.trace.note("calm")
            self._set_end()
            if self.watch.run is None:
                self._start()
        if now >= self._next_tick:
            self._next_tick += _TICK_S
            self._tick()

    def _set_end(self) -> None:
        timeout_s = self.drawn.scenario.timeout_s
        work_s = longest_path_s(self.drawn.scenario, _SLACK_S)
        if timeout_s is not None:
            work_s = min(work_s, timeout_s)
        self._must_end_by = self.scheduler.now + _LEFT_OVER_S + work_s

    # -- events ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        body = {"definition": self.drawn.scenario.definition, "workflow_path": _PATH, "run_key": _KEY}
        self.bus.send(Message(topic="start", body=body))

    def _tick(self) -> None:
        if self.calls.strikes(Fault.TICK_MISSING):
            return
        self.bus.send(tick_message("schedule"))
        if self.calls.strikes(Fault.TICK_DOUBLED):
            self.bus.send(tick_message("schedule"))
        if self.calls.strikes(Fault.TICK_OVERLAPPING):
            self._next_tick = self.scheduler.now + self._chance.uniform(5, 50)

    def _deliver(self) -> None:
        delivery = self.bus.take(self.scheduler.now)
        assert delivery is not None
        topic, body = delivery.message.topic, delivery.message.body
        instance = self._instance(topic)
        services = self._services(instance)
        works: dict[str, Callable[[], object]] = {
            "start": lambda: handle_start(services, read_start_event(body, event_id=delivery.message_id)),
            "steps": lambda: handle_steps(services, read_steps_event(body)),
            "tick": lambda: handle_tick(services, read_tick_event(body)),
        }
        one = self.scheduler.start(topic, works[topic], instance, lambda one: self._handled(one, delivery))
        self.trace.note("deliver", one.name, delivery.message_id, delivery.message)

    def _handled(self, invocation: Invocation, delivery: Delivery) -> None:
        error = invocation.error
        if error is None or isinstance(error, _ANSWERED):
            self.trace.note("done", invocation.name)
            return
        self.trace.note("failed", invocation.name, repr(error))
        if not isinstance(error, (*_HANDED_BACK, Died)):
            self._unexpected(error)
        self.bus.send_again(delivery)

    def _unexpected(self, error: BaseException) -> None:
        where = "".join(traceback.format_exception(error)[-3:])
        self.watch.found(Rule.NO_ERROR, f"{error!r}\n{where}")

    def _instance(self, function: str) -> Instance:
        """One of the function's processes, a new one now and then; each has a clock of its own."""
        known = self._instances.setdefault(function, [])
        if len(known) < _INSTANCES or self._chance.random() < 0.02:
            skew_s = self.drawn.weather.skew_s if self.calls.strikes(Fault.CLOCK_APART) else 0.0
            name = f"{function}-{len(known) + 1}"
            limit = WakeLimit(self._settings.check_interval)
            known.append(Instance(name, self._chance.uniform(-skew_s, skew_s), limit))
        return self._chance.choice(known[-_INSTANCES:])

    def _services(self, instance: Instance) -> Services:
        return Services(**self._ports, settings=self._settings, wake_limit=instance.wake_limit)

    # -- users -----------------------------------------------------------------------------------------------------

    def _users(self) -> None:
        run = self.watch.run
        if run is None:
            return
        if self._wants_retry():
            if self._chance.random() < 0.05:
                self._retries -= 1
                self.bus.echo()
                for _ in range(self._chance.choice([1, 1, 2])):
                    self._command("retry", retry_run)
        elif self._cancels and not self.faults.is_calm and self._chance.random() < _CANCELLED_WHILE[run.state]:
            self._cancels -= 1
            for _ in range(self._chance.choice([1, 1, 2])):
                self._command("cancel", cancel_run)

    def _wants_retry(self) -> bool:
        run = self.watch.run
        return bool(self._retries) and run is not None and run.state in {RunState.FAILED, RunState.CANCELLED}

    def _command(self, name: str, command: Callable[[Services, str], None]) -> None:
        instance = self._instance("user")
        services = self._services(instance)
        if name == "cancel":
            self.watch.cancel_was_asked = True
        run = self.watch.run
        assert run is not None
        round_before = run.retries
        one = self.scheduler.start(
            name, lambda: command(services, _RUN_ID), instance, lambda one: self._commanded(one, name, round_before)
        )
        self.trace.note("command", one.name)

    def _commanded(self, invocation: Invocation, name: str, round_before: int) -> None:
        error, run = invocation.error, self.watch.run
        self.trace.note("done" if error is None else "failed", invocation.name, repr(error))
        if self.faults.is_calm:
            self._set_end()
        if error is None:
            is_done = run is not None and (run.retries > round_before or (name == "cancel" and run.state.is_terminal))
            if not is_done:
                self.watch.found(Rule.COMMAND, f"{name} returned, and nothing came of it")
            return
        if isinstance(error, _REFUSED):
            return
        self._commands_that_failed += 1
        if not isinstance(error, (*_HANDED_BACK, Died)):
            self._unexpected(error)


def play(drawn: Drawn) -> Play:
    """Play a simulation to its end."""
    one = Play(drawn)
    one.to_the_end()
    return one
