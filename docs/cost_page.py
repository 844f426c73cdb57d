"""Write docs/explanation/cost.md: what typical workflows cost, from the code that `atom-workflows cost` runs.

`python docs/generate.py` brings the page up to date; a test fails when it is not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from atom_client.cost.bill import dollars, plain, unit
from atom_client.cost.estimate import Estimate, chain, estimate
from atom_client.cost.prices import AS_OF, PRICES, Item
from atom_client.cost.usage import Assumptions
from atom_workflows.settings import Settings

PAGE: Final = Path(__file__).parent / "explanation" / "cost.md"
NIGHTLY: Final = Path(__file__).parent.parent / "examples" / "nightly_pipeline.yaml"
AT_ONCE: Final = Assumptions()
TEN_MINUTES: Final = Assumptions(job=timedelta(minutes=10))
NOTIFIED: Final = replace(TEN_MINUTES, notifies=True)
RUNS: Final = 30
WHOLE_CPU: Final = 1
LAYERS: Final = 10
WIDTH: Final = 100
AWAKE: Final = 0.8
"""The share of a minute for which the checker is awake while jobs are in flight: a burst ends with its last poll."""


_SCHEDULES: Final = """## Schedules

Schedules cost nothing while none is due: the checker finds them by the query that it makes anyway, so a month without a
run costs the same with and without them. Registering the schedules of a file reads a document and writes two, and reads
the object twice. Starting a scheduled run reads a document, writes one twice and publishes a message, beside what
the burst of that tick and the run itself cost."""


def fan(width: int) -> bytes:
    """Return a root, `width` steps that depend on it, and their join."""
    leaves = [f"leaf{at}" for at in range(width)]
    return _file(f"1 → {width} → 1", {"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves})


def layered(depth: int, width: int) -> bytes:
    """Return layers whose steps depend on three steps of the previous layer."""
    edges = {
        f"l{layer}x{at}": [f"l{layer - 1}x{(at + by) % width}" for by in range(3) if layer]
        for layer in range(depth)
        for at in range(width)
    }
    return _file(f"{depth * width:,} steps in {depth} layers", edges)


def _file(name: str, edges: Mapping[str, Sequence[str]]) -> bytes:
    steps = [{"id": step, "dependsOn": needs, "task": {"imageUri": "image"}} for step, needs in edges.items()]
    return json.dumps({"name": name, "steps": steps}).encode()


def page() -> str:
    """Return the whole of docs/explanation/cost.md."""
    nightly, wide = NIGHTLY.read_bytes(), layered(LAYERS, WIDTH)
    thousand = estimate(chain(1000), AT_ONCE)
    found = [
        *(estimate(definition, AT_ONCE) for definition in (chain(100), fan(200), wide)),
        *(estimate(definition, TEN_MINUTES) for definition in (nightly, chain(100), fan(200), wide)),
        *(estimate(definition, NOTIFIED) for definition in (nightly, chain(100))),
    ]
    parts = (
        _head(thousand),
        "## What a run takes, and what it costs\n\n" + _counts(found),
        _COUNT_NOTES,
        "## Compared with other services\n\n" + _peers(found),
        _peer_notes(found[0]),
        "## What waiting costs\n\n" + _waiting(nightly),
        _WAITING_NOTES,
        "## The formulae\n\n" + _FORMULAE,
        "A chain of 1,000 steps whose jobs are answered immediately:\n\n" + _bill(thousand),
        "A month without a run:\n\n" + _idle(thousand),
        _SCHEDULES,
        "## Prices\n\n" + _prices(),
        _PRICE_NOTES,
        "## Assumptions\n\n" + _assumptions(AT_ONCE),
        _NOT_COUNTED,
    )
    return "\n\n".join(parts) + "\n"


def _head(thousand: Estimate) -> str:
    run, idle = dollars(thousand.run.usd), dollars(thousand.idle.usd)
    return f"""\
# What it costs

At list prices of {AS_OF}, without free tiers: **{run} for 1,000 chained steps** whose jobs are answered immediately,
and **{idle} a month** for a platform on which nothing runs. While jobs that take time are in flight, the checker is
awake, and this is most of the cost of such a run ([below](#what-waiting-costs)). This page is written by `python
docs/generate.py`; `atom-workflows cost FILE` computes the same for your own workflow:

```sh
atom-workflows cost nightly.yaml --duration 45m --runs-per-month 30
atom-workflows cost --steps 1000              # a chain whose jobs are answered immediately
atom-workflows cost nightly.yaml --json       # counts, cost lines and other services, as JSON
```"""


def _counts(found: Sequence[Estimate]) -> str:
    head = ("workflow", "jobs", "written", "read", "messages", "polls", "awake, s", "a run", "1,000 steps")
    return _table(head, (_count_row(one) for one in found))


def _count_row(one: Estimate) -> tuple[str, ...]:
    steps, tally = len(one.workflow.steps), one.tally
    counts = (tally.writes, tally.reads, tally.messages, tally.polls)
    return (
        one.workflow.name,
        _jobs(one),
        *(f"{count / steps:,.2f}" for count in counts),
        f"{tally.watched_s:,.0f}",
        dollars(one.run.usd),
        dollars(one.per_1000_steps(one.run.usd)),
    )


def _jobs(one: Estimate) -> str:
    if one.given.is_at_once:
        return "immediate"
    return "10 min, notified" if one.given.notifies else "10 min"


def _peers(found: Sequence[Estimate]) -> str:
    head = ("a run costs", *(f"{one.workflow.name}, {_jobs(one)}" for one in found))
    rows = (
        (quotes[0].name, *("cannot" if quote.run is None else dollars(quote.run) for quote in quotes))
        for quotes in zip(*(one.all for one in found), strict=True)
    )
    return _table(head, rows)


def _peer_notes(one: Estimate) -> str:
    formulae = "\n".join(f"- {quote.name}: {quote.formula}." for quote in one.peers)
    return f"""\
The other services are assumed to poll jobs as often as our checker does. The cost of a service that is always on is
divided by {RUNS} runs a month.

{formulae}

None of these prices includes the additional services that are needed (a function that calls the Task Runner, or a
database for Airflow on your own machine). A Cloud Workflows execution is limited to 100,000 steps and a Standard
workflow of Step Functions to 25,000 history events, so the large workflow with polled jobs does not fit into one
execution of either; the size of definitions is limited, too. We found no source to cite for the number of DCUs that a
small Composer environment keeps: multiply the price by your number."""


def _waiting(nightly: bytes) -> str:
    once_a_minute = replace(TEN_MINUTES, settings=replace(Settings(), burst=timedelta(seconds=1)))
    ways = (
        ("the default", TEN_MINUTES),
        (f"a checker with a whole vCPU (`--checker-cpu {WHOLE_CPU}`)", replace(TEN_MINUTES, checker_vcpu=WHOLE_CPU)),
        ("a Task Runner that reports the end of each job (`--notifies`)", NOTIFIED),
        ("jobs polled once a minute (`WORKFLOW_BURST_SEC=1`)", once_a_minute),
    )
    rows = [(name, estimate(nightly, given, runs_per_month=RUNS)) for name, given in ways]
    head = ("nightly-pipeline, jobs of 10 min", "awake, s", "took, min", "a run", f"{RUNS} runs and an idle month")
    return _table(
        head,
        (
            (
                name,
                f"{one.tally.watched_s:,.0f}",
                f"{one.tally.took_s / 60:,.1f}",
                dollars(one.run.usd),
                dollars(one.month),
            )
            for name, one in rows
        ),
    )


def _bill(one: Estimate) -> str:
    rows = [(line.price.service, dollars(line.usd), line.formula) for line in one.run.lines]
    return _table(("service", "USD", "formula"), [*rows, ("**all**", f"**{dollars(one.run.usd)}**", "")])


def _idle(one: Estimate) -> str:
    rows = [(line.price.service, dollars(line.usd), line.formula) for line in one.idle.lines]
    return _table(("service", "USD", "formula"), [*rows, ("**all**", f"**{dollars(one.idle.usd)}**", "")])


def _prices() -> str:
    rows = (
        (
            price.service,
            f"${plain(price.usd)}",
            str(item) if price.per == 1 else f"{unit(price.per)} {item}",
            price.region,
            price.free,
            f"<{price.source}>",
        )
        for item, price in PRICES.items()
    )
    return _table(("service", "USD", "for", "region", "free", "source"), rows)


def _assumptions(given: Assumptions) -> str:
    rows = (
        ("a read, a commit, a publish", f"{given.read_s:g}, {given.commit_s:g}, {given.publish_s:g} s"),
        ("an answer from the Task Runner", f"{given.task_runner_s:g} s"),
        ("processor time of a call to it", f"{given.cpu_s:g} s"),
        ("an instance", f"{given.vcpu:g} vCPU, {given.gib:g} GiB, billed to one event at a time"),
        ("an instance of the checker", f"{given.checker_vcpu:g} vCPU, {given.checker_gib:g} GiB"),
        ("states of a job that polling sees", str(given.new_states)),
        ("a document with its index entries", f"{given.document_bytes:,} bytes"),
        ("a line in Cloud Logging", f"{given.line_bytes:,} bytes"),
        ("documents are kept", f"{given.settings.keep_runs.days} days, then deleted by their TTL"),
    )
    return _table(("quantity", "assumed value"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *("---:" if name in _NUMBERS else "---" for name in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


_NUMBERS: Final = frozenset({"written", "read", "messages", "polls", "awake, s", "took, min", "USD", "1,000 steps"})

_COUNT_NOTES: Final = """\
Documents written and read, messages and polls are per step, including the start and the end of the run; *awake* is the
total time of the checker's requests. A step of a chain takes 3 writes (its document, its claim, its end), 1 read and no
separate message, because changes are published in groups.

These figures are measured, not modelled: the deployed coordinator plays the run once, in memory and in virtual time,
and the calls to its store, bus, Task Runner and clock are counted. Only the durations of calls are
[assumed](#assumptions). `tests/e2e/test_cost.py` compares the counts with those of the local platform's servers for
real runs of seven shapes: they are equal for chains, and within 3 % for the others."""

_HOUR: Final = dollars(
    PRICES[Item.CPU].of(3600 * AWAKE * AT_ONCE.checker_vcpu)
    + PRICES[Item.MEMORY].of(3600 * AWAKE * AT_ONCE.checker_gib)
)

_WAITING_NOTES: Final = f"""\
Cloud Run bills a request for its whole duration, even while it sleeps. While there are jobs in flight that began less
than five minutes ago, the checker stays awake for up to `WORKFLOW_BURST_SEC` (50 s) of each minute, so that their end
is noticed within ten to fifteen seconds. If all jobs are older, they are polled once a minute, which costs hardly
anything. A Task Runner that reports the ends of its jobs keeps nothing awake (`--notifies`). Being awake costs {_HOUR}
an hour, once for the whole platform: a hundred concurrent runs share this cost, whereas the tables charge it to a
single run. So for a few runs with one job after the other, services that do not bill for waiting cost about as much;
for wide graphs, or many concurrent runs, this one is far cheaper. The checker mostly sleeps, so it is deployed with a
sixth of a processor, and more instances are started when there is more to do. `atom-workflows cost` reads
`WORKFLOW_BURST_SEC` and `WORKFLOW_CHECK_STATE_DURATION_SEC` from its environment."""

_FORMULAE: Final = """\
These are the counts for a run of N nodes (steps, the barriers of wide graphs, the end), of which S have a task:

- **written** = 1 + N documents of the run (+ 2 from 200 nodes on: its definition, and its change to running) + S
  claims + the ends of all nodes but the last + the countdowns of dependents (a commit writes each dependent once, and
  does not count down the dependents that it claims) + 2 to close the run. Jobs that take time: + S for the job's id,
  + 1 for each state seen, + 2 for each of the checker's bursts, + 1 for each audit.
- **read** = S + the barriers passed + 2 to close the run (+ the roots, from 200 nodes on). Jobs that take time: + S
  when they end; for each burst, 2 and the jobs in flight; 1 for each look at the due steps; 4 for each audit.
- **messages** = the start, one message for every ten steps that are released together and that no invocation keeps for
  itself, and the reports of changes: one for every 200 changes or every half second. Jobs that take time: + one for
  every 50 that end together, and the ticks.
- **billed bytes** = at least 1,000 for each publish and each push.
- **vCPU-seconds** = the time of each request, rounded up to 0.1 s, times the vCPUs; **GiB-seconds** likewise.
- **stored** = the documents, for as long as they are kept; **deleted** = the same documents, once.
- **logged** = a line for each change of a step, and the line that Cloud Run writes for each request."""

_PRICE_NOTES: Final = """\
Prices change and differ between regions, so the code has them in a single table. They were compared with stored copies
of these pages and, where a copy omits the figures (Firestore, Cloud Workflows, Amazon MWAA, Compute Engine), with
quotations of the pages elsewhere; some are older than the date above, and none was compared with a bill. A month has 30
days for services that are counted by the minute and 730 hours for services that are billed by the hour. Within the free
tiers of a project that does nothing else, an idle month is free, and so are some 200 runs a day of a chain of 30 steps
(20,000 writes a day), as long as their jobs are answered immediately."""

_NOT_COUNTED: Final = """\
Conditions that the given parameters decide (`cost FILE --param mode=full`) are decided. Steps of which it is not known
whether they run are assumed to run, and named.

If several events share an instance (`concurrency` above 1), they share the cost of its processor time, so the figures
above are an upper bound. They do not include retries, failing jobs and redeliveries; each further attempt of a step
takes 3 more writes (claim, job, outcome).

## What is not counted

- The Task Runner and the jobs, which cost the same regardless of who submits them.
- Traffic that leaves the region, for Task Runners in other regions. A submission and a poll are about 2 KB.
- Your own subscriptions to the topic `events`: at least 1,000 bytes a delivery.
- Cold starts: each is billed for about a second of a function.
- Building and storing the functions' images, uploads to the bucket, and the storage of the uploaded file.
- The reads of commands that show runs: `runs show` reads the run and each of its steps, `why RUN` the steps that
  have not SUCCEEDED."""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is up to date\n")
