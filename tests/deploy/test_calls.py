"""What the functions do is what they are granted, and no more: both lists are compared, each way.

The simulation plays all handlers through disasters, with users who cancel and retry; requests as they were seen on the
wire, broken ones among them, come to the functions themselves. Every call of a port is noted with its function.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeAlias

import pytest

from atom_deploy.resources.functions import FUNCTIONS, READS_TOKEN
from atom_deploy.resources.pubsub import PUSHED
from atom_deploy.roles import GRANTS, INVOKE, READ_SECRET, STORE
from atom_emulator.testing.world import World
from atom_workflows.coordinator.dispatch import handle_steps
from atom_workflows.coordinator.seed import PAGE
from atom_workflows.coordinator.services import Services
from atom_workflows.handlers.checker import on_tick
from atom_workflows.handlers.delivery import Answer
from atom_workflows.handlers.dispatcher import on_steps
from atom_workflows.handlers.runs import on_run_request
from atom_workflows.handlers.start import on_start
from atom_workflows.messages.internal import read_steps_event
from atom_workflows.ports import Message
from deploy.observed import STATUS, STOP, SUBMIT, Observation
from functions.posting import EVENTS, Golden, golden
from simulation.drawing import draw
from simulation.play import play
from support.workflows import chain, definition

SEEDS: Final = 60
"""What the simulation comes to need, it has needed by seed 47."""

Handler: TypeAlias = Callable[[Services, Mapping[str, str], bytes], Answer]

HANDLERS: Final[Mapping[str, Handler]] = {"start": on_start, "steps": on_steps, "tick": on_tick}
"""What the functions' main.py hand a request to, by the topic that the function is pushed."""

TOPIC_OF: Final = {function: topic for topic, function in reversed(PUSHED.items())}
FILE: Final = "gs://flows/workflows/daily.yaml"
POSTED: Final = Golden("start", {"Content-Type": "application/json"}, {"workflow-path": FILE})
"""A plain call of the start function, which is no event."""


@pytest.fixture(scope="module")
def observed() -> Observation:
    """Return all calls that the functions made."""
    observation = Observation()
    with unread_log():
        for seed in range(SEEDS):
            play(draw(seed), observed=observation.of)
        for request in (*requests(), POSTED):
            post(request, observation)
        hand_on(observation)
        command(observation)
    return observation


@contextmanager
def unread_log() -> Iterator[None]:
    """Disable logging, as no one reads what hundreds of runs would log."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def requests() -> Iterator[Golden]:
    """Yield every recorded request, as it was seen or broken since."""
    for path in sorted(EVENTS.rglob("*.json")):
        yield golden(str(path.relative_to(EVENTS).with_suffix("")))


def post(request: Golden, observation: Observation) -> None:
    """Call a function with a request, in a world with a file and a run."""
    world = World()
    for generation in (None, "1700000000000001"):
        world.files.content[FILE, generation] = chain(2).encode()
    world.start(chain(2))
    topic = TOPIC_OF[request.function]
    HANDLERS[topic](observation.of(topic, world.services), request.headers, request.raw)


def hand_on(observation: Observation) -> None:
    """Start a run with more roots than there is time to publish."""
    world = World(inline_budget=timedelta(0))
    body = {"definition": definition({f"s{number}": [] for number in range(PAGE + 1)})}
    on_start(observation.of("start", world.services), POSTED.headers, json.dumps(body).encode())


def command(observation: Observation) -> None:
    """Show a run to a caller, and cancel and retry it for one."""
    world = World("default: {duration: 1000}")
    run_id = world.start(chain(2))
    world.settle_down()
    for command in ("cancel", "retry"):
        for method, path in (("GET", f"/runs/{run_id}"), ("POST", f"/runs/{run_id}/{command}")):
            _, status, _ = on_run_request(observation.of("start", world.services), method, path, {}, b"")
            assert status in {200, 202}
        [taken] = world.bus.take_all("steps")
        handle_steps(observation.of("steps", world.services), read_steps_event(taken.body))
        world.bus.ack(taken)
        world.run_to_end(run_id, within=timedelta(minutes=5))


def granted() -> set[tuple[str, str, str]]:
    """Return the functions' grants for calls that their code makes.

    The platform reads the secret with the function's own identity, when it starts an instance: no call of ours shows
    that, and so it is held against the list of those that are deployed with one.
    """
    return {(one.to, one.role, one.on) for one in GRANTS if one.to in FUNCTIONS and one.role != READ_SECRET}


def needed(observation: Observation) -> set[tuple[str, str, str]]:
    """Return what the calls that were made require."""
    return {(one.function, one.role, one.on) for one in observation.asked}


def test_no_function_makes_a_call_that_is_not_granted(observed: Observation) -> None:
    """A role of the function covers every call that it made."""
    assert needed(observed) - granted() == set()


def test_no_grant_is_superfluous(observed: Observation) -> None:
    """Each role of a function is needed for one of its calls."""
    assert granted() - needed(observed) == set()


def test_the_secret_is_granted_to_those_that_are_deployed_with_it() -> None:
    """Only functions whose instances start with the token may read it."""
    assert {one.to for one in GRANTS if one.role == READ_SECRET} == READS_TOKEN


def test_the_task_runner_is_asked_as_the_list_says(observed: Observation) -> None:
    """Only the dispatcher submits; it and the checker stop jobs and ask about them."""
    grants = [one for one in GRANTS if one.role == INVOKE and one.on == "task-runner"]
    listed = {(one.to, call) for one in grants for call in one.call.split(", ")}
    assert listed == {(one.function, one.call) for one in observed.asked if one.role == INVOKE}
    assert {call for _, call in listed} == {SUBMIT, STATUS, STOP}


def test_no_function_deletes(observed: Observation) -> None:
    """Functions never delete documents."""
    made = {one.call for one in observed.asked if one.role == STORE}
    assert made == {"get", "query", "count", "commit create", "commit update", "commit upsert"}


def test_every_function_is_seen_at_work(observed: Observation) -> None:
    """The observation covers all three functions and requests of each."""
    assert {one.function for one in observed.asked} == set(FUNCTIONS)
    assert {one.function for one in requests()} == set(FUNCTIONS)


def test_a_call_that_is_not_granted_is_seen() -> None:
    """A call that is not granted would be noticed."""
    observation, world = Observation(), World()
    observation.of("steps", world.services).bus.publish([Message(topic="jobs", body={"type": "job.ended"})])
    assert needed(observation) - granted() == {("dispatcher", "roles/pubsub.publisher", "topic jobs")}
