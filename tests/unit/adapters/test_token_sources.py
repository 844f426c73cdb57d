"""Tokens of every source, verified by the Task Runner that receives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.id_tokens import fetch_id_token
from atom_workflows.adapters.task_runner.tokens import FixedToken, audience_of, tokens_for
from atom_workflows.errors import JobRefused, TaskRunnerUnavailable
from atom_workflows.settings import NO_TOKEN, Settings
from contract.canned import HOUR
from unit.adapters.servers import AUDIENCE, Identity, Server, running

JOB = {"job_name": "load", "scaleTier": "BASIC", "labels": {"workflow": "daily", "type": "step"}}
FIXED = "fixed"


def client(url: str, *, token: str | None = None, audience: str = AUDIENCE, also: str = "") -> TaskRunnerClient:
    """Return a client of a deployment with its Task Runner at the address."""
    settings = Settings(
        task_runner_url=url,
        task_runner_token=token,
        task_runner_audience=audience,
        allowed_task_runner_urls=(also,) if also else (),
    )
    return TaskRunnerClient(tokens_for(settings), submit_timeout_s=60, status_timeout_s=60)


def submit(one: TaskRunnerClient, url: str) -> str:
    """Submit a job; its state."""
    return one.submit(url, JOB, idempotency_key="run/load/1", timeout=HOUR).state


def use(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Name the credential file."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


def test_the_metadata_servers_token_is_accepted(metadata_server: Identity, task_runner: Server) -> None:
    """On Google Cloud the function's own identity is used."""
    one = client(task_runner.url)
    job = one.submit(task_runner.url, JOB, idempotency_key="run/load/1", timeout=HOUR)
    assert one.status(task_runner.url, job.job_id).state == "SUCCEEDED"
    assert metadata_server.made("metadata") == 1


@pytest.mark.parametrize("how", ["key", "impersonation"])
def test_a_files_token_is_accepted(
    how: str, identity: Identity, task_runner: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key or an impersonated account counts more than the metadata server."""
    use(monkeypatch, identity.file(tmp_path, f"_{how}"))
    assert submit(client(task_runner.url), task_runner.url) == "SUCCEEDED"
    assert identity.made(how) == 1


def test_the_fixed_token_goes_before_all_others(metadata_server: Identity, task_runner: Server) -> None:
    """WORKFLOW_TR_AUTH_JWT is sent without its line break, and nothing is fetched."""
    fixed = fetch_id_token(AUDIENCE).text
    metadata_server.reset()
    assert submit(client(task_runner.url, token=f"{fixed}\n"), task_runner.url) == "SUCCEEDED"
    assert metadata_server.made("metadata") == 0


def test_a_fixed_token_is_the_same_everywhere() -> None:
    """The configured token is sent to every address."""
    assert FixedToken("abc").token_for("https://x") == FixedToken("abc").token_for("https://y") == "abc"


def test_none_sends_no_token(metadata_server: Identity, task_runner: Server, tmp_path: Path) -> None:
    """With `none` no token is sent, and a refusal explains that."""
    with running(tmp_path, "atom_emulator.task_runner") as open_to_all:
        assert submit(client(open_to_all, token=NO_TOKEN), open_to_all) == "SUCCEEDED"
    with pytest.raises(JobRefused, match="HTTP 403: no token was sent, because WORKFLOW_TR_AUTH_JWT is none"):
        submit(client(task_runner.url, token=NO_TOKEN), task_runner.url)
    assert metadata_server.made("metadata") == 0


def test_twenty_calls_take_one_token(
    identity: Identity, task_runner: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is fetched once an hour, not once a call."""
    use(monkeypatch, identity.file(tmp_path, "_key"))
    one = client(task_runner.url)
    assert {submit(one, task_runner.url) for _ in range(20)} == {"SUCCEEDED"}
    assert identity.made("key") == 1


def test_the_audience_is_scheme_and_host(metadata_server: Identity, task_runner: Server) -> None:
    """By default a token's audience is the Task Runner's address without its path."""
    with pytest.raises(JobRefused, match="HTTP 404"):
        submit(client(f"{task_runner.url}/tr/", audience=""), f"{task_runner.url}/tr")
    assert metadata_server.made(f"metadata {task_runner.url}") == 1
    assert audience_of("https://user:word@Runner-1.run.app:8443/path?q") == "https://runner-1.run.app:8443"


def test_two_audiences_take_two_tokens(metadata_server: Identity, task_runner: Server, tmp_path: Path) -> None:
    """The audience that is set is used for the default Task Runner only."""
    with running(tmp_path, "atom_emulator.task_runner") as other:
        one = client(task_runner.url, also=other)
        assert [submit(one, url) for url in (task_runner.url, other, task_runner.url, other)] == ["SUCCEEDED"] * 4
        assert metadata_server.made(f"metadata {other}") == 1
    assert metadata_server.made(f"metadata {AUDIENCE}") == 1


@pytest.mark.parametrize("fault", ["expired", "wrong-audience", "foreign-key"])
def test_a_refused_token_is_replaced_once(fault: str, metadata_server: Identity, task_runner: Server) -> None:
    """After a 401 another token is fetched and sent once."""
    metadata_server.faults(fault)
    one = client(task_runner.url)
    assert submit(one, task_runner.url) == submit(one, task_runner.url) == "SUCCEEDED"
    assert metadata_server.made("metadata") == 2


def test_a_token_that_is_refused_again_fails_the_job(metadata_server: Identity, task_runner: Server) -> None:
    """A second 401 fails the job, with the audience in the message."""
    metadata_server.faults(*["wrong-audience"] * 9)
    one = client(task_runner.url)
    for _ in range(3):
        with pytest.raises(
            JobRefused, match=rf"HTTP 401: .*{AUDIENCE}.*WORKFLOW_TR_AUDIENCE.*wrong audience"
        ) as caught:
            submit(one, task_runner.url)
        assert caught.value.status == 401
    assert metadata_server.made("metadata") == 2


def test_an_account_that_may_not_call_is_named(metadata_server: Identity, tmp_path: Path) -> None:
    """After a 403 the role is named, and no other token is fetched."""
    options = ["--verify-tokens", f"{metadata_server.url}/certs", "--audience", AUDIENCE, "--invoker", "a@b.test"]
    with running(tmp_path, "atom_emulator.task_runner", *options) as url:
        one = client(url)
        with pytest.raises(JobRefused, match=r"HTTP 403: functions@\S+ is not allowed to call it.*roles/run\.invoker"):
            submit(one, url)
        with pytest.raises(
            TaskRunnerUnavailable, match=r"HTTP 403: functions@\S+ is not allowed to call it.*roles/run\.invoker"
        ):
            one.status(url, "7")
    assert metadata_server.made("metadata") == 1


def test_no_token_for_an_address_that_is_not_allowed(metadata_server: Identity, task_runner: Server) -> None:
    """No token is fetched for an address that is not allowed."""
    one = client("https://task-runner.test")
    with pytest.raises(JobRefused, match="WORKFLOW_TASK_RUNNER_ALLOW"):
        submit(one, task_runner.url)
    with pytest.raises(TaskRunnerUnavailable, match="WORKFLOW_TASK_RUNNER_ALLOW"):
        one.status(task_runner.url, "7")
    with pytest.raises(JobRefused, match="WORKFLOW_TASK_RUNNER_ALLOW"):
        submit(client("https://task-runner.test", token=FIXED), task_runner.url)
    assert metadata_server.made("metadata") == 0
    assert task_runner.read("/_counters") == {}
