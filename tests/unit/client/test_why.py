"""`why RUN`: what an open run waits for, and why a run ended as it did, from documents alone."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.coordinator.checker.burst import handle_tick
from atom_workflows.core.graph import is_internal
from atom_workflows.documents import run_path, step_path
from atom_workflows.messages.internal import Tick
from atom_workflows.ports import Update
from support.commands import cancel_run, retry_run
from support.workflows import chain, definition, fan, script
from unit.client.explained import CLEAN, call, flow, said, why, why_json

SCREEN = 24


def line_with(text: str, part: str) -> str:
    """Return the line that has the part."""
    [line] = [line for line in text.splitlines() if part in line]
    return line


def kinds(world: World, run_id: str) -> list[str]:
    """Return the kinds of the reasons for a run."""
    return [reason["kind"] for reason in why_json(world, run_id)["reasons"]]


# -- open runs -------------------------------------------------------------------------------------------------------


def test_a_run_that_did_not_succeed_names_its_retry() -> None:
    """Below the explanation of a failed or cancelled run is the command that runs the rest of it, and nowhere else."""
    advice = "` runs the unsuccessful steps again, using the file as it was when the run was started."
    for script_of, is_named in ((script(a={"always_fail": True}), True), (script(), False)):
        world = World(script_of)
        run_id = world.start(definition({"a": []}))
        world.run_to_end(run_id)
        assert (f"`atom-workflows runs retry {run_id}{advice}" in why(world, run_id)) is is_named


def test_a_running_step_is_named_with_its_time_and_what_waits_behind_it() -> None:
    """The step, how long it has run, its job and the steps that it holds up stand on one line."""
    world = World("default: {duration: 600}")
    run_id = world.start(chain(4))
    world.settle_down()
    world.clock.move(timedelta(seconds=90))
    world.tick()
    text = why(world, run_id)
    assert f"Run {run_id} has been RUNNING for 1 min 30 s: 0 of 4 steps ended." in text
    line = line_with(text, "`s0`")
    assert "has been RUNNING for 1 min 30 s, job job-000001 last seen RUNNING" in line
    assert line.endswith("; 3 steps are waiting for it: `s1`, `s2` and `s3`")
    assert "The checker last queried running jobs at 00:01:30 UTC" in text


def test_the_step_that_holds_up_most_comes_first() -> None:
    """Among running steps, the one with the most steps behind it is listed first, with the nearest three of them."""
    world = World("default: {duration: 600}")
    names = [f"leaf{number}" for number in range(40)]
    run_id = world.start(definition({"a": [], "b": [], **{name: ["b"] for name in names}, "join": names}))
    world.settle_down()
    lines = [line for line in why(world, run_id).splitlines() if "has been RUNNING for" in line][1:]
    assert lines[0].startswith("  `b`")
    assert lines[0].endswith("; 41 steps are waiting for it: `leaf0`, `leaf1`, `leaf2` and 38 more")
    assert "behind it" not in lines[1]


def test_a_retry_is_shown_with_its_number_time_and_reason() -> None:
    """A step that backs off shows the next try of how many, when, and after what."""
    world = World(script(a={"always_fail": True, "reason": "OOM", "message": "no memory"}))
    run_id = world.start(
        definition({"a": []}, a={"retry": {"maxAttempts": 4, "when": "failure.reason == 'OOM'"}}),
    )
    world.settle_down()
    line = line_with(why(world, run_id), "`a`")
    assert "will be tried again at 00:00:0" in line
    assert "try 2 of 4, after a failure (OOM): no memory" in line


def test_an_outage_of_the_task_runner_is_shown_once_for_all_its_steps() -> None:
    """Steps that were not accepted for the same reason share a line, with the next try."""
    world = World("default: {submit_errors: [503, 503, 503]}")
    run_id = world.start(definition({name: [] for name in "abcdefgh"}))
    world.settle_down()
    line = line_with(why(world, run_id), "it was not called, because recent calls failed")
    assert line.startswith("  `d`, `e`, `f`, `g` and `h`: not accepted by the Task Runner (tried 1 time), next try at ")
    assert "HTTP 503" in line


def test_polls_without_an_answer_are_shown() -> None:
    """A running job that is not answered for shows since when, and when it is asked again."""
    world = World("rules: [{step: a, duration: 600, status_errors: [500, 500, 500, 500, 500]}]")
    run_id = world.start(definition({"a": []}))
    world.settle_down()
    world.clock.move(timedelta(seconds=20))
    world.tick()
    line = line_with(why(world, run_id), "`a`")
    assert "queried 1 time without a response since 00:00:20 UTC, next query at " in line


def test_a_job_that_is_being_stopped_is_shown() -> None:
    """A step that waits for its own job, or for that of an earlier attempt, says so instead of naming other reasons."""
    world = World("default: {duration: 6000, stop: {after: 500}}")
    run_id = world.start(definition({"a": []}, a={"timeout": "1m"}))
    world.settle_down()
    world.clock.move(timedelta(seconds=70))
    world.tick()
    line = line_with(why(world, run_id), "`a`")
    assert line.endswith("last seen RUNNING; timed out after 1m; job job-000001 is being stopped")
    cancel_run(world.services, run_id)
    retry_run(world.services, run_id)
    world.settle_down()
    for unresolved in ([], [1]):
        # A known job is waited for first, even if the id of another one is still to be found out.
        world.store.commit([Update(path=step_path(run_id, "a"), fields={"unresolved": unresolved})])
        line = line_with(why(world, run_id), "`a`")
        assert line.endswith("; job job-000001 of an earlier attempt is being stopped first")


def test_a_lost_job_is_shown() -> None:
    """A job that its Task Runner no longer knows is said to be about to count as lost, and then as lost."""
    world = World("rules: [{step: a, duration: 600, lose_job: true}]")
    run_id = world.start(definition({"a": []}, a={"allowFailure": True}))
    world.settle_down()
    world.clock.move(timedelta(seconds=20))
    world.tick()
    assert "has been reporting job job-000001 as unknown" in why(world, run_id)
    while world.steps(run_id)["a"].losses == 0:
        world.clock.move(timedelta(seconds=20))
        world.tick()
    assert "1 of 2 allowed job losses, after its job was lost" in why(world, run_id)


def test_a_released_step_waits_for_a_dispatcher() -> None:
    """A step whose event was not handled yet is released, and nothing else is wrong."""
    world = World()
    run_id = world.start(definition({"a": []}))
    assert "`a`: released, but not yet claimed by a dispatcher" in why(world, run_id)


def test_a_run_that_is_being_written_says_how_far_it_is() -> None:
    """A SEEDING run shows how many steps there are, and after a minute what continues it."""
    world = World()
    run_id = world.start(chain(3))
    fields = {"state": "SEEDING", "step_count": 10, "started_at": None}
    world.store.inner.commit([Update(path=run_path(run_id), fields=fields)])
    assert "Its steps are being written: 3 of 10 so far." in why(world, run_id)
    world.clock.move(timedelta(minutes=5))
    text = why(world, run_id)
    assert "This has taken 5 min 00 s so far; the checker will continue it" in text
    assert f"runs doctor {run_id}" in text


def test_a_run_that_is_reset_for_its_retry_says_so() -> None:
    """A retry that is not through its steps yet is told from a run that is being written."""
    world = World(script(a={"fail_times": 1}))
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.run_to_end(run_id)
    fields = {"state": "SEEDING", "retries": 1, "reopened_at": world.clock.now(), "stop": None, "finished_at": None}
    world.store.inner.commit([Update(path=run_path(run_id), fields=fields)])
    assert "Its steps are being reset for its retry." in why(world, run_id)


def test_a_run_that_ended_before_all_steps_were_written_says_so() -> None:
    """It is not explained as if its missing steps had succeeded."""
    world = World()
    run_id = world.start(chain(3))
    stop = {"kind": "fail", "reason": "its definition cannot be read", "requested_at": world.clock.now()}
    fields = {"state": "FAILED", "step_count": 10, "started_at": None, "stop": stop, "finished_at": world.clock.now()}
    world.store.inner.commit([Update(path=run_path(run_id), fields=fields)])
    text = why(world, run_id)
    assert "It was given up at 00:00:00 UTC: its definition cannot be read." in text
    assert "Only 3 of its 10 steps had been written." in text


def test_a_run_that_is_closing_says_why() -> None:
    """A recorded stop is shown with its reason and what is still open."""
    world = World("default: {duration: 600}")
    run_id = world.start(chain(3))
    world.settle_down()
    stop = {"kind": "cancel", "reason": "cancelled by the user", "requested_at": world.clock.now()}
    world.store.inner.commit([Update(path=run_path(run_id), fields={"stop": stop})])
    assert "cancelled by the user. Still open: 3 steps." in line_with(why(world, run_id), "closing")


def test_the_phase_of_finally_shows_the_verdict_and_its_deadline() -> None:
    """While the steps under `finally` run, the main part's result and the time that is left are shown."""
    world = World(script(a={"always_fail": True}, clean={"duration": 600}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN, "finallyTimeout": "30m"}))
    world.settle_down()
    text = why(world, run_id)
    assert (
        "Its main part ended as FAILED with 1 failure. The steps under `finally` are running now, until 00:30" in text
    )
    assert "`clean` has been RUNNING" in text
    assert why_json(world, run_id)["main_state"] == "FAILED"


def test_the_phase_of_finally_says_that_the_main_part_timed_out() -> None:
    """Steps that the timeout ended are not counted as failures of their own, then or at the end."""
    world = World(script(a={"duration": 6000}, clean={"duration": 60}))
    run_id = world.start(flow({"a": [], "b": ["a"]}, more={"finally": CLEAN, "timeout": "5m"}))
    world.settle_down()
    world.clock.move(timedelta(minutes=6))
    for _ in range(3):
        world.tick()
        world.clock.move(timedelta(seconds=5))
    text = why(world, run_id)
    assert "Its main part ended as FAILED: the workflow's timeout of 5m expired. The steps under" in text
    world.run_to_end(run_id)
    text = why(world, run_id)
    assert "\nError: the workflow's timeout of 5m expired.\n" in text
    assert "  `a`: under way\n  `b`: not started" in text
    assert "\nFailed:" not in text


def test_a_run_cancelled_at_once_says_that_finally_did_not_run() -> None:
    """`cancel --now` ends the steps under `finally` with the others."""
    world = World(script(a={"duration": 600}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN}))
    world.settle_down()
    cancel_run(world.services, run_id, now=True)
    text = why(world, run_id)
    assert "It was cancelled by ana@example.com at 00:00:00 UTC, without running the steps under `finally`." in text
    assert "  `clean`: not started" in text


def test_the_timeout_of_the_run_is_shown() -> None:
    """A run with a timeout says when that ends it."""
    world = World("default: {duration: 600}")
    run_id = world.start(flow({"a": []}, more={"timeout": "2h"}))
    world.settle_down()
    assert "Its timeout will end it at 02:00:00 UTC (2 h 00 min left)." in why(world, run_id)
    world.clock.move(timedelta(hours=3))
    assert "Its time ran out at 02:00:00 UTC; the checker will end the run at its next tick." in why(world, run_id)


def test_a_checker_that_does_not_come_is_noticed() -> None:
    """A step that has been due for minutes is a sign that no tick arrives."""
    world = World("default: {submit_errors: [503]}")
    run_id = world.start(definition({"a": []}))
    world.settle_down()
    world.clock.move(timedelta(minutes=10))
    assert "The checker has not reached a step that has been due since" in why(world, run_id)


def test_a_run_without_work_sends_to_the_doctor() -> None:
    """A run in which nothing is under way contradicts itself."""
    world = World()
    run_id = world.start(chain(2))
    world.store.inner.commit([Update(path=step_path(run_id, "s0"), fields={"remaining": 1})])
    assert "No step is under way or released." in why(world, run_id)


# -- runs that have ended --------------------------------------------------------------------------------------------


def test_a_failed_run_names_its_roots_and_what_they_block() -> None:
    """Each failure shows kind, reason and message, and the steps that it blocks."""
    world = World(script(a={"always_fail": True, "reason": "OOM", "message": "no memory"}))
    run_id = world.start(definition({"a": [], "b": ["a"], "c": ["b"], "x": []}, x={"allowFailure": True}))
    world.run_to_end(run_id)
    text = why(world, run_id)
    assert "FAILED after 0 ms: 4 steps, 1 failed, 2 blocked." in text
    assert line_with(text, "`a`") == "  `a` FAILED after 1 attempt (OOM): no memory; it blocks `b` and `c`"
    [reason] = why_json(world, run_id)["reasons"]
    assert (reason["failure_kind"], reason["reason"], reason["blocks"]) == ("failed", "OOM", ["b", "c"])


def test_skips_by_choice_and_tolerated_failures_stand_apart() -> None:
    """Neither is listed among failures; a skip shows the values that it was decided on."""
    world = World(script(a={"outputs": {"rows": 12}}, c={"always_fail": True, "message": "bad"}))
    run_id = world.start(
        definition(
            {"a": [], "b": ["a"], "c": ["a"], "d": ["b"]},
            a={"outputs": {"rows": "int"}},
            b={"when": "steps.a.outputs.rows > 1000"},
            c={"allowFailure": True},
        )
    )
    world.run_to_end(run_id)
    text = why(world, run_id)
    assert "SUCCEEDED after 0 ms: 4 steps, 1 failed but tolerated, 2 skipped by choice." in text
    assert "\nFailed:" not in text
    assert "  `c` FAILED after 1 attempt: bad" in text
    assert "  `b`: `steps.a.outputs.rows > 1000` was false (`rows` = 12)" in text
    assert kinds(world, run_id) == ["tolerated", "skipped", "skipped"]


def test_a_condition_that_cannot_be_evaluated_is_a_failure() -> None:
    """Its step failed before an attempt, with the kind `expression`."""
    world = World(script(a={"message": "none"}))
    run_id = world.start(definition({"a": [], "b": ["a"]}, b={"when": "int(steps.a.message) > 3"}))
    world.run_to_end(run_id)
    assert "`b` FAILED before its first attempt (expression): `when`" in why(world, run_id)


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_cancelled_run_says_which_steps_that_ended(*, is_plain: bool) -> None:
    """Steps that a cancellation ended are not failures, in whatever schema."""
    world = World("default: {duration: 600}")
    run_id = world.start(definition({"a": [], "b": ["a"]}, **({} if is_plain else {"b": {"allowFailure": True}})))
    world.settle_down()
    cancel_run(world.services, run_id)
    text = why(world, run_id)
    assert "It was cancelled by ana@example.com at 00:00:00 UTC." in text
    assert "  `a`: under way\n  `b`: not started" in text
    assert "\nFailed:" not in text


def test_a_step_that_was_to_be_retried_is_ended_by_the_stop() -> None:
    """An earlier failure of a cancelled step does not make it a failure."""
    world = World(script(a={"always_fail": True}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN}, a={"retry": {"maxAttempts": 3}}))
    world.settle_down()
    cancel_run(world.services, run_id)
    world.run_to_end(run_id)
    text = why(world, run_id)
    assert "It was cancelled by ana@example.com; then the steps under `finally` ran." in text
    assert "  `a`: under way" in text


def test_a_timed_out_run_says_so() -> None:
    """The timeout stands first, then the steps that it ended."""
    world = World("default: {duration: 6000}")
    run_id = world.start(flow({"a": [], "b": ["a"]}, more={"timeout": "5m"}))
    world.run_to_end(run_id)
    text = why(world, run_id)
    assert "It was ended by its timeout at" in text
    assert "the workflow's timeout of 5m expired." in text
    assert "Ended when the run was stopped:" in text


def test_a_failed_clean_up_is_told_from_the_main_part() -> None:
    """A run that `finally` failed says that its main part succeeded."""
    world = World(script(clean={"always_fail": True}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN}))
    world.run_to_end(run_id)
    text = why(world, run_id)
    assert "Its main part ended as SUCCEEDED; the steps under `finally` changed the state to FAILED." in text
    assert "`clean` (under `finally`) FAILED after 1 attempt" in text


def test_an_error_in_the_runs_outputs_is_shown() -> None:
    """A run that failed with all its steps successful says what failed it."""
    world = World(script(a={"message": "none"}))
    more = {"outputs": {"count": "${{ int(steps.a.message) }}"}}
    run_id = world.start(flow({"a": []}, more=more))
    world.run_to_end(run_id)
    assert "the run's outputs:" in why(world, run_id)
    assert kinds(world, run_id) == ["error"]


def test_an_invalid_run_lists_the_problems_of_its_file() -> None:
    """They have their places, as in `runs show`."""
    world = World()
    run_id = world.start("steps: [{id: a, dependsOn: [b]}]")
    text = why(world, run_id)
    assert "is INVALID and was not started." in text
    assert "flow.yaml:1:" in text


def test_a_retried_run_counts_from_its_retry() -> None:
    """What failed before the retry and is reset is not a failure any more."""
    world = World(script(a={"fail_times": 1, "duration": 60}))
    run_id = world.start(definition({"a": [], "b": ["a"]}))
    world.run_to_end(run_id)
    world.clock.move(timedelta(hours=1))
    retry_run(world.services, run_id)
    world.settle_down()
    text = why(world, run_id)
    assert "has been RUNNING for 0 ms since its retry (it first started 1 h 01 min ago): 0 of 2 steps ended." in text
    assert "attempt 2" in text


@pytest.mark.parametrize("waits", [False, True])
def test_a_retried_run_of_a_group_counts_as_in_other_views(*, waits: bool) -> None:
    """`why` and `runs show` count from the retry, or from the time at which the retried run got a place again."""
    world = World(script(a={"fail_times": 1, "duration": 60}))
    workflow = flow({"a": []}, more={"concurrency": {"limit": 1}})
    run_id = world.start(workflow, run_key="1")
    world.run_to_end(run_id)
    world.clock.move(timedelta(hours=1))
    other = world.start(workflow, run_key="2") if waits else ""
    world.settle_down()
    retry_run(world.services, run_id)
    world.clock.move(timedelta(minutes=10))
    if other:
        assert world.run(run_id).state == "QUEUED"
        cancel_run(world.services, other)
        world.settle_down()
    assert world.run(run_id).state == "RUNNING"
    world.clock.move(timedelta(seconds=7))
    took = "7.0 s" if waits else "10 min 07 s"
    since = f"{took} since its retry{' began' if waits else ''}"
    assert f"has been RUNNING for {since} (it first started 1 h 11 min ago): " in why(world, run_id)
    assert f"duration     {since}, 1 h 11 min in all, so far" in said(world, "runs", "show", run_id)
    [row] = [line for line in said(world, "runs", "list").splitlines() if line.startswith(run_id)]
    assert f"  {took}  " in row


# -- size, ids, safety -----------------------------------------------------------------------------------------------


def test_a_wide_run_fits_on_a_screen_and_is_read_once() -> None:
    """Of hundreds of failures some are shown and the rest counted; each document is read once."""
    world = World("rules: [{step: root}, {step: join}]\ndefault: {always_fail: true}")
    run_id = world.start(fan(600))
    world.run_to_end(run_id)
    nodes = len(world.steps(run_id))
    before = world.store.reads
    text = why(world, run_id)
    assert world.store.reads - before <= nodes + 5
    assert len(text.splitlines()) <= SCREEN
    assert "… and 594 more; `--json` lists all" in text
    assert len(why_json(world, run_id)["reasons"]) == 600


def test_steps_that_succeeded_are_not_read() -> None:
    """One failure among hundreds of successes costs a few reads, and all steps are counted."""
    world = World(script(leaf7={"always_fail": True}))
    run_id = world.start(fan(600))
    world.run_to_end(run_id)
    before = world.store.reads
    text = why(world, run_id)
    # The barriers behind the failure and the end of the run are read as well.
    assert world.store.reads - before < 15
    assert "FAILED after 0 ms: 602 steps, 1 failed, 1 blocked." in text
    assert why_json(world, run_id)["steps"] == {"SUCCEEDED": 600, "FAILED": 1, "SKIPPED": 1}


def test_an_open_wide_run_fits_on_a_screen() -> None:
    """Hundreds of running steps are cut to a few, those with an oddity first."""
    world = World("rules: [{step: root}]\ndefault: {duration: 6000}")
    run_id = world.start(fan(600))
    world.settle_down()
    odd = {"unanswered": 3, "unanswered_since": world.clock.now() - timedelta(hours=1)}
    world.store.inner.commit([Update(path=step_path(run_id, "leaf599"), fields=odd)])
    text = why(world, run_id)
    assert len(text.splitlines()) <= SCREEN
    assert text.splitlines()[2].startswith("  `leaf599`")
    assert not any(is_internal(word.strip("`;,")) for word in text.split())


@pytest.mark.parametrize("name", ["flwo", "floww", "Flow-"])
def test_a_misspelled_run_is_suggested(name: str) -> None:
    """An id that looks like that of a run is answered with the run that may be meant."""
    world = World()
    run_id = world.start(chain(1))
    result = call(world, "why", name)
    assert result.exit_code == 1
    assert f"did you mean {run_id}?" in result.stderr


def test_an_unknown_run_is_an_error() -> None:
    """The exit code is that of the other commands."""
    result = call(World(), "why", "nothing-like-it")
    assert (result.exit_code, result.stderr.startswith("Error: there is no run")) == (1, True)


def test_runs_why_is_the_same_command() -> None:
    """Who looks for it beside `runs show` finds it there."""
    world = World()
    run_id = world.start(chain(1))
    assert call(world, "runs", "why", run_id).stdout == why(world, run_id)


def test_messages_cannot_drive_the_terminal() -> None:
    """Escapes in a job's message are not printed."""
    world = World(json.dumps({"default": {"always_fail": True, "message": "\x1b[31mred\x1b[0m\nnext"}}))
    run_id = world.start(definition({"a": []}))
    world.run_to_end(run_id)
    for text in (why(world, run_id), why(world, run_id, "a")):
        assert "\x1b" not in text
        assert "red next" in text


def test_at_every_moment_of_a_run_both_explanations_are_given() -> None:
    """Whatever event was handled last, the run and each of its steps are explained on a screen."""
    world = World(
        json.dumps(
            {
                "rules": [
                    {"step": "list", "outputs": {"rows": 12}, "duration": 30},
                    {"step": "bad", "always_fail": True, "reason": "OOM", "duration": 15},
                    {"step": "soft", "always_fail": True, "submit_errors": [503, 503]},
                    {"step": "lost", "duration": 60, "lose_job": True},
                    {"step": "clean", "duration": 20},
                ]
            }
        )
    )
    run_id = world.start(
        flow(
            {
                "list": [],
                "many": ["list"],
                "few": ["list"],
                "bad": ["list"],
                "blocked": ["bad"],
                "react": ["bad", "many"],
                "soft": [],
                "lost": ["soft"],
                "join": ["few", "lost"],
            },
            more={"finally": [*CLEAN, {"id": "tell", "dependsOn": ["clean"], "task": {"imageUri": "image"}}]},
            list={"outputs": {"rows": "int"}},
            many={"when": "steps.list.outputs.rows > 1000"},
            few={"when": "steps.list.outputs.rows < 1000"},
            bad={"retry": {"maxAttempts": 2}},
            react={"trigger": "any-failed"},
            soft={"allowFailure": True},
        )
    )
    moments = 0
    while not world.run(run_id).state.is_terminal:
        for taken in [one for topic in ("start", "steps") for one in world.bus.take_all(topic)]:
            world.deliver(taken)
            moments += 1
            assert len(why(world, run_id).splitlines()) <= SCREEN
            for step_id in world.states(run_id):
                assert len(why(world, run_id, step_id).splitlines()) <= SCREEN
        world.clock.move(timedelta(seconds=10))
        handle_tick(world.services, Tick())
        why(world, run_id)
    assert moments > 10
    assert why_json(world, run_id, "blocked")["fate"] == "blocked"
    assert why_json(world, run_id, "tell")["fate"] == "succeeded"


def test_a_step_that_a_retry_has_not_started_again_was_not_started() -> None:
    """Its attempts are numbered on, but it was not under way when the retried run was stopped."""
    world = World(script(a={"always_fail": True}, clean={"duration": 600}))
    run_id = world.start(flow({"a": []}, more={"finally": CLEAN}))
    world.settle_down()
    cancel_run(world.services, run_id, now=True)
    retry_run(world.services, run_id)
    cancel_run(world.services, run_id, now=True)
    assert "`clean`: not started" in why(world, run_id)
