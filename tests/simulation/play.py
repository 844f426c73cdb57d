"""One simulation: handlers, messages, ticks and users take turns until all runs are over or a rule is broken."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final

from atom_emulator.firestore.memory import MemoryStore
from atom_emulator.testing.world import TASK_RUNNER_URL
from atom_workflows.core.graph import MAIN_END_ID
from atom_workflows.errors import (
    AlreadyExists,
    BusUnavailable,
    Conflict,
    HintNotHandled,
    MalformedEvent,
    RunNotFound,
    SourceUnavailable,
    StoreUnavailable,
)
from atom_workflows.messages.internal import JobEnded, job_ended_message, tick_message
from atom_workflows.ports import Message, Write
from atom_workflows.settings import Settings
from simulation import run_rules
from simulation.apart import Apart
from simulation.attention import Attention
from simulation.bus import Delivery, FaultyBus
from simulation.calls import Calls
from simulation.dice import dice
from simulation.drawn import TICK_S, Drawn
from simulation.edits import Edited
from simulation.evidence import Evidence, Submission, Try
from simulation.expiry import Expiry
from simulation.faults import Fault, Faults
from simulation.findings import Finding, Findings, Rule
from simulation.flow import Flow
from simulation.handling import NOT_KEPT, GaveUp, handle, is_kept
from simulation.instances import Instances, Observed, Ports, unobserved
from simulation.lines import Lines
from simulation.machine import InterleavedWorkers, SkewedClock, true_time
from simulation.meddling import Meddler
from simulation.repaired import RepairWatch
from simulation.repairs import Repairs
from simulation.scenario import OTHER_URL, STOP_TIMEOUT_S, Scenario
from simulation.scheduler import Died, Invocation, Scheduler
from simulation.source import FaultySource
from simulation.store import FaultyStore
from simulation.task_runner import FaultyTaskRunner
from simulation.trace import Trace
from simulation.users import Users
from simulation.watch import Watch

_PAUSES_S: Final = (120.0, 300.0, 700.0)
_CALM_PAUSE_S: Final = 1.0
_NAMED_WITHIN_S: Final = (60, 300, 900)
_LEFT_OVER_S: Final = 1800.0
"""Time to repair, once the faults stop: events on their way (600 s), a lease (180 s), the audit (300 s), a burst."""
_SLACK_S: Final = 240.0
"""Time of a step beyond its job: ticks, polls, a deferral that began before the faults stopped."""
_MAX_TURNS: Final = 250_000
_MOST_FORGED: Final = 500
"""Forged hints may come at each turn. If all thirty deliveries of one fail, more come meanwhile."""


_ALLOWED: Final = (
    StoreUnavailable,
    BusUnavailable,
    SourceUnavailable,
    Conflict,
    AlreadyExists,
    HintNotHandled,
    RunNotFound,
    MalformedEvent,
)
"""Errors that a handler may raise. Its event comes again for some time; after the last two it is given up at once."""


class Play:
    """A simulation under way. `findings` are what was found, `trace` is what happened."""

    def __init__(self, drawn: Drawn, *, observed: Observed = unobserved) -> None:
        self.drawn = drawn
        weather, cut = drawn.weather, drawn.cut
        self._chance = dice(drawn.seed, "play", cut.schedule)
        whether = dice(drawn.seed, "faults", cut.schedule)
        self.scheduler = Scheduler(self._chance, weather.pause_s)
        self.faults = Faults(weather=weather, chance=self._chance, whether=whether, listed=cut.strikes)
        self.trace = Trace(self.scheduler, {one.run_id: one.mark for one in drawn.scenarios})
        self.calls = Calls(scheduler=self.scheduler, faults=self.faults, trace=self.trace)
        self.repairs = Repairs(self.trace)
        self.evidence = Evidence(self.scheduler)
        self._findings = Findings(self.trace)
        self._memory = MemoryStore(lambda: true_time(self.scheduler))
        self._releasing: set[tuple[Invocation, str]] = set()
        self.flows = [Flow(scenario=one, watch=self._watch(one)) for one in drawn.scenarios]
        for flow in self.flows[1:]:
            flow.repairs = self.flows[0] if isinstance(flow.watch, RepairWatch) else None
        self._attention = Attention(self.flows, self.scheduler, pace=drawn.pace, more_s=drawn.crowd_s)
        self._expiry = Expiry(flows=self.flows, memory=self._memory, calls=self.calls, keep_s=drawn.keep_s)
        self._by_run_id = {flow.run_id: flow for flow in self.flows}
        self._by_start = {(flow.scenario.path, flow.scenario.key): flow for flow in self.flows}
        self._apart = Apart(
            findings=self._findings, evidence=self.evidence, repairs=self.repairs, skew_s=weather.skew_s
        )
        limited = [flow for flow in self.flows if flow.scenario.limit]
        self._lines = (
            Lines(limited, self.scheduler, skew_s=weather.skew_s, pause_s=weather.pause_s, pace=drawn.pace)
            if limited
            else None
        )
        self._apart.lines = self._lines
        limits = drawn.limits
        self.bus = FaultyBus(
            self.calls, deliveries=limits.deliveries, on_accepted=self._on_accepted, on_given_up=self._on_given_up
        )
        self._instances = self._make_instances(
            Settings(
                task_runner_url=TASK_RUNNER_URL,
                allowed_task_runner_urls=(OTHER_URL,),
                burst=timedelta(seconds=limits.burst_s),
                stop_timeout=timedelta(seconds=STOP_TIMEOUT_S),
                keep_runs=timedelta(seconds=drawn.keep_s),
                poll_workers=limits.workers,
                max_deliveries=limits.deliveries,
            ),
            observed,
        )
        self._meddler = Meddler(flows=self.flows, memory=self._memory, calls=self.calls)
        self._users = Users(
            flows=self.flows,
            bus=self.bus,
            calls=self.calls,
            chance=self._chance,
            instances=self._instances,
            on_begin=self._apart.works_for.__setitem__,
            on_failure=self._check_error,
            on_command=lambda flow: self._set_end(flow) if self.faults.is_calm else None,
        )
        self._next_tick = TICK_S / 2
        self._calm_at = weather.calm_at
        self._are_steps_named = False

    def _watch(self, scenario: Scenario) -> Watch:
        kind = RepairWatch if isinstance(scenario, Edited) else Watch
        return kind(
            scenario=scenario,
            memory=self._memory,
            evidence=self.evidence,
            findings=self._findings,
            skew_s=self.drawn.weather.skew_s,
            pause_s=self.drawn.weather.pause_s,
            pace=self.drawn.pace,
        )

    def _make_instances(self, settings: Settings, observed: Observed) -> Instances:
        ports: Ports = {
            "store": FaultyStore(
                memory=self._memory,
                calls=self.calls,
                on_commit=self._on_commit,
                on_false_conflict=self._on_false_conflict,
                on_due=self.repairs.on_due,
                query_s=self.drawn.limits.query_s,
            ),
            "bus": self.bus,
            "task_runner": FaultyTaskRunner(
                scenario_of=lambda run_id: self._by_run_id[run_id].watch.scenario,
                calls=self.calls,
                evidence=self.evidence,
                on_submit=self._on_submit,
                on_look=self._on_poll,
                on_end=self._on_job_end,
                on_beside=self._on_beside,
                status_s=self.drawn.limits.status_s,
            ),
            "source": FaultySource(calls=self.calls, evidence=self.evidence, scenarios=self.drawn.scenarios),
            "clock": SkewedClock(self.scheduler),
            "workers": InterleavedWorkers(self.scheduler, settings.poll_workers),
        }
        return Instances(calls=self.calls, chance=self._chance, settings=settings, ports=ports, observed=observed)

    @property
    def findings(self) -> Sequence[Finding]:
        """The rules that were broken, and how."""
        return self._findings.all

    # -- the turns -------------------------------------------------------------------------------------------------

    def run_until(self, until: float) -> None:
        """Play until everything is over, a rule is broken, or that time."""
        with ExitStack() as stack:
            stack.enter_context(self.drawn.limits.applied())
            stack.enter_context(self.repairs.listening())
            stack.callback(self.scheduler.close)
            for _ in range(_MAX_TURNS):
                if self.findings or self.scheduler.now > until:
                    break
                if self._is_over() and not self._go_on_with_names():
                    break
                self._turn()
            else:
                self._findings.report(Rule.BUDGET, f"{_MAX_TURNS} turns were not enough")
        if not self.findings and self.scheduler.now <= until:
            for flow in self.flows:
                run_rules.check_end(flow.watch)
                self._expiry.check_end(flow)

    def _is_over(self) -> bool:
        quiet = not self.scheduler.invocations and not self.bus.under_way
        for flow in self.flows:
            if flow.watch.unpublished and self._is_quiet(flow):
                flow.watch.check_published()
            if self.scheduler.now > flow.must_end_by and not flow.watch.has_ended:
                run = flow.watch.run
                state = "missing" if run is None else run.state.value
                flow.watch.report(Rule.STUCK, f"the run is {state}, with {flow.watch.open_steps()}")
        return quiet and self.faults.is_calm and all(flow.is_over for flow in self.flows)

    def _go_on_with_names(self) -> bool:
        """Let things go wrong again while users name steps that are to run again; return False if they name none.

        What was played until then does not depend on it. A run that repairs another one is left alone with that.
        """
        if not any(flow.may_select or flow.may_mark for flow in self.flows) or any(
            flow.repairs is not None for flow in self.flows
        ):
            return False
        self._are_steps_named, self.faults.is_calm, self.evidence.calm_at = True, False, None
        self.scheduler.pause_s = self.drawn.weather.pause_s
        self._calm_at = self.scheduler.now + self._chance.choice(_NAMED_WITHIN_S)
        self.trace.note("names")
        for flow in self.flows:
            flow.must_end_by = float("inf")
        return True

    def _is_quiet(self, flow: Flow) -> bool:
        """Return True if no handler and no event is at that run.

        A tick counts if it has released something of the run: when the time of the run's main part is up, it releases
        the steps under `finally`.
        """
        works_for = self._apart.works_for
        at_work = {one.root for one in self.scheduler.invocations}
        if any(works_for.get(one) == flow.run_id or (one, flow.run_id) in self._releasing for one in at_work):
            return False
        return not any(self._flow_of(delivery.message) is flow for delivery in self.bus.under_way)

    def _turn(self) -> None:
        self._weather()
        self._start_repairs()
        if self._are_steps_named:
            self._users.name_steps()
        else:
            self._users.act()
            self._meddler.act()
        ready = self.scheduler.ready()
        arrived = self.bus.has_arrived(self.scheduler.now)
        if (ready or arrived) and self._chance.random() > 0.03:
            if ready and (not arrived or self._chance.random() >= self.drawn.weather.haste):
                self.scheduler.go_on(self._chance.choice(ready))
            else:
                self._deliver()
        elif overdue := [one for one in ready if one.must_go_on_by <= self.scheduler.now]:
            self.scheduler.go_on(self._chance.choice(overdue))
        else:
            self._advance_time(dawdle=bool(ready or arrived))

    def _start_repairs(self) -> None:
        """Ask for a run that repairs another one, once nothing happens to that one any more."""
        for flow in self.flows:
            first = flow.repairs
            if first is not None and not flow.is_started and first.is_over and self._is_quiet(first):
                assert isinstance(flow.watch, RepairWatch)
                flow.watch.begin(first.watch)
                self._users.start(flow)
                if self.faults.is_calm:
                    self._set_end(flow)

    def _advance_time(self, *, dawdle: bool) -> None:
        now = self.scheduler.now
        wake_up, arrival = self.scheduler.next_wake_up(), self.bus.next_arrival(now)
        until = min(self._next_tick, wake_up, arrival, self._users.next_start())
        if dawdle:
            until = min(until, now + self._chance.uniform(0, 3))
        self.scheduler.now = max(until, now + 0.001)

    def _weather(self) -> None:
        now = self.scheduler.now
        if not self.faults.is_calm and now > self._calm_at:
            self._calm_down()
        if now >= self._next_tick:
            self._next_tick += TICK_S * self.drawn.pace
            self._tick()
        is_enough = self.faults.struck[Fault.HINT_FORGED] >= _MOST_FORGED
        if not is_enough and self.calls.strikes(Fault.HINT_FORGED):
            self._forge_hint()

    def _calm_down(self) -> None:
        self.faults.is_calm = True
        self.evidence.calm_at = self.scheduler.now
        self.scheduler.pause_s = min(self.scheduler.pause_s, _CALM_PAUSE_S)
        self.trace.note("calm")
        for flow in self.flows:
            if flow.awaits_end:
                continue
            self._set_end(flow)
            if flow.watch.run is None:
                self._users.start(flow)

    def _set_end(self, flow: Flow) -> None:
        pace, now = self.drawn.pace, self.scheduler.now
        group = self.flows if flow.scenario.limit else [flow]
        for one in group:
            one.set_end(now, left_over_s=_LEFT_OVER_S * pace, slack_s=_SLACK_S * pace)
        if len(group) > 1:
            # Each of them may have to wait for all others.
            all_s = sum(one.must_end_by - now for one in group)
            for one in group:
                one.must_end_by = now + all_s

    # -- events ----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._expiry.act()
        if self.evidence.calm_at is not None:
            self._attention.check(self.evidence.calm_at)
            if self._lines is not None:
                self._lines.check(self.evidence.calm_at)
        if self.calls.strikes(Fault.TICK_MISSING):
            return
        if self.calls.strikes(Fault.TICKS_PAUSED):
            # Not for longer than anything goes wrong.
            resumed = self.scheduler.now + self._chance.choice(_PAUSES_S)
            self._next_tick = min(resumed, max(self._next_tick, self._calm_at))
            return
        self.bus.send(tick_message("schedule"))
        if self.calls.strikes(Fault.TICK_DOUBLED):
            self.bus.send(tick_message("schedule"))
        if self.calls.strikes(Fault.TICK_OVERLAPPING):
            self._next_tick = self.scheduler.now + self._chance.uniform(5, 50)

    def _deliver(self) -> None:
        delivery = self.bus.take(self.scheduler.now)
        assert delivery is not None
        topic = delivery.message.topic
        # The checker gets the hints, too.
        instance, services = self._instances.one_of("tick" if topic == "jobs" else topic)
        one = self.scheduler.start(
            topic,
            lambda: handle(services, delivery, self._chance),
            instance,
            lambda one: self._on_end(one, delivery),
        )
        if (flow := self._flow_of(delivery.message)) is not None:
            self._apart.works_for[one] = flow.run_id
        self.trace.note("deliver", one.name, delivery.message_id, delivery.message)

    def _on_end(self, invocation: Invocation, delivery: Delivery) -> None:
        error = invocation.error
        if error is None:
            self.trace.note("done", invocation.name)
        elif isinstance(error, GaveUp):
            self._on_acknowledged(invocation, delivery, error.cause)
        else:
            self.trace.note("failed", invocation.name, repr(error))
            self._check_error(error)
            if delivery.message.topic == "tick":
                self._leave_to_next_audit(invocation)
            self.bus.send_again(delivery)

    def _leave_to_next_audit(self, tick: Invocation) -> None:
        """Leave steps under `finally` that a tick released before it failed to the run's next audit.

        The tick that comes again is about all runs, and need not look at this one so soon.
        """
        for flow in self.flows:
            if (tick, flow.run_id) in self._releasing:
                flow.watch.leave_below_to_audit([MAIN_END_ID])

    def _on_acknowledged(self, invocation: Invocation, delivery: Delivery, cause: Exception) -> None:
        self.trace.note("given up", invocation.name, repr(cause))
        self._check_error(cause)
        letters = self.bus.dead_letters[delivery.message_id]
        if delivery.message.topic not in NOT_KEPT and not any(is_kept(letter, delivery) for letter in letters):
            self._findings.report(Rule.KEPT, f"{delivery.message_id} was acknowledged after {cause!r}")
        self.bus.give_up(delivery)

    def _check_error(self, error: BaseException) -> None:
        if not isinstance(error, (*_ALLOWED, Died)):
            where = "".join(traceback.format_exception(error)[-3:])
            self._findings.report(Rule.NO_ERROR, f"{error!r}\n{where}")

    # -- what is seen ----------------------------------------------------------------------------------------------

    def _flow_of(self, message: Message) -> Flow | None:
        """Return the run that a message is about.

        None if it is about all, as ticks are.
        """
        run_id, path = message.body.get("run_id"), message.body.get("workflow_path")
        if path is not None:
            return self._by_start[path, message.body["run_key"]]
        return self._by_run_id.get(run_id or "")

    def _on_commit(self, writes: Sequence[Write]) -> None:
        self.repairs.on_commit(writes, self.scheduler.current.name)
        for run_id in sorted(self._apart.on_commit(writes)):
            if run_id in self._by_run_id:
                watch = self._by_run_id[run_id].watch
                watch.on_commit(writes)
                if watch.unpublished:
                    self._releasing.add((self.scheduler.current.root, run_id))
                self._attention.on_look(run_id, [write.path.rpartition("/")[2] for write in writes])
            else:
                self._findings.report(Rule.APART, f"there is a run that no one asked for: {run_id}")
        if self._lines is not None:
            self._lines.on_commit()

    def _on_false_conflict(self, writes: Sequence[Write]) -> None:
        for flow in self.flows:
            flow.on_false_conflict(writes)

    def _on_submit(self, submission: Submission, body: Mapping[str, Any]) -> None:
        self._by_run_id[submission.of.run_id].watch.on_submit(submission, body)

    def _on_poll(self, of: Try) -> None:
        self._attention.on_look(of.run_id, [of.step])
        if self.scheduler.current.root.name.startswith("jobs"):
            self._by_run_id[of.run_id].watch.on_hint_poll(of)

    def _on_job_end(self, key: str, ends_at: float) -> None:
        message = job_ended_message(JobEnded(idempotency_key=key))
        after_s = max(0.0, ends_at - self.scheduler.now)
        self.bus.send(message, after_s=after_s + self._chance.choice([0, 0, self._chance.uniform(0, 1)]))
        if self.calls.strikes(Fault.HINT_EARLY):
            self.bus.send(message, after_s=self._chance.uniform(0, after_s))

    def _on_beside(self, of: Try, job_id: str) -> None:
        watch = self._by_run_id[of.run_id].watch
        if of.step not in watch.gone:
            watch.report(Rule.ALONE, f"{of.step} was submitted at {of.attempt} while {job_id} runs")

    def _forge_hint(self) -> None:
        flow = self._chance.choice(self.flows)
        step, attempt = self._chance.choice(flow.scenario.all_steps), self._chance.choice([1, 1, 2, 3])
        self.bus.send(job_ended_message(JobEnded(idempotency_key=f"{flow.run_id}/{step.id}/{attempt}")))

    def _on_accepted(self, message: Message) -> None:
        running = self.scheduler.running
        self.repairs.on_accepted(message, "" if running is None else running.name)
        if (flow := self._flow_of(message)) is not None:
            flow.watch.on_accepted(message)
            self._attention.on_accepted(message)

    def _on_given_up(self, message: Message) -> None:
        if (flow := self._flow_of(message)) is not None:
            flow.on_given_up(message)


def play(drawn: Drawn, *, until: float = float("inf"), observed: Observed = unobserved) -> Play:
    """Play a simulation to its end, or until that simulated time.

    `until` is in simulated seconds.
    """
    one = Play(drawn, observed=observed)
    one.run_until(until)
    return one
