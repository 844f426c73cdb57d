"""The platform's topics."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest

from atom_emulator.platform.errors import TopicsMissing
from atom_emulator.platform.topology import PubSub


@pytest.fixture
def other_server() -> Iterator[str]:
    """Return the address of a gRPC server that is no Pub/Sub."""
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_server_that_is_no_pubsub_is_named(other_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is no Pub/Sub is named, and asked without a proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with closing(PubSub(other_server, "p")) as pubsub, pytest.raises(TopicsMissing, match=f"at {other_server} .*501"):
        pubsub.create({})
