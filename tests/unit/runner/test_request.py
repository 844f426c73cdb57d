"""A submission is read into the same values on every Task Runner that ships."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from atom_workflows.errors import RequestRefused
from atom_workflows.runner.request import JobRequest, job_environment, read_request

KEY: Final = "sales-1f2e/load/2"
BODY: Final[Mapping[str, Any]] = {
    "job_name": "load-eu",
    "imageUri": "eu.gcr.io/p/load:1",
    "engine": "process",
    "url": "https://example.com",
    "scaleTier": "BASIC",
    "masterType": "n1-standard-4",
    "args": ["python3", "load.py"],
    "labels": {"team": "sales", "workflow": "daily", "type": "step"},
}


def read(body: Any = BODY, **headers: str) -> JobRequest:
    """Return the request with this body and the usual key."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_request({"Idempotency-Key": KEY, **named}, json.dumps(body).encode())


def with_args(args: Any) -> JobRequest:
    """Return the request with these args."""
    return read({**BODY, "args": args})


def test_every_field_of_a_submission_is_read() -> None:
    """Each field of the body, the parts of the key and the time limit have their own field."""
    assert read(Atom_Job_Timeout="90") == JobRequest(
        key=KEY,
        run_id="sales-1f2e",
        step_id="load",
        attempt=2,
        workflow="daily",
        name="load-eu",
        image="eu.gcr.io/p/load:1",
        engine="process",
        url="https://example.com",
        scale_tier="BASIC",
        master_type="n1-standard-4",
        argv=("python3", "load.py"),
        labels={"team": "sales", "workflow": "daily", "type": "step"},
        timeout=timedelta(seconds=90),
    )


def test_fields_that_are_left_out_are_empty() -> None:
    """A body with no field but unknown ones is a job without anything, named after its step."""
    found = read({"priority": 3})
    assert found == JobRequest(
        key=KEY, run_id="sales-1f2e", step_id="load", attempt=2, workflow="", name="load", labels={}
    )


def test_a_list_is_the_argument_vector() -> None:
    """The texts of a list stay as they are, whatever a shell would do with them; other values become JSON."""
    assert with_args(["a b", "$HOME;*", "", 1, 2.5, True, None, {"a": [1, "ü"]}]).argv == (
        *("a b", "$HOME;*", ""),
        *("1", "2.5", "true", "null", '{"a":[1,"ü"]}'),
    )


def test_a_map_becomes_options_in_the_order_of_the_file() -> None:
    """Each entry of a map becomes --key=value, in the file's order."""
    assert with_args({"table": "sales", "full": True, "a": [1]}).argv == ("--table=sales", "--full=true", "--a=[1]")


@pytest.mark.parametrize("args", ["text", 3, True, ["a\0b"], {"a\0": "b"}, ["\ud800"], [["\ud800"]]], ids=ascii)
def test_args_that_no_program_can_be_given_are_refused(args: Any) -> None:
    """Args of another form, and characters that cannot be passed to a program, are refused."""
    with pytest.raises(RequestRefused, match="args"):
        with_args(args)


@pytest.mark.parametrize(
    "key", ["", "run", "run/step", "run/step/", "run/step/x", "run//1", "/step/1", "r/s/-1", "r/s/٣", "r\n/s/1"]
)
def test_a_key_of_another_form_is_refused(key: str) -> None:
    """A submission needs a key of the form run/step/attempt."""
    with pytest.raises(RequestRefused, match="Idempotency-Key"):
        read_request({"idempotency-key": key}, b"{}")


@pytest.mark.parametrize("seconds", ["", "0", "-1", "1.5", "9" * 10, "٣", "soon"])
def test_a_time_limit_of_another_form_is_refused(seconds: str) -> None:
    """A time limit that cannot be kept is refused rather than ignored."""
    with pytest.raises(RequestRefused, match="Atom-Job-Timeout"):
        read(Atom_Job_Timeout=seconds)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"args":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"args":[' + b"1," * 20_000 + b"1]}",
    ],
)
def test_a_body_that_is_no_object_within_the_limits_is_refused(body: bytes) -> None:
    """A body that is no JSON object, too deep or too large is refused without building it."""
    with pytest.raises(RequestRefused, match="body"):
        read_request({"idempotency-key": KEY}, body)


@pytest.mark.parametrize("field", ["job_name", "imageUri", "engine", "url", "scaleTier", "masterType"])
def test_a_field_that_is_no_text_is_refused_by_name(field: str) -> None:
    """A field of another type is refused, and the message names it."""
    with pytest.raises(RequestRefused, match=field):
        read({**BODY, field: 3})


@pytest.mark.parametrize("labels", ["text", ["a"], {"team": 3}, {"team": "a\0b"}])
def test_labels_that_are_no_texts_are_refused(labels: Any) -> None:
    """Labels are a map of texts."""
    with pytest.raises(RequestRefused, match="label"):
        read({**BODY, "labels": labels})


def test_a_job_gets_five_variables() -> None:
    """A job learns its run, step, attempt, workflow and the file for its outputs, and nothing else of ours."""
    assert job_environment(read(), "/out/outputs.json") == {
        "ATOM_RUN_ID": "sales-1f2e",
        "ATOM_STEP_ID": "load",
        "ATOM_ATTEMPT": "2",
        "ATOM_WORKFLOW": "daily",
        "ATOM_OUTPUTS": "/out/outputs.json",
    }
