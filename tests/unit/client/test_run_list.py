"""`runs list`: filters, orders, pages, and how much is read for them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from atom_client.errors import Misuse
from atom_client.views.run_list import MOST_RUNS_LOOKED_AT
from atom_client.views.since import since_of
from atom_emulator.testing.world import START, World
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path
from atom_workflows.ports import Create
from support.command_line import call_runs
from support.workflows import chain, script

NOW = START + timedelta(days=10)


def with_runs(*runs: dict[str, Any]) -> World:
    """Return a world with these runs, each created a minute after the one before; `taken_s` is how long it took."""
    world = World()
    world.clock.move(NOW - START)
    for batch in range(0, len(runs), 500):
        world.store.commit([_create(number, runs[number]) for number in range(batch, min(batch + 500, len(runs)))])
    world.store.reads = 0
    return world


def _create(number: int, run: dict[str, Any]) -> Create:
    created = START + timedelta(minutes=number)
    given = {"schema": 1, "state": "SUCCEEDED", "workflow": "flow", "source": {"path": "flow.yaml"}, "step_count": 3}
    times = {
        "created_at": created,
        "started_at": created,
        "finished_at": created + timedelta(seconds=run.get("taken_s", 1)),
    }
    return Create(path=run_path(f"r{number}"), fields={**given, **times, **run})


def listed(world: World, *options: str) -> list[str]:
    """Return the ids that a list has, in its order."""
    result = call_runs(world, "list", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [run["run_id"] for run in json.loads(result.stdout)["runs"]]


SIX: tuple[dict[str, Any], ...] = (
    {"workflow": "nightly", "source": {"path": "gs://bucket/nightly.yaml"}, "labels": {"team": "ads", "day": "1"}},
    {"state": "FAILED", "taken_s": 600},
    {"state": "INVALID", "workflow": "broken.yaml", "source": {"path": "broken.yaml"}, "started_at": None},
    {"state": "CANCELLED", "labels": {"team": "ads"}, "taken_s": 300},
    {"state": "RUNNING", "finished_at": None},
    {"state": "QUEUED", "started_at": None, "finished_at": None},
)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ("", "r5 r4 r3 r2 r1 r0"),
        ("--failed", "r2 r1"),
        ("--running", "r5 r4"),
        ("--running --failed", "r5 r4 r2 r1"),
        ("--state cancelled --state SUCCEEDED", "r3 r0"),
        ("--workflow nightly", "r0"),
        ("--workflow flow --failed", "r1"),
        ("--workflow etc/flow.yaml", "r5 r4 r3 r1"),
        ("--workflow gs://bucket/nightly.yaml", "r0"),
        ("--label team=ads", "r3 r0"),
        ("--label team=ads --label day=1", "r0"),
        ("--since 2026-01-01T00:03Z", "r5 r4 r3"),
        ("--since 9d --state FAILED", ""),
        ("--sort duration", "r4 r1 r3 r0 r5 r2"),
        ("--sort started", "r4 r3 r1 r0 r5 r2"),
        ("--sort duration --limit 2 --page 2", "r3 r0"),
        ("--limit 4 --page 2", "r1 r0"),
        ("--failed --limit 1 --page 2", "r1"),
    ],
)
def test_runs_are_chosen_and_sorted(options: str, ids: str) -> None:
    """Every condition must hold, several states mean any of them, and the order is that of the option."""
    assert listed(with_runs(*SIX), *options.split()) == ids.split()


def test_a_page_says_what_is_left_and_how_to_see_it() -> None:
    """The last line has the number of all runs that match, and the command for the next page with the same options."""
    world = with_runs(*[{"state": "FAILED"}] * 25, {"state": "RUNNING"})
    first = call_runs(world, "list", "--failed", "--since", "2026-01-01", "--project", "my-project")
    command = "atom-workflows runs list --failed --since 2026-01-01 --page 2 --project=my-project"
    assert first.stdout.splitlines()[-1] == f"20 of 25 runs; next: `{command}`"
    second = call_runs(world, "list", "--failed", "--page", "2")
    assert second.stdout.splitlines()[-1] == "21 to 25 of 25 runs"
    assert "runs" not in call_runs(world, "list", "--running").stdout.splitlines()[-1]
    as_json = call_runs(world, "list", "--json", "--limit", "10", "--label", "a=b c", "--sort", "started")
    assert (json.loads(as_json.stdout), as_json.stderr) == ({"version": 1, "runs": []}, "")
    beside = call_runs(world, "list", "--json", "--limit", "25").stderr
    assert beside == "25 of 26 runs; next: `atom-workflows runs list --limit 25 --json --page 2`\n"


def test_a_retried_run_that_waits_is_not_the_longest() -> None:
    """A run without a duration is sorted last by duration, even if it ran before it was retried."""
    waiting = {"state": "QUEUED", "finished_at": None, "reopened_at": START + timedelta(hours=1), "retries": 1}
    assert listed(with_runs(waiting, {"taken_s": 5}), "--sort", "duration") == ["r1", "r0"]


def test_the_wait_of_a_retried_run_is_not_its_duration() -> None:
    """A retried run that had to wait for a place is sorted by the time since it got that."""
    waited = {
        "reopened_at": START + timedelta(hours=1),
        "admitted_at": START + timedelta(hours=2),
        "finished_at": START + timedelta(hours=2, seconds=3),
    }
    assert listed(with_runs(waited, {"taken_s": 5}), "--sort", "duration") == ["r1", "r0"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--page 3 --limit 2", "--page 3 does not exist: there are 2 pages of 2 runs"),
        ("--page 2 --failed", "--page 2 does not exist: there is only one page"),
        ("--label team", "--label is 'team'; it must be NAME=VALUE"),
        (f"--workflow {'n' * 2_000}", "--workflow has 2,000 characters; at most 300 are allowed"),
        ("--since soon", "--since is 'soon'; write a time such as 2026-03-01"),
        ("--since 2030-01-01", "--since is 2030-01-01 00:00:00"),
    ],
)
def test_what_cannot_be_listed_is_refused(options: str, problem: str) -> None:
    """A page that does not exist and a value that cannot be read are named, with exit code 2."""
    result = call_runs(with_runs({}, {}, {}), "list", *options.split())
    assert (result.exit_code, result.stderr.startswith(f"Error: {problem}")) == (2, True), result.stderr


def test_no_match_names_the_conditions() -> None:
    """A list without runs says which conditions no run meets."""
    result = call_runs(with_runs({}), "list", "--failed", "--workflow", "etl", "--label", "a=b", "--since", "20d")
    assert result.stdout == (
        "No run is FAILED or INVALID and is of the workflow etl and has the label a=b and was created since "
        "2025-12-22 00:00:00 UTC.\n"
    )


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make Berlin the local time zone."""
    monkeypatch.setitem(os.environ, "TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", datetime(2026, 3, 31, 20, tzinfo=UTC)),
        ("1d12h", datetime(2026, 3, 30, 10, tzinfo=UTC)),
        ("today", datetime(2026, 3, 31, 22, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 3, 30, 22, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 2, 28, 23, tzinfo=UTC)),
        ("2026-03-01T02:30", datetime(2026, 3, 1, 1, 30, tzinfo=UTC)),
        ("2026-03-01t02:30z", datetime(2026, 3, 1, 2, 30, tzinfo=UTC)),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_since_is_a_time_a_duration_or_a_day(text: str, moment: datetime) -> None:
    """A time without an offset, and a day, are local."""
    assert since_of(text, datetime(2026, 3, 31, 22, tzinfo=UTC)) == moment


@pytest.mark.parametrize("text", ["", "x", "99999999w", "-2h", "2026-13-01", "\x1b[31m"])
def test_since_that_is_no_time_is_refused(text: str) -> None:
    """Whatever cannot be a time is answered with examples."""
    with pytest.raises(Misuse, match="write a time such as"):
        since_of(text, NOW)


def test_ten_thousand_runs_are_listed_with_few_reads() -> None:
    """A plain list reads its page, a search what matches, and any other list at most its limit and a page."""
    runs = [{"state": "FAILED" if number % 100 == 0 else "SUCCEEDED"} for number in range(10_050)]
    world = with_runs(*runs)
    for options, most in (
        ((), 21),
        (("--page", "3"), 61),
        (("--failed",), 1 + 101 + 20),
        (("--workflow", "none"), 2),
        (("--since", "2026-01-07T23:00Z"), 30 + 20),
        (("--label", "a=b"), MOST_RUNS_LOOKED_AT + 500),
        (("--sort", "duration"), MOST_RUNS_LOOKED_AT + 500 + 20),
    ):
        world.store.reads = 0
        call_runs(world, "list", *options)
        assert world.store.reads <= most, options
    said = call_runs(world, "list", "--sort", "duration").stdout.splitlines()[-2:]
    assert said[0] == "Only the newest 10,000 runs were searched."
    assert said[1].startswith("20 of 10,000 runs; next: ")


@pytest.mark.parametrize(
    ("options", "first", "most"),
    [
        ("--page 2990 --limit 1", "r10", 20),
        ("--page 3000 --limit 1", "r0", 5),
        ("--page 1499 --limit 2", "r3", 20),
        ("--page 150", "r19", 45),
        ("--page 75", "r1519", 1_525),
        ("--page 76", "r1499", 1_525),
    ],
)
def test_a_page_is_found_from_the_nearer_end(options: str, first: str, most: int) -> None:
    """The last pages of a list cost as little as the first ones."""
    world = with_runs(*[{}] * 3_000)
    ids = listed(world, *options.split())
    # The number of runs is counted, at the price of a few documents.
    assert (ids[0], world.store.reads <= most + 3) == (first, True)
    numbers = [int(one.removeprefix("r")) for one in ids]
    assert numbers == list(range(numbers[0], numbers[0] - len(ids), -1))


def test_a_page_among_too_many_runs_is_refused_with_a_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more runs are passed over than a search reads, and the message says what to do instead."""
    monkeypatch.setattr("atom_client.views.run_list.MOST_RUNS_LOOKED_AT", 100)
    world = with_runs(*[{}] * 300)
    result = call_runs(world, "list", "--page", "8")
    assert (result.exit_code, world.store.reads <= 3) == (2, True)
    assert "--page 8 is more than 100 runs from either end of the list" in result.stderr
    assert "--since" in result.stderr
    assert len(listed(world, "--page", "6")) == len(listed(world, "--page", "11")) == 20


def test_steps_that_have_ended_are_counted_for_open_runs() -> None:
    """An open run shows how many of its steps have ended, without the nodes that the compiler adds."""
    world = World(script(s2={"duration": 600}))
    run_id = world.start(chain(4))
    world.settle_down()
    world.clock.move(timedelta(seconds=65))
    world.tick()
    world.settle_down()
    assert world.run(run_id).state is RunState.RUNNING
    [row] = call_runs(world, "list").stdout.splitlines()[1:]
    assert "  2 of 4  " in row
    assert "1 min" in row
