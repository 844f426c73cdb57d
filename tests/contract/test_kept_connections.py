"""The connections that the Task Runner is called by: how they are shared, kept and checked."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from atom_emulator.identity.keys import Key
from atom_workflows.adapters import kept_connections
from atom_workflows.adapters.kept_connections import KeptConnections, Limits
from atom_workflows.adapters.prompt_transport import AnswerTooLarge
from contract.canned import Asked, answer, canned

LIMITS: Final = Limits(connect_timeout_s=3, timeout_s=3, most_bytes=1_000)
THREADS: Final = 8


def get(connections: KeptConnections, url: str) -> bytes:
    """What a plain request is answered."""
    return connections.call("GET", url, "/x", headers={}, limits=LIMITS).content


def test_calls_at_the_same_time_have_a_connection_each_and_share_them_later() -> None:
    """No two calls are ever on one connection, and a further round of calls opens none."""
    together = threading.Barrier(THREADS)

    def respond(asked: Asked, _connection: socket.socket) -> bytes:
        together.wait(5)
        return answer(asked.target.encode())

    connections = KeptConnections()
    with canned(respond) as server, ThreadPoolExecutor(THREADS) as pool:
        for _ in range(3):
            assert list(pool.map(lambda _: get(connections, server.url), range(THREADS))) == [b"/x"] * THREADS
        assert server.connections == THREADS


def test_only_so_many_idle_connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd of calls leaves no more connections behind than are allowed."""
    monkeypatch.setattr(kept_connections, "KEPT", 2)
    together = threading.Barrier(THREADS)

    def respond(_asked: Asked, _connection: socket.socket) -> bytes:
        together.wait(5)
        return answer(b"fine")

    connections = KeptConnections()
    with canned(respond) as server, ThreadPoolExecutor(THREADS) as pool:
        for _ in range(2):
            list(pool.map(lambda _: get(connections, server.url), range(THREADS)))
        assert server.connections == THREADS + THREADS - 2


def test_what_was_left_of_an_answer_is_never_the_next_calls() -> None:
    """A connection on which an answer was given up is closed."""
    connections = KeptConnections()
    kinds: list[Callable[[], bytes]] = [lambda: answer(b"x" * 5_000), lambda: answer(b"fine")]
    with canned(lambda _asked, _connection: kinds[len(server.asked) - 1]()) as server:
        with pytest.raises(AnswerTooLarge):
            get(connections, server.url)
        assert get(connections, server.url) == b"fine"
        assert server.connections == 2


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that its own key signed, and the key."""
    key = Key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "task-runner.test")])
    now = datetime.now(UTC)
    of_loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(of_loopback, critical=False)
    )
    signed = unsigned.sign(key.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path = tmp_path / "certificate.pem"
    path.write_text(key.pem + signed.decode())
    return path


@contextmanager
def over_tls(certificate: Path) -> Iterator[int]:
    """The port of a server that answers two requests of a connection over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve() -> None:
        with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            for _ in range(2):
                connection.recv(65_536)
                connection.sendall(answer(b"fine"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(5)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> Iterator[None]:
    """Lets the certificate be one of those that are trusted."""
    monkeypatch.setattr(kept_connections, "DEFAULT_CA_BUNDLE_PATH", str(certificate))
    kept_connections._tls.cache_clear()
    yield
    kept_connections._tls.cache_clear()


@pytest.mark.usefixtures("known")
def test_a_connection_over_tls_is_kept(certificate: Path) -> None:
    """With a certificate that is trusted, calls go over TLS, one after the other on the same connection."""
    connections = KeptConnections()
    with over_tls(certificate) as port:
        assert [get(connections, f"https://127.0.0.1:{port}") for _ in range(2)] == [b"fine", b"fine"]


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    """Nothing is sent to a server that cannot prove who it is."""
    with over_tls(certificate) as port, pytest.raises(ssl.SSLCertVerificationError):
        get(KeptConnections(), f"https://127.0.0.1:{port}")


@pytest.mark.usefixtures("known")
def test_a_certificate_for_another_name_is_refused(certificate: Path) -> None:
    """A trusted certificate proves its own names alone."""
    with over_tls(certificate) as port, pytest.raises(ssl.SSLCertVerificationError):
        get(KeptConnections(), f"https://localhost:{port}")
