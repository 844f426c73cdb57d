"""A year of schedules in virtual time, in which functions die, race and are called twice at every call.

The clock jumps from one due time to the next, a little late each time, as ticks are. Every invocation has a fate, drawn
from the seed: it lives, dies before or after one of its calls, or is overtaken at that call by another instance.
What died is called again later, as Pub/Sub and the scheduler do. At the end, the runs must be exactly those of the
calendar: each instant of each schedule once, on the nights when clocks change, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Final

from atom_emulator.testing.world import MovedClock, World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.coordinator.services import Services
from atom_workflows.coordinator.start import handle_start
from atom_workflows.core.cron import Calendar
from atom_workflows.core.schedules import FileSchedules, file_id
from atom_workflows.documents import RUNS
from atom_workflows.messages.internal import Tick
from atom_workflows.messages.start import read_start_event, start_of_object
from atom_workflows.ports import Query
from atom_workflows.schedule_documents import read_tick, tick_path
from support.mortal import Died, Fate, MortalBus, MortalStore

CRONS: Final = ("30 2 * * *", "15 9 * * 1-5", "*/30 0,5 * 3,4,10,11 0", "45 1 * 10,11 0")
BEGAN: Final = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
PATH: Final = "gs://bucket/workflows/flow.yaml"
_CATCH_UPS: Final = ("last", "none")
_OVERTAKEN: Final = 2
_UPLOADS: Final = 1 / 20
_TURNS_A_DAY: Final = 20
LONGEST_DELAY_S: Final = 55.0
CALLS: Final = 12
"""More than any of these invocations makes, so that some of them live."""


def definition(zone: str, number: int = 1) -> str:
    """Return the file's content. The number makes generations differ."""
    schedules = "".join(
        f'  - {{cron: "{cron}", params: {{n: {place}}}, catchUp: {_CATCH_UPS[place % 2]}}}\n'
        for place, cron in enumerate(CRONS)
    )
    return (
        f"name: flow\ntimezone: {zone}\nparams: {{n: 0}}\nschedules:\n{schedules}deadline: {{after: 10m}}\n"
        f'steps: [{{id: a, when: "params.n > {-number}"}}]\n'
    )


@dataclass(slots=True)
class Overtaken(Fate):
    """At one call, another instance does all of its work first."""

    other: Callable[[], object] = field(default=lambda: None)

    def live(self, name: str, call: Callable[[], object]) -> object:  # type: ignore[override]
        """Make the call, or let the other instance go first."""
        self.calls.append(name)
        if len(self.calls) == self.fatal:
            self.other()
        return call()


@dataclass(slots=True)
class Year:
    """A year in a zone, or a part of it."""

    zone: str
    seed: int
    length: timedelta
    began: datetime = BEGAN
    world: World = field(init=False)
    deaths: Counter[str] = field(default_factory=Counter)
    _dice: Random = field(init=False)
    _wanted: list[tuple[str, datetime]] = field(init=False)
    _generation: int = 1

    def __post_init__(self) -> None:
        self.world = World(clock=MovedClock(self.began))
        # Computed first, as a test may break the calendar on purpose after that.
        self._wanted = self.expected(self.began + self.length + timedelta(days=1))
        self._dice = Random(f"{self.zone}/{self.seed}")  # noqa: S311  (a seeded drawing, not a secret)

    def play(self) -> None:
        """Let the year pass, then compare the runs with the calendar. Raises AssertionError."""
        self.world.upload(definition(self.zone))
        until = self.began + self.length
        for turn in count():
            if (due_at := self._due_at()) is None or due_at >= until:
                break
            if turn > _TURNS_A_DAY * (self.length.days + 10) or self._schedules().generation != self._generation:
                raise AssertionError(f"seed {self.seed} in {self.zone}: due for ever, or an older generation came back")
            late = timedelta(seconds=self._dice.uniform(0, LONGEST_DELAY_S))
            self.world.clock.move(max(due_at + late - self.world.clock.now(), timedelta(seconds=1)))
            self._upload_sometimes()
            self._invoke(lambda services: handle_tick(services, Tick()), other=self._upload)
            self._deliver()
        now = self.world.clock.now()
        started, wanted = Counter(self.started()), Counter((cron, at) for cron, at in self._wanted if at <= now)
        # Named one by one, as a comparison of thousands of runs would take longer than the year.
        broken = {
            "lost": sorted(wanted - started)[:3],
            "started twice, or without reason": sorted(started - wanted)[:3],
            "late": self.late()[:3],
        }
        if any(broken.values()):
            raise AssertionError(f"seed {self.seed} in {self.zone}: {broken}")

    def started(self) -> list[tuple[str, datetime]]:
        """Return the cron expression and the instant of every run."""
        documents = self.world.store.inner.query(Query(collection=RUNS))
        assert {document.fields["state"] for document in documents} <= {"SUCCEEDED", "RUNNING"}
        found = [(one.fields["trigger"]["cron"], one.fields["scheduled_at"]) for one in documents]
        return sorted(found, key=lambda one: (one[1], one[0]))

    def late(self) -> list[str]:
        """Return the runs that were reported as late, of which there are none: all of them end at once."""
        bus = self.world.bus
        reports = [one for part in iter(lambda: bus.take_all("events"), []) for one in part]
        return [one.body["run_id"] for one in reports if one.body["type"] == "run.late"]

    def expected(self, until: datetime) -> list[tuple[str, datetime]]:
        """Return the cron expression and the instant of every run that there should be."""
        return sorted(self._instants(until), key=lambda one: (one[1], one[0]))

    def _instants(self, until: datetime) -> Iterator[tuple[str, datetime]]:
        for cron in CRONS:
            for at in Calendar(cron=cron, zone=self.zone).upcoming(self.began):
                if at > until:
                    break
                yield cron, at

    def _schedules(self) -> FileSchedules:
        (document,) = self.world.store.inner.get([tick_path(file_id(PATH))])
        assert document is not None
        return read_tick(document)

    def _due_at(self) -> datetime | None:
        (document,) = self.world.store.inner.get([tick_path(file_id(PATH))])
        assert document is not None
        due_at: datetime | None = document.fields["due_at"]
        return due_at

    def _upload_sometimes(self) -> None:
        """Upload another generation from time to time, often when instants are due; an older one is reported again."""
        if self._dice.random() > _UPLOADS:
            return
        self._upload(register=False)
        for number in (self._generation, self._generation, self._generation - 1):
            event = start_of_object("bucket", "workflows/flow.yaml", str(number), event_id="upload")
            if number < self._generation:
                # A bucket that keeps old generations.
                self.world.files.content[PATH, str(number)] = definition(self.zone, number).encode()
            self._invoke(lambda services, event=event: handle_start(services, event))  # type: ignore[misc]

    def _upload(self, *, register: bool = True) -> None:
        self._generation += 1
        text = definition(self.zone, self._generation)
        self.world.files.content = {(PATH, str(self._generation)): text.encode()}
        if register:
            self.world.report_upload(path=PATH, generation=self._generation)

    def _deliver(self) -> None:
        """Deliver the events, each of them until an invocation lives, and some once more."""
        while taken := [one for topic in ("start", "steps") for one in self.world.bus.take_all(topic)]:
            for message in taken:
                if message.subscription == "steps":
                    self.world.deliver(message)
                    continue
                event = read_start_event(message.body, event_id=message.message_id)
                for _ in range(self._dice.choice((1, 1, 1, 2))):
                    self._invoke(lambda services, event=event: handle_start(services, event))  # type: ignore[misc]
                self.world.bus.ack(message)

    def _invoke(self, work: Callable[[Services], object], *, other: Callable[[], object] | None = None) -> None:
        """Invoke a function until it lives, its fate drawn each time.

        It may be overtaken by itself, or by the `other` invocation.
        """
        for _ in range(20):
            services, kind, fatal = self.world.services, self._dice.randrange(4), self._dice.randint(1, CALLS)
            fate = Fate(fatal=fatal if kind < 2 else 0, after=kind == 1)  # The first two die.
            if kind == _OVERTAKEN:
                fate = Overtaken(fatal=fatal, other=self._dice.choice((other, None)) or partial(work, services))
            try:
                work(replace(services, store=MortalStore(services.store, fate), bus=MortalBus(services.bus, fate)))
            except Died as died:
                self.deaths[f"{died} {'after' if fate.after else 'before'}"] += 1
                # The lease of a burst that died is over when the next tick comes.
                self.world.clock.move(timedelta(seconds=self._dice.uniform(1, 20)))
            else:
                return
        raise AssertionError("no invocation lived")
