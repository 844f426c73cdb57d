"""A job's log and strangers' connections have limits, and neither a job nor the server suffers from them."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from atom_emulator.http_protocol import BoundedProtocol, Connections, Response
from atom_emulator.laptop_runner.server import MAX_CONNECTIONS
from unit.emulator.laptop_runner.laptop import WITHIN_S, Laptop

LIMIT = 1_000_000
TAIL = 65_536
PRINTS = """
import os, sys
for number in range(50_000):
    os.write(1, b"%099d\\n" % number)
print("the last word")
sys.exit(3)
"""


def test_a_log_that_is_too_long_is_cut(tmp_path: Path) -> None:
    """The beginning and the end are kept, a line says what is missing, and the job goes on to its own end."""
    laptop = Laptop(tmp_path, f"--log-bytes={LIMIT}")
    laptop.python(PRINTS)
    job = laptop.ended()
    laptop.kill()
    log = (laptop.files() / "job.log").read_bytes()
    assert (job["state"], job["reason"]) == ("FAILED", "EXIT_3")
    assert "the last word" in job["message"]
    assert log.startswith(b"%099d\n" % 0)
    assert LIMIT < len(log) < LIMIT + TAIL + 500
    missing = 5_000_000 + len("the last word\n") - LIMIT - TAIL
    note = f"[this log was cut: {missing:,} bytes are missing at [...], since a job's log has at most 1,000,000 bytes]"
    assert log.decode().splitlines()[-2:] == ["the last word", note]


def test_a_log_within_the_limit_is_complete(tmp_path: Path) -> None:
    """Nothing is said about a log that has the limit and a little more."""
    laptop = Laptop(tmp_path, "--log-bytes=100")
    laptop.python("print('x' * 150)")
    laptop.ended()
    laptop.kill()
    assert (laptop.files() / "job.log").read_text() == "x" * 150 + "\n"


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be set on Linux only")
def test_a_job_survives_a_full_disk(laptop: Laptop) -> None:
    """If nothing more can be written, the job goes on, and its message says that the log is incomplete."""
    # A limit on the size of files fails a write as a full disk does.
    resource.prlimit(laptop.warden().pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
    code = "import os; os.write(1, b'x' * 60_000); [os.write(1, b'y' * 60_000) for _ in range(20)]"
    laptop.python(code)
    job = laptop.ended()
    assert (job["state"], job["message"]) == ("SUCCEEDED", "its log is incomplete: File too large")
    assert (laptop.files() / "job.log").stat().st_size == 10_000


def test_strangers_who_hold_connections_keep_no_one_out(laptop: Laptop) -> None:
    """Beyond the limit, the connections that have been idle for the longest are closed."""
    address = urlsplit(laptop.url)
    assert address.hostname is not None
    assert address.port is not None
    held = [socket.create_connection((address.hostname, address.port)) for _ in range(MAX_CONNECTIONS + 50)]
    assert laptop.call("GET", "/jobstatus?job_id=x").status_code == 404
    for one in held[:50]:
        one.settimeout(WITHIN_S)
        with contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b""
    for one in held:
        one.close()


def test_a_connection_without_a_request_is_closed() -> None:
    """A connection has a limited time for its next request, even if it sends a byte now and then."""

    async def play() -> bytes:
        connections = Connections(most=10, idle_s=0.2)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: BoundedProtocol(lambda _: Response(200, b"{}"), connections), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(b"GET / HTTP/1.1\r\n\r\nGET / HT")
            answered = await reader.readuntil(b"{}")
            try:
                return answered + await asyncio.wait_for(reader.read(), WITHIN_S)
            except ConnectionResetError:
                return answered
            finally:
                writer.close()

    assert asyncio.run(play()).count(b"HTTP/1.1 200") == 1
