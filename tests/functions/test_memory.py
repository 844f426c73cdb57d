"""Each function, as deployed, with as many of the largest inputs at once as it takes, stays below its memory."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from atom_deploy.deployment import Deployment, Shape
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PartName, PlatformOptions
from atom_workflows.core.run_ids import run_id_for
from atom_workflows.handlers.entry import MAX_START_BODY, MAX_STEPS_BODY, MAX_TICK_BODY
from atom_workflows.messages.fields import MAX_ITEMS

SHAPES: Final[Mapping[str, Shape]] = Deployment(
    project="some-project", region="us-central1", task_runner_url="https://runner.test"
).shapes
RUN_KEY: Final = "a run of large steps"
ENDLESS: Final = "endless"
"""The first step of runs that are only to be written: all others wait for it."""
MEBIBYTE: Final = 1024 * 1024
LARGEST_FILE: Final = 4 * MEBIBYTE
ANSWER_S: Final = 120
ANSWERED: Final = frozenset({202, 204, 400, 413})

HEADERS: Final = {"Content-Type": "application/json"}
PUSHED: Final = {**HEADERS, "User-Agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A body for a function; `pieces` are sent as chunks, without a Content-Length."""

    function: PartName
    body: bytes = b""
    pieces: int = 0
    headers: Mapping[str, str]

    def post(self, address: str) -> int:
        """Post it and return the status, 0 if the function hung up."""
        host = address.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=ANSWER_S)
        body = iter([b"[" * 65_536] * self.pieces) if self.pieces else self.body
        try:
            connection.request("POST", "/", body, dict(self.headers), encode_chunked=bool(self.pieces))
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


def pushed(data: bytes, **more: Any) -> bytes:
    """Return a Pub/Sub push of that data."""
    message = {"data": base64.b64encode(data).decode(), "messageId": "1", "attributes": {}, **more}
    return json.dumps({"message": message, "subscription": "s"}).encode()


def values_in(size: int) -> bytes:
    """Return as many values as JSON of that size can hold."""
    return b"[" + b"[]," * (size // 3 - 1) + b"[]]"


def file_of_values(field: str = "url") -> str:
    """Return the workflow that takes most memory to read.

    It has nearly as many values as a file may have, in the longest text.
    """
    steps = "".join(f"- {{id: s{i}, task: {{{field}: u, args: [{','.join('a' * 20)}]}}}}\n" for i in range(9_900))
    return f"steps:\n{steps}# " + "é" * ((LARGEST_FILE - len(steps) - 20) // 2)


def file_of_aliases(first_id: str = "s", *, roots: bool = False) -> str:
    """Return the workflow that takes most memory to write.

    Aliases repeat texts that JSON lengthens most, with a sign of four bytes. Its steps wait for the first one, or are
    all released at once.
    """
    needs = "" if roots else f"dependsOn: [{first_id}], "
    text = "\\x01" * 10_800 + "\U0001f600"
    first = f'steps:\n- {{id: {first_id}, task: &a {{url: u, args: ["{text}"]}}}}\n'
    return first + "".join(f"- {{id: s{i}, {needs}task: *a}}\n" for i in range(400))


def largest_inputs() -> dict[str, Input]:
    """Inputs that are at a limit, or beyond it, for each function."""
    to_read = json.dumps({"definition": file_of_values("urls")}, ensure_ascii=False).encode()
    of_roots = json.dumps({"definition": file_of_aliases(roots=True)}).encode()
    to_write = json.dumps({"definition": file_of_aliases(ENDLESS)}).encode()
    run = {"run_id": run_id_for("inline.yaml", "key", RUN_KEY), "schema": 1}
    ready = {**run, "type": "step.ready", "steps": [{"id": f"s{i}"} for i in range(MAX_ITEMS)]}
    ended = [{"step": f"s{i}", "attempt": 1, "kind": "failed", "message": "x" * 1_900} for i in range(MAX_ITEMS)]
    completed = {**run, "type": "steps.completed", "outcomes": ended}
    lists = json.dumps({"a": [[]] * 10_900}, separators=(",", ":"))
    returned = [{"step": f"s{i}", "attempt": 1, "kind": "succeeded", "outputs": lists} for i in range(6)]
    with_outputs = {**run, "type": "steps.completed", "outcomes": returned}
    start, steps, tick = PartName.START, PartName.DISPATCHER, PartName.CHECKER
    return {
        "a file to read": Input(function=start, body=pushed(to_read), headers=PUSHED),
        "a file to write": Input(function=start, body=to_write, headers=HEADERS),
        "a file of roots": Input(function=start, body=of_roots, headers=HEADERS),
        "values, posted": Input(function=start, body=values_in(MAX_START_BODY - 2), headers=HEADERS),
        "values, pushed": Input(
            function=start, body=pushed(values_in(MAX_START_BODY * 3 // 4 - 1_000)), headers=PUSHED
        ),
        "Pub/Sub's largest": Input(function=start, body=pushed(b"x" * 10_000_000), headers=PUSHED),
        "chunks": Input(function=start, pieces=480, headers=HEADERS),
        "steps to claim": Input(function=steps, body=pushed(json.dumps(ready).encode()), headers=PUSHED),
        "steps to settle": Input(function=steps, body=pushed(json.dumps(completed).encode()), headers=PUSHED),
        "outputs to settle": Input(function=steps, body=pushed(json.dumps(with_outputs).encode()), headers=PUSHED),
        "values as steps": Input(
            function=steps, body=pushed(values_in(MAX_STEPS_BODY * 3 // 4 - 1_000)), headers=PUSHED
        ),
        "Pub/Sub's largest, as steps": Input(function=steps, body=pushed(b"x" * 10_000_000), headers=PUSHED),
        "chunks as steps": Input(function=steps, pieces=480, headers=PUSHED),
        "values as a tick": Input(
            function=tick, body=pushed(values_in(MAX_TICK_BODY * 3 // 4 - 1_000)), headers=PUSHED
        ),
        "Pub/Sub's largest, as a tick": Input(function=tick, body=pushed(b"x" * 10_000_000), headers=PUSHED),
        "chunks as a tick": Input(function=tick, pieces=480, headers=PUSHED),
    }


INPUTS: Final = largest_inputs()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Serve the functions with the most threads that any of them has."""
    threads = max(shape.concurrency for shape in SHAPES.values())
    script = tmp_path_factory.mktemp("script") / "script.yaml"
    script.write_text(f"rules: [{{step: {ENDLESS}, duration: 100000}}]")
    logs = tmp_path_factory.mktemp("logs")
    options = PlatformOptions(bucket=None, threads=threads, log_dir=logs, task_runner_script=script)
    keyed = json.dumps({"definition": file_of_aliases(), "run_key": RUN_KEY}).encode()
    with LocalPlatform(options) as platform:
        first = Input(function=PartName.START, body=keyed, headers=HEADERS)
        assert first.post(platform.addresses[first.function]) == HTTPStatus.ACCEPTED
        yield platform


def peak(platform: LocalPlatform, function: PartName) -> int:
    """Return the most memory that the function's largest process had, in bytes."""
    leader = psutil.Process(platform.process_group(function))
    statuses = [Path(f"/proc/{each.pid}/status").read_text() for each in leader.children(recursive=True)]
    return max(int(found[1]) for status in statuses if (found := re.search(r"VmHWM:\s+(\d+) kB", status))) * 1024


@pytest.mark.parametrize("name", INPUTS)
def test_the_largest_inputs_fit_into_a_functions_memory(deployed: LocalPlatform, name: str) -> None:
    """A function stays below its memory with as many large inputs as it takes."""
    given = INPUTS[name]
    shape = SHAPES[given.function]
    with ThreadPoolExecutor(shape.concurrency) as senders:
        statuses = list(senders.map(given.post, [deployed.addresses[given.function]] * shape.concurrency))
    assert set(statuses) <= ANSWERED
    assert peak(deployed, given.function) < int(shape.memory.removesuffix("Mi")) * MEBIBYTE
