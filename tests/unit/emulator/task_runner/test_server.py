"""The server process, spoken to over HTTP with an ordinary client."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from atom_emulator.job_hints import write_address
from atom_workflows.messages.internal import JobEnded, read_job_ended
from contract.canned import answer, canned
from support.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = {"job_name": "load", "scaleTier": "BASIC", "labels": {"workflow": "daily", "type": "step"}}
SCRIPT = """
rules:
  - {step: flaky, submit_errors: [{status: 429, retry_after: 2}, drop, html, empty, not-json, wrong-shape]}
  - {step: slow, delay: 0.05}
  - {step: long, duration: 1000, stop: {after: 0.05}, logsUrl: "https://logs.test/7"}
  - {step: reported, duration: 0.05, notifies: true}
"""


class Server:
    """The mock as a child process."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "calls.jsonl"
        self.ready_file = folder / "ready.json"
        self.hints = folder / "hints.json"
        (folder / "script.yaml").write_text(SCRIPT)
        options: list[str | Path] = [
            "--ready-file",
            self.ready_file,
            "--log",
            self.log,
            "--script",
            folder / "script.yaml",
            "--hints",
            self.hints,
        ]
        self.process = subprocess.Popen([sys.executable, "-m", "atom_emulator.task_runner", *options])
        deadline = time.monotonic() + 60
        while not self.ready_file.exists():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
        self.port = json.loads(self.ready_file.read_text())["port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def post(self, **fields: Any) -> requests.Response:
        """Submit a job."""
        headers = {"Authorization": "Bearer s3cret", "Idempotency-Key": "r/load/1"}
        return requests.post(f"{self.url}/job", json=JOB | fields, headers=headers, timeout=60)

    def delete(self, job_id: str) -> requests.Response:
        """Ask for a job to be stopped."""
        return requests.delete(f"{self.url}/job", params={"job_id": job_id}, timeout=60)

    def state(self, job_id: str) -> str:
        """Return the state of a job."""
        answer = requests.get(f"{self.url}/jobstatus", params={"job_id": job_id}, timeout=60)
        return str(answer.json()["job"]["state"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one server for this file's tests, and stop it by SIGTERM."""
    server = Server(tmp_path_factory.mktemp("task-runner"))
    yield server
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


@pytest.fixture
def server(running: Server) -> Server:
    """Give the server as if just started."""
    requests.post(f"{running.url}/_reset", timeout=60)
    return running


def test_a_job_is_answered_in_the_shape_of_the_contract(server: Server) -> None:
    """Both calls answer {"job": {state, jobId, message}}."""
    submitted = server.post().json()
    job_id = submitted["job"]["jobId"]
    status = requests.get(f"{server.url}/jobstatus", params={"job_id": job_id}, timeout=60).json()
    assert submitted == status == {"job": {"state": "SUCCEEDED", "jobId": job_id, "message": ""}}


def test_a_job_is_stopped_by_delete(server: Server) -> None:
    """DELETE answers with the job, which then ends; an unknown job is 404 in the contract's form."""
    job_id = server.post(job_name="long").json()["job"]["jobId"]
    stopped = server.delete(job_id)
    job = {"state": "CANCELLING", "jobId": job_id, "message": "", "logsUrl": "https://logs.test/7"}
    assert (stopped.status_code, stopped.json()) == (200, {"job": job})
    eventually(lambda: server.state(job_id) == "CANCELLED", within_s=60, what="the job's end")
    unknown = server.delete("job-x")
    assert (unknown.status_code, unknown.json()) == (404, {"message": "there is no job job-x"})
    calls = [json.loads(line) for line in requests.get(f"{server.url}/_log", timeout=60).text.splitlines()]
    of_stops = [(call["status"], call["state"], call["job_id"]) for call in calls if call["call"] == "stop"]
    assert of_stops == [(200, "CANCELLING", job_id), (404, "", "job-x")]


def test_ends_are_published_when_they_come(server: Server) -> None:
    """The hint about a job is published in Pub/Sub's own form, without another call to the server."""
    with canned(lambda _asked, _connection: answer(b'{"messageIds": ["1"]}')) as pubsub:
        write_address(server.hints, pubsub_url=pubsub.url, project="p")
        assert server.post(job_name="reported").json()["job"]["notifies"] is True
        eventually(lambda: pubsub.asked, within_s=60, what="the hint")
    [asked] = pubsub.asked
    assert (asked.method, asked.target) == ("POST", "/v1/projects/p/topics/jobs:publish")
    [message] = json.loads(asked.body)["messages"]
    assert read_job_ended(json.loads(base64.b64decode(message["data"]))) == JobEnded(idempotency_key="r/load/1")
    assert message["attributes"] == {"type": "job.ended"}


def test_faults_are_seen_by_the_client(server: Server) -> None:
    """Statuses, Retry-After, dropped connections and every kind of garbage reach the client."""
    refused = server.post(job_name="flaky")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")
    with pytest.raises(requests.ConnectionError):
        server.post(job_name="flaky")
    html, empty, not_json, wrong_shape, fine = [server.post(job_name="flaky") for _ in range(5)]
    assert html.headers["Content-Type"] == "text/html"
    assert empty.content == b""
    with pytest.raises(requests.JSONDecodeError):
        not_json.json()
    assert wrong_shape.json()["job"] == "started"
    assert fine.json()["job"]["state"] == "SUCCEEDED"


def test_the_log_shows_the_order_and_never_the_token(server: Server) -> None:
    """Each call is logged when it is answered, without its token."""
    job_id = server.post().json()["job"]["jobId"]
    requests.get(f"{server.url}/jobstatus?job_id={job_id}", timeout=60)
    text = requests.get(f"{server.url}/_log", timeout=60).text
    submit, status = map(json.loads, text.splitlines())
    assert (submit["call"], submit["job_name"], submit["labels"]) == ("submit", "load", JOB["labels"])
    assert (submit["idempotency_key"], submit["authorized"], submit["status"]) == ("r/load/1", True, 200)
    assert (status["call"], status["job_id"], status["state"]) == ("status", job_id, "SUCCEEDED")
    assert status["seq"] == submit["seq"] + 1
    assert server.log.read_text().endswith(text)
    assert "s3cret" not in server.log.read_text()


def test_counters_count_calls_and_outcomes(server: Server) -> None:
    """The counters show how many calls came and how they were answered."""
    server.post()
    server.post(job_name="")
    counters = requests.get(f"{server.url}/_counters", timeout=60).json()
    assert counters == {"submit": 2, "submit 200": 1, "submit 400": 1}


def test_a_script_can_be_put_and_is_checked(server: Server) -> None:
    """PUT /_script replaces the rules, unless the new script is invalid."""
    old = requests.put(f"{server.url}/_script", data=SCRIPT, timeout=60)
    put = requests.put(f"{server.url}/_script", json={"default": {"always_fail": True}}, timeout=60)
    refused = requests.put(f"{server.url}/_script", data="default: 3", timeout=60)
    assert (old.status_code, put.status_code, refused.status_code) == (200, 200, 400)
    assert server.post().json()["job"]["state"] == "FAILED"
    requests.put(f"{server.url}/_script", data=SCRIPT, timeout=60)


def test_an_unknown_path_is_404(server: Server) -> None:
    """Anything but the contract and the endpoints for tests is not found."""
    assert requests.get(f"{server.url}/jobs", timeout=60).status_code == 404


def _exchange(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for byte in request:
            connection.send(bytes([byte]))
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def _post(name: str, *headers: str) -> bytes:
    body = json.dumps(JOB | {"job_name": name}).encode()
    head = "\r\n".join(["POST /job HTTP/1.1", *headers, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


def test_pipelined_requests_in_pieces_are_answered_in_order(server: Server) -> None:
    """A delayed answer comes before those of later requests."""
    answers = _exchange(server, _post("slow") + _post("load", "Connection: close"))
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b"-000") < answers.rindex(b"-000")
    lines = requests.get(f"{server.url}/_log", timeout=60).text.splitlines()
    assert [json.loads(line)["job_name"] for line in lines] == ["slow", "load"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /job HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /job HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /job HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
    ],
)
def test_what_is_not_http_as_served_is_refused(server: Server, head: bytes, status: int) -> None:
    """Other HTTP gets its status and a closed connection."""
    assert _exchange(server, head).startswith(b"HTTP/1.1 %d" % status)


def test_an_invalid_script_stops_the_start(tmp_path: Path) -> None:
    """An invalid script ends the command with every problem."""
    script = tmp_path / "script.json"
    script.write_text('{"rules": [{"speed": 3}]}')
    command = [sys.executable, "-m", "atom_emulator.task_runner", "--script", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert "rules[0].speed: unknown" in done.stderr
