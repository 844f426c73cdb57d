"""The figures as a document."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median
from typing import Final

import psutil

from atom_emulator.platform.options import PartName
from bench.cold_start import ColdStart
from bench.loops import Looped
from bench.measure import Sample
from bench.sweep import ANSWER_S, HEAVY, SLOW_ANSWER_S, Swept
from bench.where import Part, Where
from bench.workloads import GROWTH, JOBS, Workload

PACKAGES: Final = (
    "functions-framework",
    "gunicorn",
    "flask",
    "google-cloud-firestore",
    "google-cloud-pubsub",
    "grpcio",
    "protobuf",
    "requests",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The results of one invocation. `load` is the load average before it, `start_s` the slowest start of a part."""

    samples: Mapping[Workload, Sequence[Sample]]
    start_s: float
    load: float
    peak_mb: Mapping[PartName, float]
    swept: Sequence[Swept] = ()
    cold: Sequence[ColdStart] = ()
    where: Sequence[Where] = ()
    looped: Sequence[Looped] = ()

    @property
    def repeat(self) -> int:
        """The number of passes of each workload that is not large."""
        return max((len(samples) for samples in self.samples.values()), default=0)

    @property
    def parts(self) -> Sequence[PartName]:
        """The parts that ran."""
        first = next(iter(self.samples.values()), None)
        return list(first[0].cpu_s) if first else []


def document(measured: Measured) -> str:
    """Return the whole of docs/explanation/benchmarks.md."""
    parts = (
        _HEAD,
        _machine(measured),
        "## Time\n\n" + time_table(measured),
        _TIME_NOTES,
        "## What a step costs, counted at the servers\n\n" + count_table(measured),
        _COUNT_NOTES,
        "## Processor time\n\n" + cpu_table(measured),
        _CPU_NOTES,
        where_section(measured),
        "## Memory\n\n" + memory_table(measured),
        _MEMORY_NOTES,
        growth_section(measured),
        loops_section(measured),
        jobs_section(measured),
        sweep_section(measured),
        cold_section(measured),
        _REPRODUCE,
        _LIMITS,
        _PEERS,
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def time_table(measured: Measured) -> str:
    """Return the wall times and the floors of the same passes."""
    rows = []
    for workload, samples in _instant(measured):
        walls, floors = [s.wall_s for s in samples], [s.floor_s for s in samples]
        steps = workload.steps
        rows.append(
            (
                workload.title,
                _spread([1000 * wall / steps for wall in walls], ".2f"),
                _spread([steps / wall for wall in walls], ",.0f"),
                _spread([1000 * floor / steps for floor in floors], ".2f"),
                f"{steps / median(floors):,.0f}",
                f"{median(wall / floor for wall, floor in zip(walls, floors, strict=True)):.1f}",
            )
        )
    head = ("workload", "ms a step", "steps/s", "floor, ms a call", "floor, calls/s", "times the floor")
    return _table(head, rows)


def count_table(measured: Measured) -> str:
    """Return the servers' counts per step."""
    fields: dict[str, Callable[[Sample], int]] = {
        "documents written": lambda s: s.counts.writes,
        "documents read": lambda s: s.counts.reads,
        "Firestore calls": lambda s: s.counts.store_calls,
        "Pub/Sub calls": lambda s: s.counts.publish_calls,
        "messages": lambda s: s.counts.messages,
        "pushes": lambda s: s.counts.pushes,
        "POST /job": lambda s: s.counts.submissions,
        "GET /jobstatus": lambda s: s.counts.polls,
    }
    rows = [
        (workload.title, *(_per_step(workload, samples, field) for field in fields.values()))
        for workload, samples in measured.samples.items()
    ]
    return _table(("workload", *fields), rows)


def cpu_table(measured: Measured) -> str:
    """Return the processor time of a step, by part."""
    rows = []
    for workload, samples in measured.samples.items():
        each = [[1000 * sample.cpu_s[part] / workload.steps for sample in samples] for part in measured.parts]
        total = [1000 * sum(sample.cpu_s.values()) / workload.steps for sample in samples]
        rows.append((workload.title, _spread(total, ".2f"), *(f"{median(one):.2f}" for one in each)))
    return _table(("workload", "all, ms a step", *measured.parts), rows)


def where_section(measured: Measured) -> str:
    """Describe where the time of a step goes.

    Empty if that was not measured.
    """
    if not measured.where:
        return ""
    head = ("milliseconds a step", *(f"{one.workload.title} | share" for one in measured.where))
    rows = [
        (part.value, *(f"{one.ms[part]:.2f} | {one.ms[part] / one.total_ms:.0%}" for one in measured.where))
        for part in Part
    ]
    total = ("**all**", *(f"**{one.total_ms:.2f}** | 100%" for one in measured.where))
    table = _table(head, [*rows, total], columns=1 + 2 * len(measured.where))
    return f"## Where the time of a step goes\n\n{table}\n\n{_WHERE_NOTES}"


def memory_table(measured: Measured) -> str:
    """Return the peak of each part's largest process."""
    return _table(("part", "peak RSS, MB"), [(part, f"{mb:.0f}") for part, mb in measured.peak_mb.items()])


def growth_section(measured: Measured) -> str:
    """Compare the cost of a step at ten times the size.

    Empty if that was not measured.
    """
    rows = [_growth(small, large, measured) for small, large in GROWTH if {small, large} <= set(measured.samples)]
    if not rows:
        return ""
    head = ("from → to", "documents written", "documents read", "messages", "processor time", "wall time")
    return f"## Growth\n\n{_table(head, rows)}\n\n{_GROWTH_NOTES}"


def _growth(small: Workload, large: Workload, measured: Measured) -> tuple[str, ...]:
    fields: tuple[Callable[[Sample], float], ...] = (
        lambda s: s.counts.writes,
        lambda s: s.counts.reads,
        lambda s: s.counts.messages,
        lambda s: sum(s.cpu_s.values()),
        lambda s: s.wall_s,
    )
    before, after = (
        [median(field(sample) for sample in measured.samples[one]) / one.steps for field in fields]
        for one in (small, large)
    )
    return f"{small.title} to {large.title}", *(f"{b / a:.2f}" for a, b in zip(before, after, strict=True))


def loops_section(measured: Measured) -> str:
    """Describe the cost of the items of a loop.

    Empty if that was not measured.
    """
    if not measured.looped:
        return ""
    parts = list(measured.looped[0].peak_mb)
    head = ("", "items a second", "documents written an item", "commits refused", *(f"{one}, MB" for one in parts))
    rows = [
        (
            one.title,
            f"{one.per_second:.0f}",
            f"{one.counts.writes / one.items:.2f}",
            f"{one.counts.refused_commits:,}",
            *(f"{one.peak_mb[part]:.0f}" for part in parts),
        )
        for one in measured.looped
    ]
    return f"## Items of a loop\n\n{_table(head, rows)}\n\n{_LOOPS_NOTES}"


def sweep_section(measured: Measured) -> str:
    """Describe how many thousand jobs are polled.

    Empty if that was not measured.
    """
    if not measured.swept:
        return ""
    head = (
        "jobs",
        "longest wait of a job, s",
        "longest delay of a retry, s",
        "status calls a minute",
        "reads a minute",
        "processor time a call, ms",
        "checker's memory, MB",
    )
    rows = [
        (
            f"{one.jobs:,}",
            f"{one.longest_s:.0f}",
            f"{one.late_s:.1f}",
            f"{60 * one.counts.polls / one.watched_s:,.0f}",
            f"{60 * one.counts.reads / one.watched_s:,.0f}",
            f"{1000 * one.checker_cpu_s / one.counts.polls:.2f}",
            f"{one.checker_mb:.0f}",
        )
        for one in measured.swept
    ]
    return (
        f"## Many jobs in flight\n\n{_table(head, rows)}\n\n"
        f"Each of three Task Runners has a third of the jobs; two answer after {1000 * ANSWER_S:.0f} ms and one after "
        f"{1000 * SLOW_ANSWER_S:.0f} ms. {HEAVY} of the jobs have tasks of 62 KB. A job's wait is the time between two "
        "status calls; a retry's delay is how long the single step of another run waits for its next attempt once its "
        "back-off is over. One checker process with eight threads makes all the calls, on the same machine as the "
        "servers that it calls."
    )


def cold_section(measured: Measured) -> str:
    """Describe the cost of a function's imports.

    Empty if that was not measured.
    """
    rows = [(one.what, f"{one.cpu_ms:.0f}", f"{one.rss_mb:.0f}", f"{one.modules:,}") for one in measured.cold]
    if not rows:
        return ""
    head = ("imported", "processor time, ms", "RSS, MB", "modules")
    return f"## Cold start\n\n{_table(head, rows)}\n\n{_COLD_NOTES}"


def _machine(measured: Measured) -> str:
    memory_gb = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        (
            "## Machine",
            "",
            f"- {platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, {memory_gb:.0f} GB",
            f"- {platform.python_implementation()} {platform.python_version()}; {packages}",
            f"- {datetime.now(UTC):%Y-%m-%d}; {measured.repeat} passes after a warm-up",
            f"- Load average at the beginning, from other work on the machine: {measured.load:.1f}",
            f"- The slowest part of the platform was ready in {measured.start_s:.1f} s",
        )
    )


def jobs_section(measured: Measured) -> str:
    """Compare a graph of jobs with the jobs themselves.

    Empty if that was not measured.
    """
    samples = next((samples for workload, samples in measured.samples.items() if workload is JOBS), None)
    if samples is None:
        return ""
    seconds = _spread([sample.wall_s for sample in samples], ".2f")
    return (
        f"## Jobs that take time\n\n{JOBS.title}, polled each second while Cloud Scheduler ticks once a minute: "
        f"**{seconds} s**, of which {JOBS.ideal_s:.1f} s are the jobs themselves."
    )


def _instant(measured: Measured) -> Iterable[tuple[Workload, Sequence[Sample]]]:
    return ((workload, samples) for workload, samples in measured.samples.items() if not workload.job_s)


def _per_step(workload: Workload, samples: Sequence[Sample], field: Callable[[Sample], int]) -> str:
    return f"{median(field(sample) / workload.steps for sample in samples):.2f}"


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, columns: int = 0) -> str:
    lines = [head, ["---", *["---:"] * ((columns or len(head)) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_HEAD: Final = """\
# Benchmarks

What a step costs on the local platform: embedded Firestore and Pub/Sub, the three functions, each in its own
functions-framework process, and a mock Task Runner, all on one machine and connected by gRPC and HTTP over loopback.
Every figure is the median of all passes, followed by (lowest to highest) where it varies. `make bench` writes this
file."""

_TIME_NOTES: Final = """\
The time from just before the start message is published until the last run is recorded as finished, including reading,
validating and seeding the definition. Each job is one `POST /job` that is answered `SUCCEEDED` immediately, so the
coordinator and the servers take all of the time. The *floor* is the time for the same number of the same requests to
the same Task Runner from one pooled `requests` session (one thread for the chain, eight for the others), measured right
after each pass, so that noise on the machine affects both."""

_COUNT_NOTES: Final = """\
Counts of the embedded servers, including the start and the end of each run, divided by the steps of the workload.
Documents are counted as Firestore bills them. A push is one delivery to a function."""

_CPU_NOTES: Final = """\
Milliseconds of processor time, user and system, of all processes of a part until every event was acknowledged. The
system accounts for this time in clock ticks, commonly of 10 ms. The servers' share includes the observer's polls, one
every 50 ms, for the end of the run. On two cores, the wall time of a wide graph cannot be less than half the sum."""

_WHERE_NOTES: Final = """\
The handlers of the start function and the dispatcher, called in one process, run after run. Each of their calls is
timed by the wall clock until it is answered; median of 20 passes. The servers are the platform's, and the messages are
delivered to no one. The times above also include pushes and the functions' web servers, and all of these share the
cores."""

_GROWTH_NOTES: Final = """\
The cost of one step at the larger size, divided by the cost at the smaller size: 1.00 is linear growth. One pass
each."""

_LOOPS_NOTES: Final = """\
One step with `forEach` on a platform of its own. The documents include those of the run, of the barriers between the
items and the step, and, with outputs, one for each item. A refused commit is one whose guard did not hold, because
another instance had changed the document first. The memory is the peak RSS of each function's largest process."""

_COLD_NOTES: Final = """\
A fresh process for each, median of five. *The clients alone* are functions-framework with Google's clients for
Firestore and Pub/Sub, which any function that uses these services needs. A function imports nothing that only another
function needs."""

SECTIONS: Final = (
    time_table,
    count_table,
    cpu_table,
    where_section,
    memory_table,
    growth_section,
    loops_section,
    jobs_section,
    sweep_section,
    cold_section,
)
"""The sections that are printed, whether or not the document is written."""

_MEMORY_NOTES: Final = (
    "The largest process of each part (a function also has a small supervising process) over the whole benchmark."
)

_REPRODUCE: Final = """\
## Reproduce

```sh
make bench                                # what wrote this file; about ten minutes
python -m bench --jobs --large            # the same, printed only
python -m bench                           # the four small workloads, in a minute
python -m bench --repeat 10 --only chain  # one workload with more passes
python -m bench --only items              # 10,000 items of one step
```

It needs the `dev` extra and nothing else. It fails if a run does not succeed or if a step was not submitted exactly
once, but never because it was slow."""

_LIMITS: Final = """\
## What this is not

- Not the latency of Google Cloud: a Firestore commit or a push takes some ten milliseconds there instead of one. The
  counts of documents, calls and messages are the same in the cloud; the times are not.
- Not a cold start, except in the section of that name: every process is warm.
- Not the cloud's scale: many instances of the dispatcher run in parallel there, and one process with eight threads
  here.
- The servers, the functions and the observer share the same cores."""

_PEERS: Final = """\
## Other engines

[Benchmarks of other engines](benchmarks-peers.md) compares the same workloads on other engines on one machine
(`make bench-peers`)."""
