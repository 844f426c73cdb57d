"""What people see of runs of which only so many are at work: in lists, explanations, plans and while they wait."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from atom_client.cli.commands import cli
from atom_client.cli.follow import follow
from atom_client.cli.live import Lines
from atom_client.cli.live_view import picture
from atom_client.cli.output import Output
from atom_client.cli.screen import Screen
from atom_client.doctor.findings import Verdict
from atom_client.doctor.firestore import state_findings
from atom_client.planning.partial import MARKS
from atom_client.text import between, lasted
from atom_client.views.lines import ordinal
from atom_client.views.progress import RunView
from atom_emulator.testing.world import World
from atom_workflows.core.records import RunRecord
from atom_workflows.core.states import RunState
from atom_workflows.documents import run_path, step_path
from support.commands import cancel_run
from support.groups import limited, start
from support.no_cloud import NO_CLOUD
from support.workflows import chain
from unit.client.changes import run_change
from unit.client.explained import call, said, why, why_json

FOREVER = "rules: [{step: s0, duration: 100000}]"


def in_line(count: int, **concurrency: Any) -> tuple[World, list[str]]:
    """Return a world with so many runs of one group, started a minute apart."""
    world = World(FOREVER)
    ids = []
    for number in range(count):
        ids.append(start(world, limited(**concurrency), f"key-{number}"))
        world.settle_down()
        world.clock.move(timedelta(minutes=1))
    return world, ids


def test_why_says_behind_which_run_it_waits_and_where_in_line() -> None:
    """A QUEUED run names the run that holds the place, since when it waits, and its place in line."""
    world, ids = in_line(4, group="nightly")
    text = why(world, ids[3])
    assert f"Run {ids[3]} has been QUEUED for 1 min 00 s: it is 3rd in line." in text
    assert f"It has been QUEUED behind {ids[0]} since 00:03:00 UTC, 3rd in line." in text
    assert "At most 1 run of this file with the group `nightly` may be in progress at the same time." in text
    assert "If it has not begun by 2026-01-02 00:03:00 UTC, it becomes SKIPPED." in text
    [queued] = [reason for reason in why_json(world, ids[3])["reasons"] if reason["kind"] == "queued"]
    assert queued["behind"] == [ids[0]]
    assert (queued["place"], queued["at_work"], queued["limit"]) == (3, 1, 1)


def test_why_names_a_few_of_many_runs_at_work() -> None:
    """With many places, three of the runs that hold them are named, and the others counted."""
    world, ids = in_line(6, limit=5)
    assert f"QUEUED behind {ids[0]}, {ids[1]}, {ids[2]} and 2 more since" in why(world, ids[5]).replace("\n", " ")


def test_why_says_why_a_run_was_skipped() -> None:
    """A SKIPPED run shows its reason, and no steps that were never written."""
    world, ids = in_line(3, whenFull="latest")
    assert why(world, ids[1]).strip() == f"Run {ids[1]} is SKIPPED and was not started: replaced by {ids[2]}."
    shown = said(world, "runs", "show", ids[1])
    assert f"Run {ids[1]} is SKIPPED and was not started: replaced by {ids[2]}." in shown
    assert (
        "At most 1 run of this file may be in progress at the same time; only the latest of the others waits" in shown
    )


def test_why_of_a_run_that_was_skipped_at_once_speaks_of_no_steps() -> None:
    """A run that was SKIPPED without having waited shows its reason, and nothing else."""
    world, ids = in_line(2, whenFull="skip")
    reason = "1 run in its group was in progress, the most that `limit` allows"
    assert why(world, ids[1]).strip() == f"Run {ids[1]} is SKIPPED and was not started: {reason}."


def test_the_items_of_a_waiting_run_have_not_begun() -> None:
    """`runs show --items` says that a QUEUED run has not begun, rather than that it has no such step."""
    world, ids = in_line(2)
    result = call(world, "runs", "show", ids[1], "--items", "s0")
    assert f"run {ids[1]} is QUEUED and has not begun, so it has no items yet" in result.stderr


def test_why_of_a_run_that_was_cancelled_in_line_speaks_of_no_steps() -> None:
    """A run that was cancelled while it waited had no steps to write."""
    world, ids = in_line(2)
    cancel_run(world.services, ids[1])
    text = why(world, ids[1])
    assert f"Run {ids[1]} CANCELLED after 1 min" in text
    assert "had been written" not in text


def test_runs_show_and_list_know_waiting_runs() -> None:
    """`runs show` prints when the run joined the line and where it stands, `runs list` its state."""
    world, ids = in_line(2)
    shown = said(world, "runs", "show", ids[1])
    assert "queued       2026-01-01 00:01:00 UTC" in shown
    assert f"It has been QUEUED behind {ids[0]} since 00:01:00 UTC, 1st in line." in shown
    assert f"{ids[1]}" in said(world, "runs", "list", "--state", "queued")
    run = json.loads(said(world, "runs", "show", ids[1], "--json"))["run"]
    assert run["state"] == "QUEUED"
    assert run["group"] == {
        "value": "",
        "limit": 1,
        "when_full": "queue",
        "max_queued": 100,
        "max_wait_s": 86400.0,
    }
    assert run["queued_at"] == "2026-01-01T00:01:00.000Z"


def test_a_run_that_did_not_queue_says_so() -> None:
    """`runs show` says that a run was started with `--no-queue`."""
    world, _ = in_line(1)
    urgent = start(world, limited(), "urgent", no_queue=True)
    assert "this run was started with --no-queue, so it did not wait" in said(world, "runs", "show", urgent)


def test_start_asks_not_to_queue(tmp_path: Path) -> None:
    """`start --no-queue` begins a run beside the one at work."""
    world = World(FOREVER)
    file = tmp_path / "limited.yaml"
    file.write_text(limited())
    states = []
    for options in ([], [], ["--no-queue"]):
        arguments = ["start", str(file), "--json", *options]
        result = CliRunner().invoke(cli, arguments, obj=lambda _: world.services, env=NO_CLOUD, catch_exceptions=False)
        world.settle_down()
        run = world.run(json.loads(result.stdout)["run"])
        states.append((run.state, run.no_queue))
    assert states == [(RunState.RUNNING, False), (RunState.QUEUED, False), (RunState.RUNNING, True)]


def test_start_warns_that_an_uploaded_file_is_another_file(tmp_path: Path) -> None:
    """A local file with `concurrency` is counted apart from the uploaded one, which `start` says."""
    world = World(FOREVER)
    said_of = {}
    for name, text in (("limited.yaml", limited()), ("chain.yaml", chain(1))):
        (tmp_path / name).write_text(text)
        arguments = ["start", str(tmp_path / name)]
        result = CliRunner().invoke(cli, arguments, obj=lambda _: world.services, env=NO_CLOUD, catch_exceptions=False)
        said_of[name] = result.stderr
    assert "counts this run together with runs of any local file named limited.yaml" in said_of["limited.yaml"]
    assert "start gs://BUCKET/OBJECT" in said_of["limited.yaml"]
    assert said_of["chain.yaml"] == ""


def test_a_retry_says_that_it_waits() -> None:
    """`runs retry` says that the run is QUEUED first."""
    world, ids = in_line(2)
    cancel_run(world.services, ids[0])
    world.settle_down()
    assert world.run(ids[1]).state is RunState.RUNNING
    line = said(world, "runs", "retry", ids[0])
    assert "It is QUEUED for now: `atom-workflows why" in line


def test_a_retry_of_a_run_that_never_began_starts_all_of_its_steps() -> None:
    """A run that was cancelled while it was QUEUED starts with all steps, and took the time since that start."""
    world, ids = in_line(2)
    cancel_run(world.services, ids[1])
    world.clock.move(timedelta(minutes=1))
    line = said(world, "runs", "retry", ids[1])
    assert f"Run {ids[1]} starts with 1 step, using the file as it was" in line
    world.settle_down()
    assert "it becomes FAILED." in why(world, ids[1])
    world.clock.move(timedelta(minutes=5))
    cancel_run(world.services, ids[0])
    world.settle_down()
    assert world.run(ids[1]).state is RunState.RUNNING
    world.clock.move(timedelta(minutes=2))
    cancel_run(world.services, ids[1])
    run = world.run(ids[1])
    ended = f"Run {ids[1]} CANCELLED after {lasted(between(run.started_at, run.finished_at))}: "
    assert run.reopened_at < run.started_at  # type: ignore[operator]  # both are known
    assert ended in said(world, "runs", "show", ids[1])
    assert ended in why(world, ids[1])


def test_a_refused_retry_names_the_reason() -> None:
    """A retry that may not wait ends with the reason and changes nothing."""
    world, ids = in_line(2, whenFull="skip")
    cancel_run(world.services, ids[0])
    start(world, limited(whenFull="skip"), "other")
    result = call(world, "runs", "retry", ids[0])
    assert result.exit_code == 1
    assert "cannot be retried now: 1 run in its group was in progress" in result.stderr


def test_the_doctor_of_runs_knows_that_a_run_waits() -> None:
    """`runs doctor` finds nothing wrong with a run that waits in line."""
    world, ids = in_line(2)
    assert "Nothing is wrong with the run: it is waiting in line." in said(world, "runs", "doctor", ids[1])


def test_the_doctor_finds_a_line_beside_a_free_place() -> None:
    """`doctor` names runs that wait although a place is free, and what gives it away."""
    world, ids = in_line(2)
    found = {one.about: one for one in state_findings(world.services, tick_fix="")}
    assert (found["line"].verdict, found["line"].detail) == (Verdict.OK, "QUEUED, behind others in progress: 1")
    world.store.inner.delete(run_path(ids[0]), *(step_path(ids[0], name) for name in world.steps(ids[0])))
    world.clock.move(timedelta(minutes=10))
    found = {one.about: one for one in state_findings(world.services, tick_fix="")}
    assert found["line"].verdict is Verdict.WRONG
    assert ids[1] in found["line"].detail


def test_plan_names_the_group(tmp_path: Path) -> None:
    """`plan` prints the limit, the value of the group, and what becomes of others."""
    file = tmp_path / "limited.yaml"
    text = json.loads(limited(group="${{ params.region }}-${{ run.workflow }}", limit=2))
    file.write_text(json.dumps(text | {"params": {"region": "eu"}}))
    result = CliRunner().invoke(cli, ["plan", str(file), "--param", "region=us"], env=NO_CLOUD)
    assert (
        "at most 2 runs of the group `us-limited` in progress at the same time; "
        "others wait in line, at most 100 of them"
    ) in result.stdout
    result = CliRunner().invoke(cli, ["plan", str(file), "--json"], env=NO_CLOUD)
    assert json.loads(result.stdout)["concurrency"]["group"] == "eu-limited"
    file.write_text(json.dumps(text | {"concurrency": {"group": "${{ run.id }}"}}))
    result = CliRunner().invoke(cli, ["plan", str(file)], env=NO_CLOUD)
    assert "concurrency.group".join(MARKS) in result.stdout


QUEUED = RunRecord(id="r1", workflow="flow", state=RunState.QUEUED, created_at=World().clock.now(), step_count=2)
SUCCEEDED = replace(QUEUED, state=RunState.SUCCEEDED)


def test_waiting_is_shown_while_a_run_is_followed() -> None:
    """A followed run prints where it stands in line when it joins, when that changes, and when it begins."""
    documents = [*[QUEUED] * 25, replace(QUEUED, state=RunState.RUNNING), SUCCEEDED]
    words = iter(["2nd in line", "1st in line", "1st in line"])
    now = [0.0]

    class Feed:
        def take(self, timeout_s: float) -> list[Any]:
            now[0] += 4 * timeout_s
            return []

    printed = io.StringIO()
    with redirect_stdout(printed), Lines(Output(), RunView(run_id="r1", total=2), lambda: now[0]) as show:
        follow(
            RunView(run_id="r1", total=2),
            feed=Feed(),
            read_run=lambda: documents.pop(0) if len(documents) > 1 else documents[0],
            show=show,
            describe_wait=lambda _: next(words),
            monotonic=lambda: now[0],
        )
    lines = [line.partition("] ")[2] for line in printed.getvalue().splitlines()]
    assert lines == ["2nd in line", "1st in line", "it now has a place in its group and is starting"]


def test_waiting_has_a_line_in_the_live_view() -> None:
    """The live view shows the state QUEUED and where the run stands."""
    console = Console(width=80, height=24, file=io.StringIO())
    view = RunView(run_id="r1", total=2, state=RunState.QUEUED, waits="It has been QUEUED behind r0, 2nd in line.")
    console.print(picture(view, elapsed_s=5, screen=Screen(width=80, height=24, encoding="utf-8")))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert "Run r1 QUEUED" in text
    assert "It has been QUEUED behind r0, 2nd in line." in text


def test_a_late_report_of_waiting_changes_nothing() -> None:
    """A run that is RUNNING does not become QUEUED by an event that comes late."""
    view = RunView(run_id="r1")
    assert view.with_changes([run_change("QUEUED")]).state is RunState.QUEUED
    running = view.with_changes([run_change("QUEUED"), run_change("RUNNING")])
    assert running.with_changes([run_change("QUEUED"), run_change("SEEDING")]).state is RunState.RUNNING


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (23, "23rd"), (112, "112th")]
)
def test_places_in_line_are_ordinals(number: int, text: str) -> None:
    """Places are written as people say them."""
    assert ordinal(number) == text
