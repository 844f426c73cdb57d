"""Whose process is at the other end of a connection."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from contextlib import nullcontext
from typing import Any

import grpc
import grpc.aio
import pytest
from google.api_core.exceptions import PermissionDenied
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore

from atom_emulator import loopback_owner
from atom_emulator.firestore.server import FirestoreServer
from atom_emulator.loopback_owner import SUPPORTED, is_same_user, owner_of
from atom_emulator.pubsub.server import PubsubServer, ServerSettings
from atom_emulator.pubsub.wire import message_type

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="only Linux says whose a connection is")
NOBODY = 65_534
StreamingPullRequest, Topic = message_type("StreamingPullRequest"), message_type("Topic")
CONNECT = "exec 3<>/dev/tcp/$0/$1; read -r"


def test_our_own_connection_is_ours() -> None:
    """A connection of this process belongs to its user."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        here, there = server.getsockname()[1], client.getsockname()[1]
        assert owner_of(there, connected_to=here) == os.getuid()
        assert is_same_user(f"ipv4:127.0.0.1:{there}", connected_to=here)


@pytest.mark.parametrize("peer", ["", "unix:", "ipv4:127.0.0.1:1", "ipv4:127.0.0.1:x"])
def test_a_peer_without_a_connection_is_a_stranger(peer: str) -> None:
    """Whoever cannot be found is not trusted."""
    assert not is_same_user(peer, connected_to=2)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_another_users_connection_is_not_ours() -> None:
    """A connection of another user's process belongs to that user."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, here = server.getsockname()
        command = ["bash", "-c", CONNECT, host, str(here)]
        with subprocess.Popen(command, user=NOBODY, stdin=subprocess.PIPE) as stranger:
            connection, (_, there) = server.accept()
            with connection:
                assert owner_of(there, connected_to=here) == NOBODY
                assert not is_same_user(f"ipv4:127.0.0.1:{there}", connected_to=here)
            stranger.kill()


def test_a_closed_connection_is_no_ones() -> None:
    """Someone who sends a request and closes the connection at once is not taken for root."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        here, there = server.getsockname()[1], client.getsockname()[1]
        connection, _ = server.accept()
        with connection:
            client.sendall(b"request")
            client.close()
            assert connection.recv(100) == b"request"
            assert connection.recv(100) == b""
            assert owner_of(there, connected_to=here) is None
            assert not is_same_user(f"ipv4:127.0.0.1:{there}", connected_to=here)


@pytest.mark.parametrize("owner", [None, NOBODY])
def test_a_firestore_of_one_user_refuses_others(monkeypatch: pytest.MonkeyPatch, owner: int | None) -> None:
    """A caller is answered if its connection belongs to the user of the server."""
    if owner is not None:
        monkeypatch.setattr(loopback_owner, "owner_of", lambda *_, **__: owner)
    server = FirestoreServer(same_user=True)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{server.port}")
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # it has no types
    document = firestore.Client(project="p", credentials=credentials).document("runs/a")
    refused = pytest.raises(PermissionDenied, match="only the user who started it")
    with nullcontext() if owner is None else refused:
        document.set({"state": "RUNNING"}, retry=None)
    server.stop()


@pytest.mark.parametrize("owner", [None, NOBODY])
def test_a_pubsub_of_one_user_refuses_others(monkeypatch: pytest.MonkeyPatch, owner: int | None) -> None:
    """No other user reads, replaces or redirects a start message, whichever method of Pub/Sub it would take."""
    if owner is not None:
        monkeypatch.setattr(loopback_owner, "owner_of", lambda *_, **__: owner)
    pull = StreamingPullRequest(subscription="projects/p/subscriptions/start", stream_ack_deadline_seconds=10)
    topic = Topic(name="projects/p/topics/start").SerializeToString()

    async def call_all() -> list[grpc.StatusCode]:
        server = PubsubServer(ServerSettings(same_user=True))
        port = await server.start()
        channel: Any
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            publisher, subscriber = "/google.pubsub.v1.Publisher", "/google.pubsub.v1.Subscriber"
            calls = [
                channel.unary_unary(f"{publisher}/CreateTopic")(topic),
                channel.unary_unary("/atom.emulator/Reset")(b""),
                channel.stream_stream(f"{subscriber}/StreamingPull")(iter([pull.SerializeToString()])),
            ]
            codes = [await call.code() for call in calls]
        await server.stop()
        return codes

    served = [grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND]
    assert asyncio.run(call_all()) == (served if owner is None else [grpc.StatusCode.PERMISSION_DENIED] * 3)


def test_a_port_that_another_user_was_given_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is checked, as the port of a connection that has ended may be another user's the next moment."""
    owners = iter([os.getuid(), NOBODY])
    monkeypatch.setattr(loopback_owner, "owner_of", lambda *_, **__: next(owners))
    assert [is_same_user("ipv4:127.0.0.1:40123", connected_to=1) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("has_sock_diag", [True, False])
def test_every_kernel_says_whose_a_connection_is(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, *, has_sock_diag: bool
) -> None:
    """A connection of either version of IP is found, also by a kernel that answers no questions about sockets."""
    if not has_sock_diag:
        monkeypatch.setattr(socket, "AF_NETLINK", 250)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as client:
        here = server.getsockname()[1]
        client.connect(("127.0.0.1" if family is socket.AF_INET else "::ffff:127.0.0.1", here))
        there = client.getsockname()[1]
        assert owner_of(there, connected_to=here) == os.getuid()
        client.close()
        assert owner_of(there, connected_to=here) is None
