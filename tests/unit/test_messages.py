"""Events between the functions carry the outputs of jobs and hints about their ends, and are never too large."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from atom_workflows.core.outcomes import MAX_MESSAGE_LENGTH, Outcome, OutcomeKind
from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES, MAX_PROBLEM_LENGTH, MAX_REASON_LENGTH, read_outputs
from atom_workflows.errors import MalformedEvent
from atom_workflows.messages.fields import MAX_ITEMS, read_json_body
from atom_workflows.messages.internal import (
    JobEnded,
    StepsCompleted,
    completed_messages,
    job_ended_message,
    read_job_ended,
    read_steps_event,
)
from atom_workflows.messages.start import read_start_event
from atom_workflows.ports import MAX_JOB_ID

MAX_MESSAGE_BYTES: Final = 256_000
PLAIN: Final = Outcome(step_id="s", attempt=1, kind=OutcomeKind.SUCCEEDED, job_id="j-1", job_state="SUCCEEDED")
RETURNED: Final = replace(PLAIN, outputs='{"rows":12,"note":"größe"}', outputs_problem="", reason="CACHED")


def largest(letter: str) -> str:
    """Return outputs of the largest size, filled with a letter."""
    part = json.dumps(letter, ensure_ascii=False)[1:-1]
    outputs = {"a": letter * ((MAX_OUTPUTS_BYTES - len('{"a":""}')) // len(part.encode()))}
    text = read_outputs(outputs).text
    assert len(text.encode()) > MAX_OUTPUTS_BYTES - 8
    return text


def texts_of(strings: int) -> str:
    """Return outputs of that many empty texts, which double in size within a JSON text."""
    return read_outputs({"a": [""] * strings}).text


@pytest.mark.parametrize(
    "outputs",
    [*map(largest, ["x", "世", "\U0001f600", "\x01", "\\", '"']), texts_of(10_900)],
    ids=["ascii", "three bytes", "four bytes", "control", "backslashes", "quotes", "empty texts"],
)
@pytest.mark.parametrize("count", [1, MAX_ITEMS, 3 * MAX_ITEMS])
def test_the_largest_outcomes_fit_into_messages(outputs: str, count: int) -> None:
    """However many outcomes have the largest outputs, no message exceeds 256 KB, and all are read as they were."""
    worst: dict[str, Any] = {
        "message": "\x01" * MAX_MESSAGE_LENGTH,
        "reason": "世" * MAX_REASON_LENGTH,
        "job_id": "\x01" * 500,
    }
    outcomes = [replace(PLAIN, step_id="s" * 190 + str(at), outputs=outputs, **worst) for at in range(count)]
    outcomes[0] = replace(outcomes[0], outputs="", outputs_problem="\x01" * MAX_PROBLEM_LENGTH)
    messages = completed_messages("r" * 200, outcomes)
    read: list[Outcome] = []
    for message in messages:
        data = json.dumps(message.body, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(data) <= MAX_MESSAGE_BYTES
        event = read_steps_event(json.loads(data))
        assert isinstance(event, StepsCompleted)
        read += event.outcomes
    assert read == outcomes
    assert len(messages) <= count


def test_only_what_there_is_to_say_is_written() -> None:
    """An outcome without outputs is written as it was before there were any."""
    [message] = completed_messages("r", [PLAIN])
    assert message.body["outcomes"][0].keys() == {"step", "attempt", "kind", "message", "job_id", "job_state"}


def test_a_reader_of_an_earlier_version_finds_what_it_knows() -> None:
    """The schema stays, and without the new fields the outcome is the one that was written before."""
    [new], [old] = completed_messages("r", [RETURNED]), completed_messages("r", [PLAIN])
    [outcome] = new.body["outcomes"]
    known = {name: value for name, value in outcome.items() if name not in {"outputs", "reason"}}
    assert {**new.body, "outcomes": [known]} == old.body
    assert read_steps_event(old.body) == StepsCompleted(run_id="r", outcomes=(PLAIN,))


@pytest.mark.parametrize("outputs", [None, ""])
def test_missing_outputs_are_none(outputs: Any) -> None:
    """Outputs that are null or empty count as missing."""
    [message] = completed_messages("r", [PLAIN])
    message.body["outcomes"][0]["outputs"] = outputs
    assert read_steps_event(message.body) == StepsCompleted(run_id="r", outcomes=(PLAIN,))


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ({"rows": 1}, "must be text"),
        ("{", "are not JSON"),
        ("[1]", "cannot be used: its outputs are not a JSON object"),
        ("null", "cannot be used: they are null"),
        ('{"a": NaN}', "cannot be used: its output 'a' has a number"),
        ('{"a":' + "[" * 70 + "]" * 70 + "}", "are not JSON: "),
        (" " * MAX_OUTPUTS_BYTES + "{}", "may be at most 32768 characters long"),
        ('{"a":"' + "世" * 20_000 + '"}', "larger than 32,768 bytes"),
    ],
)
def test_outputs_that_this_version_would_not_write_are_malformed(outputs: Any, problem: str) -> None:
    """Whoever handles an outcome can rely on its outputs being an object within the limits."""
    [message] = completed_messages("r", [RETURNED])
    message.body["outcomes"][0]["outputs"] = outputs
    with pytest.raises(MalformedEvent, match=problem):
        read_steps_event(message.body)


@pytest.mark.parametrize(("letters", "fits"), [(33_000, True), (34_000, False)])
def test_params_are_measured_as_they_are_stored(letters: int, *, fits: bool) -> None:
    """Each letter counts with its bytes in UTF-8, not with those of an escape sequence, which takes up to twelve."""
    body = {"workflow_path": "gs://bucket/flow.yaml", "params": {"text": "世" * letters}}
    if fits:
        assert read_start_event(body, event_id="1") == read_start_event(read_json_body(json.dumps(body)), event_id="1")
        return
    with pytest.raises(MalformedEvent, match="params may be at most 100,000 bytes long"):
        read_start_event(body, event_id="1")


@pytest.mark.parametrize(
    "ended",
    [
        JobEnded(idempotency_key="daily-3f/load.part-1/12"),
        JobEnded(job_id="projects/p/locations/l/jobs/größe \U0001f600"),
        JobEnded(job_id="\U0001f600" * MAX_JOB_ID),
        JobEnded(idempotency_key=f"{'r' * 200}/{'s' * 200}/1000000", job_id="7"),
    ],
)
def test_a_hint_is_read_as_it_was_written(ended: JobEnded) -> None:
    """A hint names its job by key, id or both, and carries nothing else."""
    message = job_ended_message(ended)
    assert (message.topic, message.attributes) == ("jobs", {"type": "job.ended"})
    assert message.body.keys() <= {"type", "idempotency_key", "job_id"}
    assert read_job_ended(json.loads(json.dumps(message.body))) == ended


def test_a_hint_may_have_more_fields_than_are_known() -> None:
    """Whatever else a Task Runner puts into a hint is ignored, and an id may be a number."""
    body = {"type": "job.ended", "job_id": 17, "idempotency_key": None, "schema": 99, "state": {"deep": [1]}}
    assert read_job_ended(body) == JobEnded(job_id="17")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ({}, "type must be text"),
        ({"type": 7, "job_id": "7"}, "type must be text"),
        ({"type": "tick"}, "the jobs topic does not carry events of type"),
        ({"type": "job.ended"}, "must name the job"),
        ({"type": "job.ended", "job_id": "", "idempotency_key": None}, "must name the job"),
        ({"type": "job.ended", "job_id": True}, "job_id must be text"),
        ({"type": "job.ended", "job_id": ["7"]}, "job_id must be text"),
        ({"type": "job.ended", "job_id": "j" * (MAX_JOB_ID + 1)}, "job_id may be at most 500 characters long, not 501"),
        ({"type": "job.ended", "job_id": "7\ud83d"}, "unpaired surrogate"),
        ({"type": "job.ended", "idempotency_key": 1}, "idempotency_key must be text"),
        *(
            ({"type": "job.ended", "idempotency_key": key, "job_id": "7"}, "must be run/step/attempt")
            for key in (
                "",
                "r/s",
                "r/s/1/1",
                "/s/1",
                "r//1",
                "r/s/",
                "r/s/0",
                "r/s/-1",
                "r/s/1.5",
                "r/s/٣",
                "r/s/1000001",
                "r/s/1\n",
                "r/s s/1",
                "__r__/s/1",
                "r/__s__/1",
                "../s/1",
                f"{'r' * 201}/s/1",
            )
        ),
        ({"type": "job.ended", "idempotency_key": "r/s/1" + "0" * 3_000}, "may be at most 2000 characters long"),
    ],
)
def test_a_hint_that_names_no_job_is_malformed(body: Any, problem: str) -> None:
    """A hint whose key or id cannot be one of ours is malformed, whatever else it has."""
    with pytest.raises(MalformedEvent, match=problem):
        read_job_ended(body)
