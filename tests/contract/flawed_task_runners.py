"""A Task Runner that follows the contract, and others that each break one of its rules."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Response = tuple[int, Any]
"""The status, and the body: JSON, or a string that is sent as it is."""

_END: Final = {"atom-check-fails": "FAILED", "atom-check-succeeds": "SUCCEEDED"}


class GoodTaskRunner:
    """Keeps jobs in memory. They end after their first status call, the one that is to be stopped only by that."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:
        """Answer a submission."""
        with self.lock:
            if key not in self.by_key:
                self.by_key[key] = self.start(body)
        return self.report(self.by_key[key])

    def start(self, body: Mapping[str, Any]) -> str:
        """Start a job and return its id."""
        job_id = f"job-{next(self.numbers)}"
        self.jobs[job_id] = {"jobId": job_id, "state": "RUNNING", "end": _END.get(body["job_name"], "")}
        return job_id

    def status(self, job_id: str) -> Response:
        """Answer a status call."""
        if job_id not in self.jobs:
            return self.unknown(job_id)
        job = self.jobs[job_id]
        job["state"] = job["end"] or job["state"]
        return self.report(job_id)

    def stop(self, job_id: str) -> Response:
        """Answer a request to stop a job."""
        if job_id not in self.jobs:
            return self.unknown(job_id)
        job = self.jobs[job_id]
        if job["state"] == "RUNNING":
            job["end"] = "CANCELLED"
        return self.report(job_id)

    def look_up(self, key: str) -> Response:
        """Answer the lookup of a key."""
        if key not in self.by_key:
            return 200, {"key": key, "jobId": None}
        status, body = self.report(self.by_key[key])
        return status, {"key": key, **body}

    def report(self, job_id: str) -> Response:
        """Answer with a job."""
        job = self.jobs[job_id]
        extra = {"reason": "EXIT_3"} if job["state"] == "FAILED" else {"outputs": {"rows": 3}}
        return 200, {"job": {"jobId": job_id, "state": job["state"], "logsUrl": "https://logs.example/1", **extra}}

    def unknown(self, job_id: str) -> Response:
        """Answer that there is no such job."""
        return 404, {"message": f"no job {job_id}"}


class RunsAtOnce(GoodTaskRunner):
    """Answers each submission with the end of its job, which has no id."""

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:
        """See `GoodTaskRunner.submit`."""
        with self.lock:
            self.by_key.setdefault(key, _END.get(body["job_name"], "") or "SUCCEEDED")
        return 200, {"job": {"state": self.by_key[key]}}


class CannotStart(GoodTaskRunner):
    """Answers a job that cannot start as it is told to, a status call about that job likewise."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__()
        self.response = (status, body)

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:
        """See `GoodTaskRunner.submit`."""
        return self.response if key.endswith("/cannot-start/1") else super().submit(key, body)

    def status(self, job_id: str) -> Response:
        """See `GoodTaskRunner.status`."""
        return self.response if job_id == "impossible" else super().status(job_id)


class IgnoresKeys(GoodTaskRunner):
    """Starts a job for every submission."""

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:  # noqa: ARG002 (the flaw)
        """See `GoodTaskRunner.submit`."""
        return self.report(self.start(body))


class RacesOnKeys(GoodTaskRunner):
    """Looks a key up before it starts a job, and records it after that."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:
        """See `GoodTaskRunner.submit`."""
        is_known = key in self.by_key
        if key.endswith("/at-once/1"):
            self.both.wait(10)
        if not is_known:
            with self.lock:
                self.by_key[key] = self.start(body)
                return self.report(self.by_key[key])
        return self.report(self.by_key[key])


class OneJobForAll(GoodTaskRunner):
    """Answers every submission with the same job."""

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:  # noqa: ARG002 (the flaw)
        """See `GoodTaskRunner.submit`."""
        return super().submit("the only key", body)


class ForgetsKeys(GoodTaskRunner):
    """Forgets the key of a job that has ended."""

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:
        """See `GoodTaskRunner.submit`."""
        known = self.by_key.get(key, "")
        if known and self.jobs[known]["state"] != "RUNNING":
            del self.by_key[key]
        return super().submit(key, body)


class ForgetsJobs(GoodTaskRunner):
    """Reports the end of a job once, and then does not know it."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: set[str] = set()

    def status(self, job_id: str) -> Response:
        """See `GoodTaskRunner.status`."""
        if job_id in self.reported:
            return self.unknown(job_id)
        self.reported.add(job_id)
        return super().status(job_id)


class SaysDone(GoodTaskRunner):
    """Reports success with a word of its own."""

    def report(self, job_id: str) -> Response:
        """See `GoodTaskRunner.report`."""
        status, body = super().report(job_id)
        if body["job"]["state"] == "SUCCEEDED":
            body["job"]["state"] = "DONE"
        return status, body


class KnowsEveryJob(GoodTaskRunner):
    """Reports a job that was never submitted as running."""

    def unknown(self, job_id: str) -> Response:
        """See `GoodTaskRunner.unknown`."""
        return 200, {"job": {"jobId": job_id, "state": "RUNNING"}}


class HasPages(GoodTaskRunner):
    """Answers with a web page that there is no such job."""

    def unknown(self, job_id: str) -> Response:  # noqa: ARG002 (the flaw)
        """See `GoodTaskRunner.unknown`."""
        return 404, "<html><body>Not Found</body></html>"


class SucceedsAlways(GoodTaskRunner):
    """Reports every job that has ended as a success."""

    def start(self, body: Mapping[str, Any]) -> str:
        """See `GoodTaskRunner.start`."""
        job_id = super().start(body)
        self.jobs[job_id]["end"] = "SUCCEEDED"
        return job_id


class EndsFirst(SucceedsAlways):
    """Runs jobs that have always just succeeded when they are to be stopped."""

    def stop(self, job_id: str) -> Response:
        """See `GoodTaskRunner.stop`."""
        return self.report(job_id) if job_id in self.jobs else self.unknown(job_id)


class NeverStops(GoodTaskRunner):
    """Accepts a request to stop a job, and lets it run."""

    def stop(self, job_id: str) -> Response:
        """See `GoodTaskRunner.stop`."""
        return self.report(job_id) if job_id in self.jobs else self.unknown(job_id)


class DeniesRunningJobs(GoodTaskRunner):
    """Says of a running job that is to be stopped that there is none."""

    def stop(self, job_id: str) -> Response:
        """See `GoodTaskRunner.stop`."""
        return self.unknown(job_id)


class StopsOnce(GoodTaskRunner):
    """Fails if a job that has ended is to be stopped."""

    def stop(self, job_id: str) -> Response:
        """See `GoodTaskRunner.stop`."""
        if job_id in self.jobs and self.jobs[job_id]["state"] != "RUNNING":
            return 500, {"message": "it is not running"}
        return super().stop(job_id)


class StopsLater(GoodTaskRunner):
    """Asks to come again with the first request to stop a job. The contract allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def stop(self, job_id: str) -> Response:
        """See `GoodTaskRunner.stop`."""
        if job_id in self.jobs and job_id not in self.asked:
            self.asked.add(job_id)
            return 503, {"message": "it has not started yet"}
        return super().stop(job_id)


class CannotLookUp(GoodTaskRunner):
    """Does not know the parameter, and so looks for a job without an id. The contract allows it."""

    def look_up(self, key: str) -> Response:  # noqa: ARG002 (it is ignored)
        """See `GoodTaskRunner.look_up`."""
        return self.status("")


class HasNoNewJob(CannotLookUp):
    """Answers with an empty id, but without the key. That may be its answer to any call."""

    def look_up(self, key: str) -> Response:  # noqa: ARG002 (see above)
        """See `GoodTaskRunner.look_up`."""
        return 200, {"jobId": None}


class ForgetsKeysThatEnd(GoodTaskRunner):
    """Finds jobs by their keys only while they run. The contract allows it."""

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        runs = key in self.by_key and self.jobs[self.by_key[key]]["state"] == "RUNNING"
        return super().look_up(key) if runs else (200, {"key": key, "jobId": None})


class EndsSoon(ForgetsKeysThatEnd):
    """Runs each job so briefly that it has ended before it can be looked up. The contract allows it."""

    def start(self, body: Mapping[str, Any]) -> str:
        """See `GoodTaskRunner.start`."""
        job_id = super().start(body)
        self.jobs[job_id]["end"] = self.jobs[job_id]["end"] or "SUCCEEDED"
        return job_id

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        self.status(self.by_key.get(key, ""))
        return super().look_up(key)


class ListsLater(GoodTaskRunner):
    """Finds a job by its key only when asked again. The contract allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        if key in self.asked:
            return super().look_up(key)
        self.asked.add(key)
        return 200, {"key": key, "jobId": None}


class TakesKeys(GoodTaskRunner):
    """Takes each key that it looks up and does not know, so that it never starts a job. The contract allows it."""

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        if key not in self.by_key:
            self.by_key[key] = self.start({"job_name": ""})
            self.jobs[self.by_key[key]] |= {"state": "CANCELLED", "end": "CANCELLED"}
        return super().look_up(key)


class StartsWhatIsLookedUp(GoodTaskRunner):
    """Starts a job for each key that it looks up."""

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        self.submit(key, {"job_name": ""})
        return super().look_up(key)


class FindsNoKey(GoodTaskRunner):
    """Says of every key that it has no job."""

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        return 200, {"key": key, "jobId": None}


class FindsTheLastJob(GoodTaskRunner):
    """Answers the lookup of an unknown key with the last job that was started."""

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        return (
            super().look_up(key) if key in self.by_key else (200, {"key": key, **self.report(list(self.jobs)[-1])[1]})
        )


class MixesKeysUp(GoodTaskRunner):
    """Answers the lookup of a key with the first job of all."""

    def look_up(self, key: str) -> Response:
        """See `GoodTaskRunner.look_up`."""
        return 200, {"key": key, **self.report(next(iter(self.jobs)))[1]}


class FailsOnLookup(GoodTaskRunner):
    """Fails if a key is looked up."""

    def look_up(self, key: str) -> Response:  # noqa: ARG002 (the flaw)
        """See `GoodTaskRunner.look_up`."""
        return 500, {"message": "'job_id'"}


class ChangesItsMind(GoodTaskRunner):
    """Reports a job that has ended as running again."""

    def status(self, job_id: str) -> Response:
        """See `GoodTaskRunner.status`."""
        if job_id in self.jobs and self.jobs[job_id]["state"] == "SUCCEEDED":
            self.jobs[job_id] |= {"state": "RUNNING", "end": ""}
        return super().status(job_id)


class MixesJobsUp(GoodTaskRunner):
    """Answers a status call with another job."""

    def status(self, job_id: str) -> Response:
        """See `GoodTaskRunner.status`."""
        status, body = super().status(job_id)
        if "job" in body:
            body["job"]["jobId"] = f"{job_id}0"
        return status, body


class ReturnsAList(GoodTaskRunner):
    """Returns outputs that are no object."""

    def report(self, job_id: str) -> Response:
        """See `GoodTaskRunner.report`."""
        status, body = super().report(job_id)
        return status, {"job": body["job"] | {"outputs": [1, 2]}}


class AnswersWithoutAJob(GoodTaskRunner):
    """Accepts a submission without saying which job it started."""

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:
        """See `GoodTaskRunner.submit`."""
        super().submit(key, body)
        return 200, {"ok": True}


class MisspellsTheId(GoodTaskRunner):
    """Names the job with a field that the contract does not have."""

    def report(self, job_id: str) -> Response:
        """See `GoodTaskRunner.report`."""
        status, body = super().report(job_id)
        return status, {"job": {"job_id": job_id, "state": body["job"]["state"]}}


class KnowsNoJob(GoodTaskRunner):
    """Does not know the jobs that it has accepted."""

    def status(self, job_id: str) -> Response:
        """See `GoodTaskRunner.status`."""
        return self.unknown(job_id)


class FailsOnStatus(GoodTaskRunner):
    """Answers every status call with an error."""

    def status(self, job_id: str) -> Response:  # noqa: ARG002 (the flaw)
        """See `GoodTaskRunner.status`."""
        return 500, {"message": "internal error"}


class ControlsTheTerminal(GoodTaskRunner):
    """Sends what a terminal would obey, in every field."""

    signs: Final = "\x1b[2J\x1b]0;title\x07\x9b2J\u202e\r\nok  \x00"

    def report(self, job_id: str) -> Response:
        """Answer with control characters."""
        status, answer = super().report(job_id)
        odd = dict.fromkeys(("message", "reason"), self.signs) | {"outputs": {self.signs: self.signs}}
        return status, {"job": {**answer["job"], **odd, "logsUrl": f"https://logs.example/{self.signs}"}}


class HangsOnKeys(GoodTaskRunner):
    """Does not answer while a key is being submitted for the second time, until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging = threading.Event()
        self.released = threading.Event()

    def submit(self, key: str, body: Mapping[str, Any]) -> Response:
        """Hang at the rule about two submissions at once."""
        if "/at-once/" in key:
            self.hanging.set()
            self.released.wait()
        return super().submit(key, body)


class _Handler(BaseHTTPRequestHandler):
    """Passes requests on to the Task Runner of the server.

    Each connection serves one request, so that no thread is left waiting for another after the test.
    """

    task_runner: GoodTaskRunner
    token: str

    def do_POST(self) -> None:
        """Answer `POST /job`."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(lambda: self.task_runner.submit(self.headers["Idempotency-Key"], body))

    def do_GET(self) -> None:
        """Answer `GET /jobstatus`."""
        key = parse_qs(urlsplit(self.path).query).get("key")
        self._answer(lambda: self.task_runner.look_up(key[0]) if key else self.task_runner.status(self._job_id()))

    def do_DELETE(self) -> None:
        """Answer `DELETE /job`."""
        self._answer(lambda: self.task_runner.stop(self._job_id()))

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""

    def _is_allowed(self) -> bool:
        return not self.token or self.headers["Authorization"] == f"Bearer {self.token}"

    def _job_id(self) -> str:
        return parse_qs(urlsplit(self.path).query)["job_id"][0]

    def _answer(self, answer: Callable[[], Response]) -> None:
        status, body = answer() if self._is_allowed() else (401, {"message": "no token"})
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(task_runner: GoodTaskRunner, token: str = "") -> Iterator[str]:
    """Serve a Task Runner, to callers with the token if there is one, and yield its URL."""
    handler = type("Handler", (_Handler,), {"task_runner": task_runner, "token": token})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
