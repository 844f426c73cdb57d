"""The outputs and the reason in an answer are read as they were sent, or a sentence says why they are not."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atom_workflows.adapters.task_runner.answers import read_status, receive_answer
from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES, MAX_PROBLEM_LENGTH, MAX_REASON_LENGTH
from atom_workflows.errors import TaskRunnerUnavailable
from atom_workflows.ports import JobAnswer
from contract.answers import JOB, TOKEN, spellings
from contract.test_answers import holds_token

OUTPUTS: Final = {"rows": 1200, "files": ["gs://b/a", "gs://b/c"], "note": "größe", "ok": None}
PIECE_BYTES: Final = 65_536
LOG: Final = "a line of the log, and another\n" * 60_000


def read(content: bytes) -> JobAnswer:
    """Return the job in the body of a status call's answer."""
    pieces = (content[at : at + PIECE_BYTES] for at in range(0, len(content), PIECE_BYTES))
    return read_status(receive_answer(200, {}, pieces, tokens=[TOKEN], job_id=JOB), JOB)


def answered(**fields: Any) -> JobAnswer:
    """Return the job of an answer with these fields, in their order."""
    return read(json.dumps({"job": {"state": "SUCCEEDED", "jobId": JOB} | fields}).encode())


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELLED", "job_state_succeeded"])
def test_a_job_that_has_ended_has_outputs_and_a_reason(state: str) -> None:
    """Outputs are the text of the object that the job sent, in its order."""
    found = answered(state=state, outputs=OUTPUTS, reason="OOM")
    assert found.outputs == '{"rows":1200,"files":["gs://b/a","gs://b/c"],"note":"größe","ok":null}'
    assert (found.outputs_problem, found.reason) == ("", "OOM")


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLING", "DONE"])
def test_a_job_that_has_not_ended_has_neither(state: str) -> None:
    """Outputs, their problems and reasons are read of terminal answers alone."""
    for outputs in (OUTPUTS, [1], {"log": LOG}):
        found = answered(state=state, outputs=outputs, reason="OOM")
        assert (found.outputs, found.outputs_problem, found.reason) == ("", "", "")


@pytest.mark.parametrize("fields", [{}, {"outputs": None, "reason": None}, {"reason": " \n"}, {"reason": 137}])
def test_both_fields_are_optional(fields: dict[str, Any]) -> None:
    """Answers without them, or with null, are what they were before there were such fields."""
    assert answered(**fields) == JobAnswer(job_id=JOB, state="SUCCEEDED")


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ([1], "not a JSON object"),
        ("rows=12", "not a JSON object"),
        ({"log": "x" * MAX_OUTPUTS_BYTES}, "write them to Cloud Storage, or to a file that the steps share"),
        ({str(number): 1 for number in range(101)}, "more than 100 names"),
        ({"a": [[[[[[[[]]]]]]]]}, "more than 8 levels"),
        ({"loss": float("nan")}, "its output 'loss' has a number"),
        ({"id": 2**63}, "its output 'id' has a number"),
        ({"id": 10**4_000}, "its output 'id' has a number"),
        ({"a": "\ud83d"}, "half of a surrogate pair"),
    ],
    ids=["list", "text", "size", "names", "levels", "NaN", "64 bits", "digits", "surrogates"],
)
def test_outputs_that_break_a_limit_are_not_lost_in_silence(outputs: Any, problem: str) -> None:
    """The problem says which limit was broken; the job's state, id and message count all the same."""
    found = answered(outputs=outputs, message="done")
    assert (found.outputs, found.state, found.job_id, found.message) == ("", "SUCCEEDED", JOB, "done")
    assert problem in found.outputs_problem


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (" EXIT_2\n", "EXIT_2"),
        ("out of\r\n\tmemory\u2028again", "out of memory again"),
        ("x" * 65, "x" * 64),
        ("half \ud83d a pair", "half ? a pair"),
        ("世" * 70, "世" * 64),
        (f"sent {TOKEN}", "sent (token)"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln", "(token)"),
    ],
)
def test_a_reason_is_one_short_line(sent: str, kept: str) -> None:
    """A reason is stripped, in one line, short, storable and without tokens."""
    assert answered(state="FAILED", reason=sent).reason == kept


@pytest.mark.parametrize("name", spellings())
def test_outputs_with_a_token_are_refused(name: str) -> None:
    """Outputs that quote the token are refused whole: a masked one would pass for the job's own."""
    spelt = spellings()[name]
    for outputs in ({"header": f"Bearer {spelt}"}, {"a": [{"b": spelt}]}, {spelt: 1}):
        found = answered(outputs=outputs, reason=spelt)
        assert found.outputs == ""
        assert "contain a token" in found.outputs_problem
        assert not holds_token(repr(found))
    assert not holds_token(repr(answered(outputs={spelt: float("nan")})))


def test_a_token_in_parts_is_found() -> None:
    """A token that is divided among texts is refused, too."""
    assert "contain a token" in answered(outputs={"a": [TOKEN[:12], TOKEN[12:]]}).outputs_problem
    assert answered(outputs={"a": [TOKEN[:12]]}).outputs_problem == ""


# -- long answers ------------------------------------------------------------------------------------------------------


def test_outputs_before_the_cut_count() -> None:
    """Of an answer that is too long, outputs and a reason that were read whole are used."""
    found = answered(reason="EXIT_2", outputs=OUTPUTS, message=LOG)
    assert (json.loads(found.outputs), found.outputs_problem, found.reason) == (OUTPUTS, "", "EXIT_2")


@pytest.mark.parametrize(
    "fields",
    [
        {"message": LOG, "outputs": OUTPUTS, "reason": "OOM"},
        {"outputs": {"log": LOG}, "reason": "OOM"},
        {"message": LOG},
        {"reason": LOG},
    ],
    ids=["behind", "within", "unknown", "reason"],
)
def test_outputs_that_the_cut_may_have_hidden_are_a_problem(fields: dict[str, Any]) -> None:
    """If the job was not read to its end, its outputs are not taken for missing."""
    found = answered(**fields)
    assert (found.state, found.outputs, found.reason) == ("SUCCEEDED", "", "")
    assert "do not end within the first 1,048,576 bytes" in found.outputs_problem
    assert len(found.outputs_problem) <= MAX_PROBLEM_LENGTH
    assert answered(state="RUNNING", **fields).outputs_problem == ""


def test_a_cut_behind_the_job_hides_nothing() -> None:
    """If the job was read to its end, it has no more outputs than were read."""
    job = {"state": "SUCCEEDED", "jobId": JOB}
    for more in ({}, {"outputs": OUTPUTS}):
        found = read(json.dumps({"job": job | more, "log": LOG}).encode())
        assert found.outputs_problem == ""
        assert json.loads(found.outputs or "{}") == more.get("outputs", {})


@pytest.mark.parametrize("filler", ["", LOG], ids=["whole", "cut"])
def test_outputs_are_read_however_deep_the_answer_is(filler: str) -> None:
    """Outputs that are too deep for a JSON reader are too deep, and others beside them are read."""
    deep = "[" * 100_000 + "]" * 100_000
    end = f'"message": {json.dumps(filler)}}}}}'
    found = read(f'{{"job": {{"state": "SUCCEEDED", "outputs": {{"a": {deep}}}, {end}'.encode())
    assert "more than 8 levels" in found.outputs_problem
    found = read(f'{{"job": {{"x": {deep}, "state": "SUCCEEDED", "outputs": {{"a": 1}}, {end}'.encode())
    assert (found.outputs, found.outputs_problem) == ('{"a":1}', "")


PARTS: Final = [b"[],", b"1,", b'"",', b"eyJ-", b"\\\\", b"{", b'{"a":', b"[[", b"1e9,", b'{"a":[]},', b"\xff"]


def filled_with(part: bytes, size: int) -> bytes:
    """Return a terminal answer of outputs that are filled with a part, which may not be JSON."""
    quote = b"" if part[-1:] in b",{:[" else b'"'
    inside = quote + part * (size // len(part)) + quote + (b"0" if part.endswith(b",") else b"")
    return b'{"job": {"state": "SUCCEEDED", "outputs": {"a": [' + inside + b"]}}}"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("size", [32_000, 1_000_000, 3_000_000])
def test_a_hostile_answer_takes_little_time(part: bytes, size: int) -> None:
    """Whatever fills the outputs, reading them takes a moment."""
    began = time.process_time()
    try:
        assert len(read(filled_with(part, size)).outputs.encode()) <= MAX_OUTPUTS_BYTES
    except TaskRunnerUnavailable as error:
        assert "does not follow the contract" in error.reason  # noqa: PT017 (most of them do)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("size", [900_000, 3_000_000], ids=["whole", "cut"])
def test_nothing_is_kept_of_what_was_too_large(size: int) -> None:
    """Once an answer is read, only texts within the limits are left of it."""
    content = filled_with(b"[1],", size)
    tracemalloc.start()
    try:
        found = receive_answer(200, {}, iter([content]))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.job is not None
    assert found.job.outputs_problem
    assert kept < 500_000


# -- whatever is sent --------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([TOKEN, "\ud83d", "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln", "x" * 20_000, "gs://b/o"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)


@settings(max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(outputs=st.dictionaries(st.text(max_size=9), VALUES, max_size=4) | VALUES, reason=VALUES, log=st.booleans())
def test_any_outputs_are_kept_or_explained(outputs: Any, reason: Any, *, log: bool) -> None:
    """Outputs are either equal to what was sent, or have a problem; nothing is cut, changed or lost."""
    found = answered(outputs=outputs, reason=reason, message=LOG if log else "")
    assert bool(found.outputs) != bool(found.outputs_problem) or outputs is None
    if found.outputs:
        assert json.loads(found.outputs) == outputs
        assert len(found.outputs.encode()) <= MAX_OUTPUTS_BYTES
    assert len(found.outputs_problem) <= MAX_PROBLEM_LENGTH
    assert len(found.reason) <= MAX_REASON_LENGTH
    assert len(found.reason.splitlines()) <= 1
    repr(found).encode()
    assert TOKEN[:16] not in repr(found)
