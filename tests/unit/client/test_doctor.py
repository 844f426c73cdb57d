"""What `doctor` makes of Firestore, dead letters, functions and the Task Runner, and of what cannot be checked."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from socket import socket

import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_client.doctor.findings import Finding, Verdict, ok, run_check, summary, unknown, wrong
from atom_client.doctor.firestore import letters_findings, state_findings
from atom_client.doctor.http import function_findings, task_runner_findings
from atom_client.doctor.pubsub import Expected
from atom_client.views.dead_letters import Desk
from atom_emulator.testing.world import World
from atom_workflows.documents import SCHEMAS, run_path, step_path
from atom_workflows.errors import BusUnavailable, StoreError, StoreUnavailable
from atom_workflows.messages.dead_letters import GivenUp, dead_letter_message
from atom_workflows.ports import Update
from atom_workflows.settings import Settings
from contract.canned import Asked, answer, canned
from support.letters import MemoryDeadLetters
from support.no_cloud import NO_CLOUD
from support.workflows import chain
from unit.client.test_doctor_messages import DEPLOYED, LOCAL, There

FIX = "resume the scheduler"
UNKNOWN_JOB = b'{"error": "no such job"}'


def state(world: World) -> dict[str, Finding]:
    """Return the findings about a world by their subject."""
    return {one.about: one for one in state_findings(world.services, tick_fix=FIX)}


def test_a_platform_without_runs_is_well() -> None:
    """A platform without runs is well."""
    found = state(World())
    assert {one.verdict for one in found.values()} == {Verdict.OK}
    assert "no runs yet" in found["Firestore"].detail


def test_a_run_that_is_looked_after_is_well() -> None:
    """A healthy platform shows the newest run and the end of the last burst."""
    world = World("default: {duration: 1000}")
    run_id = world.start(chain(2))
    world.settle_down()
    for _ in range(10):
        world.clock.move(timedelta(minutes=1))
        world.tick()
    found = state(world)
    assert {one.verdict for one in found.values()} == {Verdict.OK}
    assert run_id in found["Firestore"].detail
    assert "its last burst was due to end" in found["checker"].detail


def test_no_checker_comes() -> None:
    """Steps that were not polled in time are reported, with each run's doctor command."""
    world = World("default: {duration: 1000}")
    run_id = world.start(chain(2))
    world.settle_down()
    world.clock.move(timedelta(hours=20))
    found = state(world)
    assert (found["checker"].verdict, found["checker"].fix) == (Verdict.WRONG, FIX)
    assert (found["runs"].verdict, found["runs"].fix) == (Verdict.WRONG, f"atom-workflows runs doctor {run_id}")


def test_runs_of_a_newer_version_that_no_one_looks_at_are_reported() -> None:
    """Steps of a schema that this version does not read are wrong once they are overdue, and break no other check."""
    world = World("default: {duration: 1000}")
    run_id = world.start(chain(1))
    world.settle_down()
    newer = {"schema": SCHEMAS[-1] + 1}
    paths = [run_path(run_id), *(step_path(run_id, name) for name in world.steps(run_id))]
    world.store.inner.commit([Update(path=path, fields=newer) for path in paths])
    assert "newer runs" not in state(world)
    world.clock.move(timedelta(minutes=20))
    found = state(world)
    assert found["newer runs"].verdict is Verdict.WRONG
    assert f"documents with schema `{SCHEMAS[-1] + 1}` have been due since" in found["newer runs"].detail
    assert run_id in found["newer runs"].detail
    assert "written by a newer version" in found["Firestore"].detail
    assert found["checker"].verdict is Verdict.OK


def test_dead_letters_are_reported_and_left_where_they_are() -> None:
    """Dead letters are counted and shown with the newest reason, and stay."""
    world = World()
    desk = Desk(bus=world.bus, box=MemoryDeadLetters(bus=world.bus, clock=world.clock), project="demo")
    assert [one.verdict for one in letters_findings(desk)] == [Verdict.OK]
    event = GivenUp(
        topic="steps",
        event_id="1",
        data=b"{}",
        attributes={},
        published_at="",
        deliveries=10,
        error="StoreUnavailable",
        reason="Firestore did not answer",
    )
    world.bus.publish([dead_letter_message(event)])
    for _ in range(2):
        [found] = letters_findings(desk)
        assert (found.verdict, found.fix) == (Verdict.WRONG, "atom-workflows dead-letters list")
        assert "1 found" in found.detail
        assert "Firestore did not answer" in found.detail


@pytest.mark.parametrize(
    ("error", "verdict", "sentence"),
    [
        (StoreUnavailable("Firestore did not answer: PERMISSION_DENIED"), Verdict.UNKNOWN, "roles/datastore.user"),
        (BusUnavailable("Pub/Sub did not tell: PERMISSION_DENIED"), Verdict.UNKNOWN, "roles/pubsub"),
        (StoreUnavailable("no answer in time"), Verdict.UNKNOWN, "then try again"),
        (StoreError("The query requires an index"), Verdict.WRONG, "deploy again"),
        (StoreUnavailable("SERVICE_DISABLED"), Verdict.WRONG, "gcloud services enable firestore"),
    ],
)
def test_what_cannot_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, error: Exception, verdict: Verdict, sentence: str
) -> None:
    """A refused or unanswered look is unknown, and a missing thing is wrong."""
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)

    def look() -> Iterator[Finding]:
        yield ok("first", "is well")
        raise error

    first, second = run_check("Firestore", look)
    assert (first.verdict, second.verdict) == (Verdict.OK, verdict)
    assert sentence in second.detail


def test_a_defect_is_not_hidden() -> None:
    """An error of the program itself is raised."""

    def look() -> Iterator[Finding]:
        yield from ()
        raise KeyError("defect")

    with pytest.raises(KeyError):
        list(run_check("Firestore", look))


# -- functions -------------------------------------------------------------------------------------------------------


def of_functions(url: str, expected: Expected) -> list[Finding]:
    """Return the findings about functions that are all at one address."""
    there = There()
    for name in ("start", "steps", "tick"):
        there.change(name, endpoint=url)
    return list(function_findings(there, expected))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("401 Unauthorized", Verdict.OK),
        ("403 Forbidden", Verdict.OK),
        ("404 Not Found", Verdict.OK),
        ("200 OK", Verdict.WRONG),
        ("204 No Content", Verdict.WRONG),
        ("500 Internal Server Error", Verdict.WRONG),
    ],
)
def test_no_one_may_call_a_deployed_function(status: str, verdict: Verdict) -> None:
    """A function that accepts requests without a token is reported, with the fix."""
    with canned(lambda _asked, _connection: answer(b"", status)) as server:
        found = of_functions(server.url, DEPLOYED)
    assert {one.verdict for one in found} == {verdict}
    assert "Authorization" not in {name for asked in server.asked for name in asked.headers}
    if verdict is Verdict.WRONG:
        assert "remove-iam-policy-binding atom-dispatcher --project=acme-flow --region=europe-west1" in found[1].fix


def test_a_local_function_answers() -> None:
    """A local function is well if it answers anything."""
    with canned(lambda _asked, _connection: answer(b"", "204 No Content")) as server:
        assert {one.verdict for one in of_functions(server.url, LOCAL)} == {Verdict.OK}
        url = server.url
    assert {one.verdict for one in of_functions(url, LOCAL)} == {Verdict.WRONG}


# -- Task Runner -----------------------------------------------------------------------------------------------------


def jwt(audience: str) -> str:
    """Return a token that is issued for an audience."""
    parts = [{"alg": "none"}, {"aud": audience}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts) + ".x"


def closed(taken: str = "") -> Callable[[Asked, socket], bytes]:
    """Return a Task Runner that knows no job and accepts one token.

    The token is the given one, or one that is issued for its own address.
    """

    def respond(asked: Asked, _connection: socket) -> bytes:
        wanted = taken or jwt(f"http://{asked.headers['Host']}")
        if asked.headers.get("Authorization") != f"Bearer {wanted}":
            return answer(b"", "401 Unauthorized")
        return answer(UNKNOWN_JOB, "404 Not Found")

    return respond


def test_an_answer_that_may_be_a_proxys_is_no_proof() -> None:
    """A 404 that is not in the contract's form is reported."""
    with canned(lambda _asked, _connection: answer(b"404 page not found", "404 Not Found")) as server:
        found = list(task_runner_findings(server.url, with_token(LOCAL, "a-token-of-some-length")))
    assert [one.verdict for one in found] == [Verdict.OK, Verdict.WRONG]
    assert "not in the way that the contract specifies" in found[1].detail
    assert "docs/reference/task-runner.md" in found[1].fix


def with_token(expected: Expected, token: str) -> Expected:
    """Return a platform whose functions send that token."""
    return replace(expected, settings=Settings(project="acme-flow", task_runner_token=token))


def test_a_task_runner_that_takes_the_token() -> None:
    """A Task Runner is well that refuses requests without a token and accepts ours."""
    with canned(closed()) as server:
        found = list(task_runner_findings(server.url, with_token(DEPLOYED, jwt(server.url))))
    assert [(one.about, one.verdict) for one in found] == [("Task Runner", Verdict.OK), ("token", Verdict.OK)]
    assert f"issued for {server.url}" in found[1].detail


def test_a_token_for_another_audience() -> None:
    """The finding names both audiences and the setting, and never prints the token."""
    with canned(closed(jwt("https://other"))) as server:
        found = list(task_runner_findings(server.url, with_token(DEPLOYED, jwt("https://other"))))
    assert (found[1].verdict, found[1].fix) == (Verdict.WRONG, f"set WORKFLOW_TR_AUDIENCE={server.url}")
    assert "it was issued for https://other" in found[1].detail
    assert jwt("https://other") not in str(found)


def test_a_token_that_is_refused() -> None:
    """A token that is answered with 401 is reported."""
    with canned(closed("another")) as server:
        found = list(task_runner_findings(server.url, with_token(DEPLOYED, jwt(server.url))))
    assert found[1].verdict is Verdict.WRONG
    assert "WORKFLOW_TR_AUTH_JWT was not accepted" in found[1].detail


def test_no_token_can_be_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own login makes no ID token, so the functions' token is unknown."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    with canned(closed("x")) as server:
        found = list(task_runner_findings(server.url, DEPLOYED))
    assert (found[0].verdict, found[1].verdict) == (Verdict.OK, Verdict.UNKNOWN)
    assert "refuses calls without a token" in found[0].detail


def test_a_task_runner_that_is_away() -> None:
    """A Task Runner that does not answer is wrong on this machine, and unknown elsewhere."""
    with canned(lambda _asked, _connection: b"") as server:
        pass
    [here] = task_runner_findings(server.url, LOCAL)
    [there] = task_runner_findings(server.url, DEPLOYED)
    [nowhere] = task_runner_findings("", DEPLOYED)
    assert (here.verdict, there.verdict, nowhere.verdict) == (Verdict.WRONG, Verdict.UNKNOWN, Verdict.UNKNOWN)


def test_a_task_runner_that_fails() -> None:
    """A server error is wrong."""
    with canned(lambda _asked, _connection: answer(b"", "503 Service Unavailable")) as server:
        found = list(task_runner_findings(server.url, DEPLOYED))
    assert [one.verdict for one in found] == [Verdict.WRONG]


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_summary() -> None:
    """The summary counts what is wrong and what could not be checked."""
    assert summary([ok("a", "is well")]) == "Nothing is wrong."
    assert summary([wrong("a", "is broken", "repair it"), unknown("b", "?")]) == (
        "1 thing is wrong; 1 thing could not be checked."
    )


def test_a_finding_is_one_line() -> None:
    """A finding is one line without control characters."""
    line = wrong("a", "is\nvery\x1b[31m broken", "repair\nit").line()
    assert line == "wrong   a: is very broken. Fix: repair it"


@pytest.mark.parametrize("as_json", [True, False])
def test_no_one_is_logged_in(*, as_json: bool) -> None:
    """A missing login is the only finding, with the command that fixes it."""
    arguments = ["doctor", "--project=acme-flow", *(["--json"] if as_json else [])]
    result = CliRunner().invoke(cli, arguments, env=NO_CLOUD, catch_exceptions=False)
    assert result.exit_code == 1
    if as_json:
        printed: Mapping[str, object] = json.loads(result.stdout)
        assert printed["wrong"] == 1
    else:
        assert result.stdout.startswith("wrong   credentials: ")
        assert "Fix: gcloud auth application-default login\n1 thing is wrong." in result.stdout


def test_no_project_is_named() -> None:
    """Without a project the command exits with 2."""
    result = CliRunner().invoke(cli, ["doctor"], env=NO_CLOUD, catch_exceptions=False)
    assert (result.exit_code, "--project" in result.stderr) == (2, True)


def test_the_token_of_a_local_platform_is_no_ones_business() -> None:
    """A local Task Runner that wants a token which the shell lacks is not asked with one of Google's."""
    with canned(lambda _asked, _connection: answer(b"", "401 Unauthorized")) as server:
        found = list(task_runner_findings(server.url, LOCAL))
    assert [one.verdict for one in found] == [Verdict.OK, Verdict.UNKNOWN]
    assert "only the functions of the local platform do" in found[1].detail
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in found[1].line()
