"""Whatever is posted to a function, it answers; nothing that can never succeed is answered so that it comes again."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atom_workflows.messages.fields import MAX_SCHEMA, SCHEMA_OF_ITEMS
from functions.posting import EVENTS, Deployed, Golden, golden

GOLDEN: Final = [golden(str(path.relative_to(EVENTS).with_suffix(""))) for path in sorted(EVENTS.rglob("*.json"))]
FUNCTIONS: Final = ("start", "dispatcher", "checker")

FUZZ = settings(
    max_examples=600,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)

TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        (
            *("", ".", "..", "/", "__x__", "a/b", "\0", "\ud800", "é", "x" * 3_000, "null", "http://evil.test"),
            *("step.ready", "steps.completed", "run.seed", "tick", "sweep.page", "OBJECT_FINALIZE"),
            *("2026-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00-23:59", "2026-01-01"),
            "gs://flows/workflows/daily.yaml",
        )
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each part of a JSON value."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def changed(value: Any, path: tuple[Any, ...], new: Any, *, gone: bool) -> Any:
    """Return the value with the part at that place replaced or removed."""
    if not path:
        return new
    target = value
    for part in path[:-1]:
        target = target[part]
    if gone:
        del target[path[-1]]
    else:
        target[path[-1]] = new
    return value


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """Draw a JSON value with some of its parts replaced or removed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        # Deep parts rather than the whole: what is nearly right gets furthest.
        deep = [path for path in places(value) if path] or [()]
        path = draw(st.sampled_from(deep))
        value = changed(value, path, draw(VALUES), gone=draw(st.integers(0, 3)) == 0)
    return value


def encoded(body: Any) -> str:
    """Return the value as the data of a Pub/Sub message."""
    return base64.b64encode(json.dumps(body).encode()).decode()


@st.composite
def requests(draw: st.DrawFn, function: str) -> Golden:
    """Draw a request that is spoilt outside, within its data, or altogether."""
    own = [event for event in GOLDEN if event.function == function and data_of(event.body) is not None]
    event = draw(st.sampled_from(own if draw(st.integers(0, 9)) else GOLDEN))
    headers = dict(event.headers)
    if draw(st.integers(0, 9)) == 0:
        names = st.sampled_from(["ce-type", "ce-id", "ce-source", "ce-specversion", "Content-Type"])
        values = st.sampled_from(
            ["", "1.0", "2.0", "application/json", "application/cloudevents+json", "text/html", "x"]
        )
        headers |= draw(st.dictionaries(names, values, max_size=3))
    kind = draw(st.integers(0, 9))
    inner = data_of(event.body)
    if kind == 0 and function == "start":
        return Golden(function, {"Content-Type": "application/json"}, draw(spoilt(inner)))
    if kind == 1:
        return Golden(function, headers, draw(st.one_of(st.text(max_size=60).map(sendable), VALUES)))
    if kind < 9 and inner is not None:
        body = copy.deepcopy(event.body)
        message_of(body)["data"] = encoded(draw(spoilt(inner)))
        return Golden(function, headers, body)
    return Golden(function, headers, event.body if isinstance(event.body, str) else draw(spoilt(event.body)))


def sendable(text: str) -> str:
    """Text that can be sent as bytes."""
    return text.encode("utf-8", "replace").decode()


def message_of(body: Any) -> dict[str, Any]:
    """Return the Pub/Sub message in a push or CloudEvent, empty if there is none."""
    for holder in (body, body.get("data") if isinstance(body, dict) else None):
        message = holder.get("message") if isinstance(holder, dict) else None
        if isinstance(message, dict):
            return message
    return {}


def data_of(body: Any) -> Any:
    """Return the data of a request's message, None if it is no JSON."""
    try:
        return json.loads(base64.b64decode(message_of(body)["data"]))
    except (LookupError, TypeError, ValueError, RecursionError):
        return None


def is_of_a_newer_version(body: Any) -> bool:
    """Return True if another instance may be able to read the event.

    Only such an event should come again.
    """
    event = body if data_of(body) is None else data_of(body)
    schema = event.get("schema") if isinstance(event, dict) else None
    return isinstance(schema, int) and SCHEMA_OF_ITEMS < schema <= MAX_SCHEMA


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_input_is_answered_and_none_comes_again(functions: Deployed, run_id: str, function: str) -> None:
    """No input raises, comes again, or is logged as anything but JSON."""
    assert run_id

    @FUZZ
    @given(requests(function))
    def post(request: Golden) -> None:
        status = functions.post(request)
        assert status < 500 or is_of_a_newer_version(request.body)
        assert status in {204, 500} or function == "start"

    post()
