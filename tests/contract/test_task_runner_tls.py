"""The TaskRunner port over TLS: a Task Runner proves who it is before anything is sent to it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from atom_emulator.identity.keys import Key
from atom_workflows.adapters.http import CERTIFICATES
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.tokens import FixedToken
from atom_workflows.errors import RequestNotAccepted
from contract.canned import answer

FINE: Final = answer(b'{"job": {"state": "RUNNING", "jobId": "7"}}')


def client() -> TaskRunnerClient:
    """Return a client that waits long enough on a busy machine."""
    return TaskRunnerClient(FixedToken("s3cret-token"), status_timeout_s=60)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key."""
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
    """Serve two requests of a connection over TLS, and yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve() -> None:
        with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            for _ in range(2):
                connection.recv(65_536)
                connection.sendall(FINE)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(60)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """Lets the certificate be one of those that are trusted."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate))


@pytest.fixture(autouse=True)
def no_certificates_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own settings are not the test's."""
    for name in CERTIFICATES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", CERTIFICATES)
def test_certificates_that_the_environment_names_are_trusted(
    variable: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's certificate is trusted once a variable names its authority."""
    monkeypatch.setenv(variable, str(certificate))
    with over_tls(certificate) as port:
        assert client().status(f"https://127.0.0.1:{port}", "7").state == "RUNNING"


def test_missing_certificates_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file of certificates is named with its variable."""
    monkeypatch.setenv("SSL_CERT_FILE", "/missing/ca.pem")
    with pytest.raises(RequestNotAccepted, match=r"SSL_CERT_FILE names /missing/ca\.pem, which does not exist"):
        client().status("https://127.0.0.1:9", "7")


@pytest.mark.usefixtures("known")
def test_a_connection_over_tls_is_kept(certificate: Path) -> None:
    """A connection over TLS is used again."""
    one = client()
    with over_tls(certificate) as port:
        assert [one.status(f"https://127.0.0.1:{port}", "7").state for _ in range(2)] == ["RUNNING"] * 2


def test_a_certificate_of_no_known_authority_is_refused(certificate: Path) -> None:
    """Nothing is sent to a server without a trusted certificate."""
    reason = r"the certificate of 127\.0\.0\.1:\d+ was rejected \(self-signed certificate\)"
    with over_tls(certificate) as port, pytest.raises(RequestNotAccepted, match=reason):
        client().status(f"https://127.0.0.1:{port}", "7")


@pytest.mark.usefixtures("known")
def test_a_certificate_for_another_name_is_refused(certificate: Path) -> None:
    """A trusted certificate proves its own names alone."""
    with over_tls(certificate) as port, pytest.raises(RequestNotAccepted, match=r"was rejected .*[Hh]ostname mismatch"):
        client().status(f"https://localhost:{port}", "7")
