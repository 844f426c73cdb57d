"""Requests to the start function about runs: what is shown, what is done, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from functions_framework import create_app

from atom_client.views.as_json import run_object
from atom_emulator.testing.world import World
from atom_workflows.core.outputs import MAX_OUTPUTS_BYTES
from atom_workflows.core.states import RunState
from atom_workflows.documents import SCHEMAS, run_path
from atom_workflows.errors import BusUnavailable, StoreUnavailable
from atom_workflows.handlers.entry import answer_request
from atom_workflows.handlers.runs import MAX_ACTOR, MAX_BODY, MAX_REASON, UNNAMED, verified_caller
from atom_workflows.handlers.start import on_start
from atom_workflows.ports import Update
from atom_workflows.settings import Settings, from_environment
from functions.posting import FUNCTIONS, Deployed
from support.mortal import Fate, make_mortal
from support.workflows import chain, definition, script

FAILS_ONCE = "rules: [{step: s1, fail_times: 1}]"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as the server has it."""

    method: str
    path: str
    raw: bytes = b""
    content_length: int | None = None
    stream: io.BytesIO = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stream", io.BytesIO(self.raw))


@dataclass(frozen=True, slots=True)
class Response:
    """What the function answers."""

    status: int
    body: Any
    headers: Mapping[str, str]


def call(world: World, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """Send a request to the start function; a body is sent as JSON unless it is bytes."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    given = JSON if headers is None else headers
    sent = Sent(method=method, path=path, raw=raw, content_length=len(raw))
    text, status, answered = answer_request("start", on_start, world.services, given, sent)
    return Response(status, json.loads(text), answered)


def failed() -> tuple[World, str]:
    """Return a world with a run that has failed."""
    world = World(FAILS_ONCE)
    run_id = world.start(chain(3))
    assert world.run_to_end(run_id).state is RunState.FAILED
    return world, run_id


def token(signature: str = "SIGNATURE_REMOVED_BY_GOOGLE", **claims: Any) -> str:
    """Return a header with a token, as Cloud Run passes it on."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in ({}, claims)]
    return f"Bearer {'.'.join([*parts, signature])}"


def in_the_cloud(world: World) -> None:
    """Let the function run where callers are verified."""
    world.services = replace(world.services, settings=replace(world.services.settings, verifies_callers=True))


def test_a_run_is_shown() -> None:
    """The state, the failures and the times of a run are shown, with a version, by one read."""
    world, run_id = failed()
    fate = Fate()
    make_mortal(world, fate)
    shown = call(world, "GET", f"/runs/{run_id}")
    assert fate.calls == ["get"]
    assert (shown.status, shown.headers["Content-Type"]) == (200, "application/json")
    assert (shown.body["version"], shown.body["run_id"], shown.body["state"]) == (1, run_id, "FAILED")
    assert shown.body["errors"][0]["step"] == "s1"
    assert shown.body["finished_at"] >= shown.body["started_at"]


def test_what_is_shown_is_what_the_command_line_shows() -> None:
    """Each member has the name and the value that it has in the command line's JSON."""
    world, run_id = failed()
    call(world, "POST", f"/runs/{run_id}/retry", {"reason": "fixed"})
    run = world.run_to_end(run_id)
    world.settle_down()
    shown = call(world, "GET", f"/runs/{run_id}").body
    usual = run_object(world.run(run_id))
    assert shown == {"version": 1, **{name: usual[name] for name in shown.keys() - {"version"}}}
    assert "params" not in shown
    assert run.retries == 1


def test_a_run_is_retried() -> None:
    """A retry is accepted, says where to ask, and is carried out by a dispatcher."""
    world, run_id = failed()
    writes = world.store.writes
    accepted = call(world, "POST", f"/runs/{run_id}/retry", {"reason": "the table is there now"})
    path = f"/runs/{run_id}"
    assert (accepted.status, accepted.headers["Location"]) == (202, path)
    assert accepted.body == {"version": 1, "run_id": run_id, "command": "retry", "status_path": path}
    assert world.store.writes == writes
    world.settle_down()
    run = world.run_to_end(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [(one.actor, one.what, one.why) for one in run.changes] == [(UNNAMED, "retry", "the table is there now")]


@pytest.mark.parametrize("body", [None, {}, {"now": True}, {"reason": "too expensive", "retries": 0}])
def test_a_run_is_cancelled(body: dict[str, Any] | None) -> None:
    """A run is cancelled with or without a body."""
    world = World("default: {duration: 1000}")
    run_id = world.start(chain(2))
    world.settle_down()
    assert call(world, "POST", f"/runs/{run_id}/cancel", body, {} if body is None else JSON).status == 202
    world.settle_down()
    run = world.run_to_end(run_id)
    assert run.state is RunState.CANCELLED
    assert call(world, "POST", f"/runs/{run_id}/cancel").body["error"] == f"run {run_id} has ended: it is CANCELLED"


def test_the_reason_for_a_cancel_is_shown_while_steps_under_finally_run_and_after() -> None:
    """A stop of the main part is over once those steps begin, but a caller still sees why the run was ended."""
    world = World("rules: [{step: s0, duration: 1000}, {step: last, duration: 100}]")
    plain = json.loads(chain(1))
    run_id = world.start(json.dumps({**plain, "finally": [{"id": "last", "task": {"imageUri": "image"}}]}))
    world.settle_down()
    assert call(world, "POST", f"/runs/{run_id}/cancel", {"reason": "too expensive"}).status == 202
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["state"] == "RUNNING":
        world.tick()
        world.clock.move(timedelta(seconds=30))
        seen.append(call(world, "GET", f"/runs/{run_id}").body)
    assert (seen[-1]["state"], {one["stop_reason"] for one in seen}) == ("CANCELLED", {"too expensive"})
    assert world.states(run_id)["last"] == "SUCCEEDED"
    assert run_object(world.run(run_id))["stop_reason"] == "too expensive"


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/runs/none", 404, "there is no run none"),
        ("POST", "/runs/none/cancel", 404, "there is no run none"),
        ("POST", "/runs/RUN/cancel", 409, "has ended: it is FAILED"),
        ("GET", "/runs", 404, "there is nothing at '/runs'; the valid requests are GET /runs/RUN,"),
        ("GET", "/runs/", 404, "there is nothing at '/runs/'"),
        ("GET", "/runs/RUN/", 200, ""),
        ("POST", "/runs/RUN/delete", 404, "there is nothing at '/runs/"),
        ("POST", "/runs/RUN/retry/again", 404, "there is nothing at"),
        ("GET", "/runs/../runs", 404, "there is nothing at"),
        ("GET", "/runs/__x__", 404, "there is nothing at"),
        ("GET", f"/runs/{'x' * 5_000}", 404, "there is nothing at"),
        ("GET", "/runs/\x1b[31m\ud800", 404, "there is nothing at"),
        ("POST", "/runs/RUN", 405, "accepts only GET requests, not 'POST'"),
        ("HEAD", "/runs/RUN", 405, "accepts only GET requests, not 'HEAD'"),
        ("GET", "/runs/RUN/retry", 405, "accepts only POST requests, not 'GET'"),
    ],
)
def test_other_requests_are_refused_with_a_sentence(method: str, path: str, status: int, sentence: str) -> None:
    """Whatever is asked for, the answer is a sentence that says what can be, and nothing happens."""
    world, run_id = failed()
    answered = call(world, method, path.replace("RUN", run_id))
    assert answered.status == status
    assert sentence in answered.body.get("error", "")
    assert len(json.dumps(answered.body)) < 4_000
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        assert answered.headers["Allow"] in {"GET", "POST"}
    assert world.bus.take_all("steps") == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        ([], "must be a JSON object, not []"),
        ({"to": ["s1"]}, 'a retry has no field "to"; its fields are failed, from, only, reason, retries'),
        ({"from": "s1"}, "must be a list of at most 100 steps"),
        ({"only": ["s1"] * 101}, "must be a list of at most 100 steps"),
        ({"only": [["s1"]]}, "only must be text"),
        ({"only": ["../s1"]}, 'only cannot be "../s1"'),
        ({"now": True}, 'a retry has no field "now"'),
        ({"reason": 1}, "reason must be text"),
        ({"reason": "x" * (MAX_REASON + 1)}, f"at most {MAX_REASON} characters"),
        ({"retries": -1}, "retries must be a whole number from 0"),
        ({"retries": True}, "retries must be a whole number from 0"),
        (b'{"reason": "\\ud800"}', "is not JSON"),
    ],
)
def test_a_body_that_says_something_else_is_refused(body: Any, sentence: str) -> None:
    """A field that is unknown or wrong is refused rather than ignored."""
    world, run_id = failed()
    answered = call(world, "POST", f"/runs/{run_id}/retry", body)
    assert (answered.status, world.bus.take_all("steps")) == (400, [])
    assert sentence in answered.body["error"]


def test_a_retry_may_name_steps() -> None:
    """What cannot be chosen is refused at once, and what is chosen runs again."""
    world, run_id = failed()
    refused = call(world, "POST", f"/runs/{run_id}/retry", {"from": ["none"]})
    assert (refused.status, refused.body) == (409, {"error": "no step none can run again"})
    assert call(world, "POST", f"/runs/{run_id}/retry", {"from": ["s0"]}).status == 202
    world.settle_down()
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
    assert world.submissions().count("s0/2") == 1


def test_a_retry_may_name_the_try_that_it_is_about() -> None:
    """A caller who repeats a call does not retry a run twice by giving the number of retries that it has seen."""
    world, run_id = failed()
    for status in (202, 409):
        assert call(world, "POST", f"/runs/{run_id}/retry", {"retries": 0}).status == status
        world.settle_down()
        world.run_to_end(run_id)


def test_a_form_of_a_web_page_is_refused() -> None:
    """A request from a page, or with a body that a form can send, does nothing."""
    world, run_id = failed()
    path = f"/runs/{run_id}/retry"
    assert call(world, "POST", path, headers={"Origin": "https://evil.test"}).status == 403
    assert call(world, "POST", path, {}, headers={"Content-Type": "text/plain"}).status == 415
    assert world.bus.take_all("steps") == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_not_read(*, chunked: bool) -> None:
    """A body over the limit is answered 413, whatever else the request says that it is."""
    world, run_id = failed()
    raw = b" " * (MAX_BODY + 1)
    sent = Sent(method="POST", path=f"/runs/{run_id}/retry", raw=raw, content_length=None if chunked else len(raw))
    headers = {**JSON, "ce-type": "x", "User-Agent": "APIs-Google"}
    text, status, _ = answer_request("start", on_start, world.services, headers, sent)
    assert (status, "the function accepts up to 131,072" in json.loads(text)["error"]) == (413, True)
    assert world.bus.take_all("dead-letters") == []


@dataclass(frozen=True, slots=True)
class Away:
    """A store or a bus that is away."""

    error: Exception

    def get(self, *_: object, **__: object) -> Any:
        """Fail."""
        raise self.error

    publish = get


def test_an_outage_is_answered_with_503() -> None:
    """If the store or the bus is away, or the run is a newer version's, the caller is asked to try again."""
    world, run_id = failed()
    path, up = f"/runs/{run_id}", world.services
    world.services = replace(up, store=Away(StoreUnavailable("the store is away")))  # type: ignore[arg-type]  # only get
    assert call(world, "GET", path).status == 503
    world.services = replace(up, bus=Away(BusUnavailable("the bus is away")))
    assert call(world, "POST", f"{path}/retry").body == {"error": "the bus is away"}
    world.services = up
    world.store.commit([Update(path=run_path(run_id), fields={"schema": SCHEMAS[-1] + 1})])
    assert call(world, "GET", path).status == 503


def test_the_actor_is_the_caller_whom_cloud_run_has_verified() -> None:
    """In the cloud, a run records the e-mail address of the caller's token."""
    world, run_id = failed()
    in_the_cloud(world)
    caller = {"Authorization": token(email="ci@my-project.iam.gserviceaccount.com", email_verified=True)}
    assert call(world, "GET", f"/runs/{run_id}", headers=caller).status == 200
    assert call(world, "POST", f"/runs/{run_id}/retry", headers=caller).status == 202
    world.settle_down()
    assert [one.actor for one in world.run_to_end(run_id).changes] == ["ci@my-project.iam.gserviceaccount.com"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_one_in_the_cloud_calls_without_a_name(method: str) -> None:
    """A request whose caller is not known is refused, even if the deployment lets anyone call."""
    world, run_id = failed()
    in_the_cloud(world)
    path = f"/runs/{run_id}" if method == "GET" else f"/runs/{run_id}/retry"
    answered = call(world, method, path, headers={})
    assert (answered.status, answered.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert world.bus.take_all("steps") == []


def test_on_a_laptop_a_token_says_nothing() -> None:
    """Where no one has verified a token, it names no one."""
    world, run_id = failed()
    forged = {"Authorization": token(email="boss@example.com", email_verified=True)}
    call(world, "POST", f"/runs/{run_id}/retry", headers=forged)
    world.settle_down()
    assert [one.actor for one in world.run(run_id).changes] == [UNNAMED]


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"authorization": token(email="a@b.c", email_verified=True)}, "a@b.c"),
        ({"authorization": token(email="a@b.c", email_verified=True).replace("Bearer", "bearer")}, "a@b.c"),
        # Cloud Run has verified only this one, so the other may have been forged.
        (
            {
                "x-serverless-authorization": token(email="a@b.c", email_verified=True),
                "authorization": token(email="boss@b.c", email_verified=True),
            },
            "a@b.c",
        ),
        ({"x-serverless-authorization": "Basic x", "authorization": token(email="a@b.c", email_verified=True)}, ""),
        ({"authorization": token(email="a@b.c", email_verified=False)}, ""),
        ({"authorization": token(sub="117")}, "account 117"),
        ({"authorization": token(email=7, email_verified=True)}, ""),
        ({"authorization": token(email="\x1b[31mred@b.c", email_verified=True)}, ""),
        ({"authorization": token(email="a" * (MAX_ACTOR + 1), email_verified=True)}, ""),
        ({"authorization": token()}, ""),
        ({"authorization": "Bearer ya29.opaque"}, ""),
        ({"authorization": "Bearer a.!!!.c"}, ""),
        ({"authorization": "Bearer a.W10.c"}, ""),
        ({"authorization": f"Bearer a.{'W1' * 20_000}.c"}, ""),
        ({"authorization": "Basic YTpi"}, ""),
        ({"authorization": ""}, ""),
        ({}, ""),
    ],
)
def test_who_calls(headers: dict[str, str], caller: str) -> None:
    """Only a token that names someone counts, and of two only the one that Cloud Run looks at."""
    assert verified_caller(headers) == caller


def test_cloud_run_is_known_by_its_variable() -> None:
    """Callers are verified on Cloud Run alone."""
    assert not Settings().verifies_callers
    assert not from_environment({}).verifies_callers
    assert from_environment({"K_SERVICE": "atom-start"}).verifies_callers


def test_the_function_itself_answers(functions: Deployed, world: World, run_id: str) -> None:
    """The deployed function takes the path from its server, and events and starts as before."""
    client = create_app("start", str(FUNCTIONS / "start" / "main.py")).test_client()  # type: ignore[no-untyped-call]  # it has no types
    functions.on(world.services)
    shown = client.get(f"/runs/{run_id}?x=1")
    assert (shown.status_code, shown.get_json()["state"]) == (200, "RUNNING")
    assert client.post(f"/runs/{run_id}/cancel").status_code == 202
    assert client.post("/", json={"definition": "steps: [{id: a, task: {url: u}}]"}).status_code == 202
    assert client.post("/runsaway", json={"definition": "steps: [{id: a, task: {url: u}}]"}).status_code == 202
    assert client.get("/").status_code == 405


def test_a_step_is_marked() -> None:
    """A mark is accepted, and carried out by a dispatcher."""
    world, run_id = failed()
    mark = {"step": "s1", "as": "succeeded", "reason": "done by hand", "retries": 0}
    accepted = call(world, "POST", f"/runs/{run_id}/mark", mark)
    assert (accepted.status, accepted.body["command"]) == (202, "mark")
    world.settle_down()
    run = world.run_to_end(run_id)
    assert run.state is RunState.SUCCEEDED
    assert [(one.actor, one.what, one.why) for one in run.changes] == [(UNNAMED, "mark s1 succeeded", "done by hand")]
    assert world.submissions() == ["s0/1", "s1/1", "s2/1"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (None, 400, "a mark's field step is missing; it must be the id"),
        ({"step": "s1"}, 400, "a mark's field as is missing; it must be"),
        ({"step": "s1", "as": "failed"}, 400, "a step can be marked as succeeded or skipped, not 'failed'"),
        ({"step": "s1", "as": "skipped", "now": True}, 400, 'a mark has no field "now"'),
        ({"step": "s1", "as": "succeeded", "outputs": [1]}, 400, "an event's outputs must be an object"),
        ({"step": "s1", "as": "succeeded", "outputs": {"n": 1}}, 409, "step s1 does not declare the output n"),
        ({"step": "s9", "as": "skipped"}, 409, "there is no step s9 in run"),
        ({"step": "s0", "as": "skipped"}, 409, "step s0 is already SUCCEEDED"),
        ({"step": "s1", "as": "skipped", "retries": 3}, 409, "the request says that `retries` is 3"),
    ],
)
def test_a_mark_that_is_impossible_is_refused(body: dict[str, Any] | None, status: int, error: str) -> None:
    """The answer says why, and nothing is published."""
    world, run_id = failed()
    answered = call(world, "POST", f"/runs/{run_id}/mark", body)
    assert answered.status == status
    assert answered.body["error"].startswith(error)
    assert not world.bus.take_all("steps")


def test_outputs_up_to_their_limit_are_accepted_as_ascii() -> None:
    """Most programs escape other characters, which then take three times as much of the body."""
    world = World(script(a={"always_fail": True}))
    run_id = world.start(definition({"a": []}, a={"outputs": {"name": "text"}}))
    world.run_to_end(run_id)
    mark = {"step": "a", "as": "succeeded", "outputs": {"name": "\u00e9" * (MAX_OUTPUTS_BYTES // 2 - 10)}}
    assert call(world, "POST", f"/runs/{run_id}/mark", mark).status == 202
    world.settle_down()
    assert world.run_to_end(run_id).state is RunState.SUCCEEDED
