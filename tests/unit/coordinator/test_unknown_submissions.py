"""Submissions whose answers got lost: `onLost` says what becomes of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from atom_emulator.testing.world import World
from atom_workflows.core.oddities import oddity_of
from atom_workflows.core.states import RunState, StepState
from support.workflows import definition

LOST_ANSWER = "{drop: true, accepted: true, times: 3}"
FORGETFUL = "idempotent: false\n"


@pytest.mark.parametrize(
    "fault",
    [LOST_ANSWER, "{status: 502, accepted: true}", "{status: 503, accepted: true}", "{garbage: empty, accepted: true}"],
)
def test_on_lost_fail_starts_no_second_job(fault: str) -> None:
    """With `onLost: fail` no second job is started, however the answer got lost."""
    world = World(f"{FORGETFUL}default: {{submit_errors: [{fault}]}}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": "fail", "retry": {"maxAttempts": 5}}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.task_runner.jobs.made == 1
    step = world.steps(run_id)["pay"]
    assert "may have started a job" in step.message
    assert "onLost is fail" in step.message


def test_on_lost_retry_repeats_the_same_attempt() -> None:
    """With `onLost: retry` the same key is sent until there is an answer."""
    world = World(f"default: {{submit_errors: [{LOST_ANSWER}]}}")
    run_id = world.start(definition({"pay": []}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["pay/1"] * 4
    assert world.task_runner.jobs.made == 1
    step = world.steps(run_id)["pay"]
    assert (step.attempt, step.losses) == (1, 0)


@pytest.mark.parametrize("fault", ["{status: 429, times: 3}", "{status: 503, retry_after: 1, times: 3}"])
def test_what_was_not_accepted_is_repeated_whatever_on_lost_says(fault: str) -> None:
    """Nothing was started, so nothing can be lost."""
    world = World(f"{FORGETFUL}default: {{submit_errors: [{fault}]}}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": "fail"}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert (world.submissions(), world.task_runner.jobs.made) == (["pay/1"] * 4, 1)


@pytest.mark.parametrize("on_lost", ["retry", "fail"])
def test_an_answer_that_got_lost_after_a_deferral(on_lost: str) -> None:
    """A submission stays unknown though an earlier one was put off."""
    world = World(f"{FORGETFUL}default: {{submit_errors: [429, {{drop: true, accepted: true}}]}}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": on_lost}))
    ended = world.run_to_end(run_id).state
    assert ended is (RunState.FAILED if on_lost == "fail" else RunState.SUCCEEDED)
    assert world.task_runner.jobs.made == (1 if on_lost == "fail" else 2)


def test_a_refusal_says_so_if_a_job_may_run_all_the_same() -> None:
    """A refused step's message warns of a job that may be running."""
    world = World("default: {submit_errors: [{drop: true, accepted: true}, 422]}")
    run_id = world.start(definition({"pay": []}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert "an earlier submission of this attempt may have started a job" in world.steps(run_id)["pay"].message


def test_a_first_409_is_a_refusal() -> None:
    """Nothing of the step's own can be in the way."""
    world = World("default: {submit_errors: [409]}")
    run_id = world.start(definition({"pay": []}))
    assert world.run_to_end(run_id).state is RunState.FAILED
    assert world.submissions() == ["pay/1"]


def test_a_409_that_asks_to_come_again_is_none() -> None:
    """A 409 with Retry-After is submitted again, even with `onLost: fail`."""
    world = World("default: {submit_errors: [{status: 409, retry_after: 3}]}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": "fail"}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["pay/1"] * 2


@pytest.mark.parametrize("conflict", ["409", "{status: 409, retry_after: 3}"])
def test_a_409_to_our_own_repeat_is_no_refusal(conflict: str) -> None:
    """A 409 to a repeated submission is no refusal."""
    world = World(f"default: {{submit_errors: [{{drop: true, accepted: true}}, {conflict}]}}")
    run_id = world.start(definition({"pay": []}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert (world.submissions(), world.task_runner.jobs.made) == (["pay/1"] * 3, 1)


def test_a_job_is_lost_by_an_uninterrupted_word_alone() -> None:
    """A job is not lost by denials that were interrupted."""
    faults = "[404, {status: 503, times: 4}, 404, {status: 503, times: 3}]"
    world = World(f"default: {{duration: 300, status_errors: {faults}}}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": "fail"}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["pay/1"]


@pytest.mark.parametrize("status", [201, 202])
def test_any_success_with_a_job_is_an_answer(status: int) -> None:
    """Any 2xx answer with a job is accepted."""
    world = World(f"{FORGETFUL}default: {{submit_errors: [{status}], status_errors: [{status}], duration: 15}}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": "fail"}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions() == ["pay/1"]


@pytest.mark.parametrize("on_lost", ["retry", "fail"])
def test_a_success_without_content_is_unknown(on_lost: str) -> None:
    """204 names no job that anybody could ask for."""
    world = World("default: {submit_errors: [204]}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": on_lost}))
    assert world.run_to_end(run_id).state is (RunState.FAILED if on_lost == "fail" else RunState.SUCCEEDED)
    assert world.task_runner.jobs.made == 1


def test_a_proxys_404_loses_no_job() -> None:
    """A proxy's 404 loses no job."""
    world = World("default: {duration: 600, status_errors: [{status: 404, garbage: html, times: 6}]}")
    run_id = world.start(definition({"pay": []}, pay={"onLost": "fail"}))
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED


def test_a_word_that_nobody_knows_is_reported_where_the_step_is_shown() -> None:
    """Its oddity and the event say it, as early as the submission."""
    world = World("default: {duration: 1000, states: [COMPLETED]}")
    run_id = world.start(definition({"pay": []}))
    world.settle_down()
    step = world.steps(run_id)["pay"]
    assert step.state is StepState.RUNNING
    odd = oddity_of(step, now=world.clock.now())
    assert odd is not None
    assert "'COMPLETED', which the contract does not define" in odd.what
    told = [change for message in world.changes() for change in message.body["changes"] if "COMPLETED" in str(change)]
    assert told


OUTAGES = {
    "not accepted": "{status: 503, retry_after: 1, times: forever}",
    "unknown": "{status: 500, times: forever}",
    "no content": "{garbage: empty, accepted: true, times: forever}",
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_task_runner_that_is_down_is_approached_gently(outage: str) -> None:
    """A Task Runner that is down for an hour gets few submissions."""
    steps = 20
    world = World(f"default: {{submit_errors: [{OUTAGES[outage]}]}}")
    run_id = world.start(definition({f"s{number}": [] for number in range(steps)}))
    world.run_to_end(run_id, within=timedelta(hours=1))
    written = [count for path, count in world.store.written.items() if "/steps/s" in path]
    assert len(written) == steps
    # Once when it was created, then a claim and a deferral each time.
    assert max(written) <= 1 + 2 * 14
    assert len(world.task_runner.submitted) <= 20
