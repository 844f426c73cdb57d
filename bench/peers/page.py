"""The figures as a table, and as docs/explanation/benchmarks-peers.md."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import psutil

from bench.peers.rounds import Cell, Row
from bench.workloads import Workload

OURS: Final = "ours"

EARLIER: Final = (
    ("bare HTTP calls", "0.26", "4,253", "4,530", "2,670"),
    ("the first version of this product (Go, nothing durable)", "0.29", "2,971", "4,111", "900"),
    ("Luigi, one worker (files as state)", "1.2", "650", "250", "644"),
    ("Celery (Redis)", "2.7", "336", "194", "447"),
    ("DBOS (SQLite)", "2.8", "226", "145", "178"),
    ("DBOS (Postgres)", "3.5", "240", "246", "224"),
    ("Dagster in process", "14.5", "80", "67", "17"),
    ("Prefect 3", "33", "39", "23", "3"),
    ("Airflow 3", "1,110", "5", "4", "4"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The results of one invocation, and the load averages before and after it."""

    workloads: Sequence[Workload]
    rows: Sequence[Row]
    repeat: int
    load_before: float
    load_after: float

    @property
    def measured(self) -> list[Row]:
        """The engines that have figures."""
        return [row for row in self.rows if row.cells]


def time_table(compared: Compared) -> str:
    """Return the times of each engine and workload.

    The times are milliseconds a step, steps a second, and the multiple of the floor.
    """
    rows = (
        (row.title, *(_figures(row.cells.get(one.name)) for one in compared.workloads)) for row in compared.measured
    )
    return _table(_head(compared), rows)


def ratio_table(compared: Compared) -> str:
    """Return each engine's times divided by those of Atom Workflows.

    Empty if no other engine was measured.
    """
    others = [row for row in compared.measured if row.name != OURS]
    rows = ((row.title, *(_ratio(row.cells.get(one.name)) for one in compared.workloads)) for row in others)
    return _table(_head(compared), rows) if others else ""


def failures(compared: Compared) -> str:
    """Return a line for each engine that failed."""
    return "\n".join(f"- {row.title}: {row.failed}" for row in compared.rows if row.failed)


def document(compared: Compared) -> str:
    """Return the whole of docs/explanation/benchmarks-peers.md."""
    failed, ratios = failures(compared), ratio_table(compared)
    parts = (
        _HEAD,
        _machine(compared),
        "## Time\n\nMilliseconds a step · steps/s · **times the floor** (lowest to highest).\n\n"
        + time_table(compared),
        _TIME_NOTES,
        f"## Compared with Atom Workflows\n\n{ratios}\n\n{_RATIO_NOTES}" if ratios else "",
        "## How each was configured\n\n" + _configured(compared),
        f"## Not measured\n\n{failed}" if failed else "",
        _REPRODUCE,
        _earlier(),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    if not cell.passes:
        return f"more than {cell.over_s:.0f} s"
    ratios = cell.ratios_to_floor
    spread = f" ({_times(min(ratios))} to {_times(max(ratios))})" if len(ratios) > 1 else ""
    return f"{cell.ms_a_step:,.2f} · {_amount(cell.steps_a_second)} · **{_times(cell.times_floor)}**{spread}"


def _amount(steps: float) -> str:
    return f"{steps:,.0f}" if steps >= 10 else f"{steps:.1f}"  # noqa: PLR2004 - two digits that mean something


def _ratio(cell: Cell | None) -> str:
    return _times(cell.times_ours) if cell and cell.times_ours else "-"


def _times(ratio: float) -> str:
    digits = 2 if ratio < 1 else 1 if ratio < 100 else 0  # noqa: PLR2004 - two digits that mean something
    return f"{ratio:,.{digits}f}"


def _head(compared: Compared) -> Sequence[str]:
    return ("", *(workload.title for workload in compared.workloads))


def _configured(compared: Compared) -> str:
    return "\n".join(f"- **{row.title}** ({_versions(row)}): {row.configured}" for row in compared.measured)


def _versions(row: Row) -> str:
    return ", ".join(f"{name} {number}" for name, number in row.versions.items()) or "this tree"


def _machine(compared: Compared) -> str:
    memory_gb = psutil.virtual_memory().total / 2**30
    return "\n".join(
        (
            "## Machine",
            "",
            f"- {platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, {memory_gb:.0f} GB",
            f"- {platform.python_implementation()} {platform.python_version()}",
            f"- {datetime.now(UTC):%Y-%m-%d}; median of {compared.repeat} passes after a warm-up",
            f"- Load average, including other work: {compared.load_before:.1f} before, {compared.load_after:.1f} after",
        )
    )


def _earlier() -> str:
    head = ("", "chain of 100, ms a step", "1 → 200 → 1, steps/s", "10 layers of 20, steps/s", "50 runs of 4, steps/s")
    return f"{_EARLIER_HEAD}\n\n{_table(head, EARLIER)}\n\n{_EARLIER_NOTE}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_HEAD: Final = """\
# Benchmarks of other engines

The four small workloads of our [benchmarks](benchmarks.md) on other engines, each in its own environment, one after the
other on the same machine, against the same mock Task Runner: every step is one `POST /job` that is answered `SUCCEEDED`
immediately. `make bench-peers` writes this file. The engines differ in what they do for a step and in what their state
would survive; the section after the figures describes how each was configured."""

_TIME_NOTES: Final = """\
The time from the submission to the end of the last run, without the start of the engine. The *floor* is the time for
the same number of the same requests from one pooled `requests` session (one thread for the chain, eight for the
others), measured right after each pass. On a machine that also does other work, compare the ratios rather than the
milliseconds. Every engine, including Atom Workflows, keeps its files in memory (`/dev/shm`) if the system has it, so no
figure includes a disk. After every pass the Task Runner's log is checked: each step must have been submitted exactly
once, and after all the steps that it depends on."""

_RATIO_NOTES: Final = """\
The time of each engine divided by the time of Atom Workflows: below 1, the engine is faster. After each pass of an
engine, Atom Workflows runs the same workload while the engine idles; the figure is the median of the ratios of the
passes, so both were measured within the same minute. Atom Workflows runs its servers and functions in separate
processes, as it is deployed, and state and events travel between them by gRPC and HTTP. An engine that runs its steps
inside the process that coordinates them does not have this cost."""

_REPRODUCE: Final = """\
## Reproduce

```sh
make bench-peers SLOW=1                        # what wrote this file; about a quarter of an hour
make bench-peers                               # the same without Airflow; about eight minutes
python -m bench.peers                          # the same, printed only
python -m bench.peers --only dbos --repeat 10  # compare with one engine
```

The first time, it installs each engine from the package index under `.bench/`, some 1.1 GB with Airflow; `make clean`
removes that. An engine that cannot be installed or that fails is reported in one line, and the others continue."""

_EARLIER_HEAD: Final = """\
## Measured earlier on another machine

These figures are only roughly comparable with the tables above: they come from another machine with two cores, on which
a bare HTTP call took 0.26 ms, and from other versions. The workloads are the same."""

_EARLIER_NOTE: Final = """\
On that machine, the fan of 200 with jobs of 2 s, polled each second (ideal 6.0 s), took 6.1 s with the first version,
19 s with Prefect, 55 s with Huey and 62 s with Airflow."""
