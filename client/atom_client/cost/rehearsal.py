"""A run rehearsed on its graph: which invocations there are and what each reads, writes and publishes.

Follows the short path of `coordinator.advance` with the same limits, on a graph in which every job succeeds. Nothing is
asked of any service; tests hold the figures to what the servers of the local platform count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from atom_client.cost.polling import Watch
from atom_client.cost.usage import ENVELOPE_BYTES, Assumptions, Tally, TooLong, billed
from atom_workflows.coordinator.commits import MAX_WRITES
from atom_workflows.coordinator.outbox import REPORT_AFTER_S
from atom_workflows.coordinator.seed import BATCH_DOCUMENTS, PAGE
from atom_workflows.core.graph import END_ID, Node, compile_graph, is_internal
from atom_workflows.core.workflow import Workflow
from atom_workflows.messages.internal import CHANGES_PER_MESSAGE, OUTCOMES_PER_COMPLETED, STEPS_PER_READY

READY_BYTES: Final = 35
OUTCOME_BYTES: Final = 160
CHANGE_BYTES: Final = 170
"""What it tells of one."""

RUN_LINES: Final = 3
"""Lines that the log has of a run: started, running, ended."""

LONGEST: Final = timedelta(days=30)
"""Runs are rehearsed second by second, so there has to be an end; few take longer."""


def rehearse(workflow: Workflow, given: Assumptions) -> Tally:
    """What one run of the workflow takes. Raises `TooLong`."""
    return _Rehearsal.of(workflow, given).play()


@dataclass(slots=True)
class _Invocation:
    """One delivery to a function: what it does adds up to the time that is billed."""

    given: Assumptions
    tally: Tally
    began: float
    elapsed: float = 0.0
    changes: int = 0
    puts_in_flight: bool = False
    _told_at: float | None = None

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return self.began + self.elapsed

    def read(self, documents: int) -> None:
        """Read documents in one call."""
        if documents:
            self.tally.reads += documents
            self.elapsed += self.given.read_s

    def commit(self, writes: int) -> None:
        """Write documents in one commit."""
        self.tally.writes += writes
        self.elapsed += self.given.commit_s

    def submit(self, jobs: int) -> None:
        """Submit jobs at the same time."""
        self.tally.submissions += jobs
        self.elapsed += self.given.task_runner_s + jobs * self.given.cpu_s

    def flush_ready(self, sizes: Sequence[int]) -> None:
        """Publish steps for others, and now and then with them what changed."""
        self._told_at = self.elapsed if self._told_at is None else self._told_at
        if self.elapsed - self._told_at >= REPORT_AFTER_S:
            self._told_at = self.elapsed
            self.flush(sizes)
        elif sizes:
            self._publish(sizes, [])

    def flush(self, sizes: Sequence[int] = ()) -> None:
        """Publish all there is."""
        full, rest = divmod(self.changes, CHANGES_PER_MESSAGE)
        told = [CHANGES_PER_MESSAGE] * full + [rest] * bool(rest)
        self.changes = 0
        if sizes or told:
            self._publish(sizes, [ENVELOPE_BYTES + changes * CHANGE_BYTES for changes in told])

    def end(self) -> None:
        """Answer the request."""
        self.flush()
        self.tally.dispatched_s += billed(self.elapsed)
        self.tally.took_s = max(self.tally.took_s, self.now)

    def _publish(self, ready: Sequence[int], told: Sequence[int]) -> None:
        # One request for each topic; what changed is delivered to nobody of ours.
        if ready:
            self.tally.publish(list(ready), delivered=True)
        if told:
            self.tally.publish(list(told), delivered=False)
        self.elapsed += self.given.publish_s


@dataclass(slots=True)
class _Rehearsal:
    """The state of the run: what each node waits for, which events are on their way, which jobs run."""

    given: Assumptions
    nodes: Mapping[str, Node]
    with_task: frozenset[str]
    at_once: frozenset[str]
    remaining: dict[str, int]
    tally: Tally = field(default_factory=Tally)
    events: deque[tuple[float, list[str]]] = field(default_factory=deque)
    jobs: list[tuple[float, str]] = field(default_factory=list)

    @classmethod
    def of(cls, workflow: Workflow, given: Assumptions) -> _Rehearsal:
        """The run before it starts."""
        nodes = compile_graph(workflow)
        tasks = {step.id: step.task for step in workflow.steps if step.task is not None}
        at_once = tasks if given.is_at_once else {name for name, task in tasks.items() if task.engine == "edge"}
        return cls(
            given=given,
            nodes=nodes,
            with_task=frozenset(tasks),
            at_once=frozenset(at_once),
            remaining={node.id: len(node.depends_on) for node in nodes.values()},
        )

    def play(self) -> Tally:
        """Let everything happen."""
        watch = Watch(self.given, self.tally)
        self._start()
        self._drain()
        if self.jobs:
            watch.wake(self.jobs[0][0])
        else:
            watch.wait(self.tally.took_s)
        while self.jobs:
            started, self.jobs = self.jobs, []
            last = max(at for at, _ in started)
            if last + self.given.job.total_seconds() > LONGEST.total_seconds():
                raise TooLong(f"such a run takes more than {LONGEST.days} days, which is not estimated")
            self._end(started, watch.follow(len(started), last))
            self._drain()
        watch.close()
        self.tally.lines += RUN_LINES
        return self.tally

    def _start(self) -> None:
        invocation = self._invocation(0.0)
        self.tally.publish([ENVELOPE_BYTES], delivered=True)
        self.tally.objects_read = 1
        self.tally.documents = len(self.nodes) + 1
        roots = [name for name, count in self.remaining.items() if count == 0]
        if len(self.nodes) < BATCH_DOCUMENTS:
            invocation.commit(self.tally.documents)
        else:
            self._seed_large(invocation, len(roots))
        invocation.changes += 1
        self._publish_ready(invocation, roots)
        invocation.end()

    def _seed_large(self, invocation: _Invocation, roots: int) -> None:
        """The run, its definition and its end; the other nodes in batches; the run again; then its roots are found."""
        self.tally.documents += 1
        invocation.commit(3)
        others = len(self.nodes) - 1
        for start in range(0, others, BATCH_DOCUMENTS):
            invocation.commit(min(BATCH_DOCUMENTS, others - start))
        invocation.commit(1)
        invocation.read(roots + (roots % PAGE == 0))

    def _drain(self) -> None:
        while self.events:
            at, steps = self.events.popleft()
            invocation = self._invocation(at)
            invocation.read(len(steps))
            passed = [name for name in steps if name not in self.with_task]
            claimed = [name for name in steps if name in self.with_task]
            if claimed:
                invocation.commit(len(claimed))
            if passed:
                claimed += self._save_and_go_on(invocation, passed, [])
            self._advance(invocation, claimed)

    def _end(self, started: Sequence[tuple[float, str]], seen: float) -> None:
        """The checker saw that jobs have ended, and tells dispatchers."""
        told = len(started) * self.given.new_states
        self.tally.writes += told
        self.tally.lines += told
        groups = [
            [name for _, name in started[i : i + OUTCOMES_PER_COMPLETED]]
            for i in range(0, len(started), OUTCOMES_PER_COMPLETED)
        ]
        self.tally.publish([ENVELOPE_BYTES + len(group) * OUTCOME_BYTES for group in groups], delivered=True)
        if told:
            self.tally.publish([ENVELOPE_BYTES + told * CHANGE_BYTES], delivered=False)
        for group in groups:
            invocation = self._invocation(seen)
            invocation.read(len(group))
            self._advance(invocation, self._save_and_go_on(invocation, group, []))

    def _advance(self, invocation: _Invocation, claimed: list[str]) -> None:
        while claimed:
            invocation.submit(len(claimed))
            ended = [name for name in claimed if name in self.at_once]
            running = [name for name in claimed if name not in self.at_once]
            self.jobs += [(invocation.now, name) for name in running]
            claimed = self._save_and_go_on(invocation, ended, running)
        invocation.end()

    def _save_and_go_on(self, invocation: _Invocation, ended: Sequence[str], running: Sequence[str]) -> list[str]:
        """Save what became of steps; answer those that this invocation claims of what that releases."""
        may_keep = invocation.elapsed < self.given.settings.inline_budget.total_seconds()
        sole = [heir for name in ended if (heir := self.nodes[name].hands_over_to) is not None] if may_keep else []
        invocation.read(len(sole))
        parts = list(self._parts([*ended, *running], frozenset(ended)))
        heirs = sole if len(parts) == 1 else []
        released = [name for part in parts for name in self._commit(invocation, part, frozenset(ended), heirs)]
        ready = self._release(invocation, released)
        room = max(STEPS_PER_READY - len(heirs), 0) if may_keep else 0
        self._publish_ready(invocation, ready[room:])
        kept = ready[:room]
        if kept:
            invocation.read(len(kept))
            invocation.commit(len(kept))
        return [*heirs, *kept]

    def _commit(
        self, invocation: _Invocation, steps: Sequence[str], ended: frozenset[str], heirs: Sequence[str] = ()
    ) -> list[str]:
        """Save the steps and count down what depends on those that ended; what that releases."""
        counts: dict[str, int] = {}
        for name in steps:
            for dependent in self.nodes[name].dependents if name in ended else ():
                counts[dependent] = counts.get(dependent, 0) + 1
        for name, count in counts.items():
            self.remaining[name] -= count
        counted = [name for name in counts if name not in set(heirs)]
        invocation.commit(len(steps) + len(heirs) + len(counted))
        invocation.changes += sum(not is_internal(name) for name in (*steps, *heirs))
        self.tally.lines += len(steps) + len(heirs)
        return [name for name in counted if self.remaining[name] == 0]

    def _release(self, invocation: _Invocation, released: Sequence[str]) -> list[str]:
        """Pass barriers level by level; the released steps that have a task."""
        ready: list[str] = []
        while released:
            ready += [name for name in released if name in self.with_task]
            inner = [name for name in released if name not in self.with_task and name != END_ID]
            is_over = END_ID in released
            invocation.read(len(inner))
            parts = self._parts(inner, frozenset(inner))
            released = [name for part in parts for name in self._commit(invocation, part, frozenset(inner))]
            if is_over:
                self._finish(invocation)
        return ready

    def _finish(self, invocation: _Invocation) -> None:
        invocation.read(1)
        invocation.read(1)
        invocation.commit(2)
        invocation.changes += 1

    def _parts(self, names: Iterable[str], ended: frozenset[str]) -> Iterator[list[str]]:
        """The steps in parts that one commit can hold."""
        part: list[str] = []
        touched: set[str] = set()
        for name in names:
            touches = {name, *(self.nodes[name].dependents if name in ended else ())}
            if part and len(touched | touches) > MAX_WRITES:
                yield part
                part, touched = [], set()
            part.append(name)
            touched |= touches
        if part:
            yield part

    def _publish_ready(self, invocation: _Invocation, steps: Sequence[str]) -> None:
        groups = [list(steps[i : i + STEPS_PER_READY]) for i in range(0, len(steps), STEPS_PER_READY)]
        invocation.flush_ready([ENVELOPE_BYTES + len(group) * READY_BYTES for group in groups])
        self.events += [(invocation.now, group) for group in groups]

    def _invocation(self, at: float) -> _Invocation:
        return _Invocation(given=self.given, tally=self.tally, began=at)
