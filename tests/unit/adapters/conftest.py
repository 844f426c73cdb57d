"""The servers of these tests, and an environment without any credential of the machine's."""

from __future__ import annotations

from collections.abc import Iterator

import google.auth.compute_engine._metadata
import pytest

from unit.adapters.servers import AUDIENCE, Identity, Server, running

INVOKERS = tuple(f"{name}@atom-local.iam.gserviceaccount.com" for name in ("functions", "deployer", "invoker"))


@pytest.fixture(scope="session")
def identity_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    """Run one identity server for all these tests."""
    with running(tmp_path_factory.mktemp("identity"), "atom_emulator.identity") as url:
        yield Identity(url)


@pytest.fixture(scope="session")
def task_runner_process(identity_process: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one mock Task Runner that verifies tokens."""
    options = ["--verify-tokens", f"{identity_process.url}/certs", "--audience", AUDIENCE]
    options += [option for account in INVOKERS for option in ("--invoker", account)]
    with running(tmp_path_factory.mktemp("task-runner"), "atom_emulator.task_runner", *options) as url:
        yield Server(url)


@pytest.fixture
def identity(identity_process: Identity) -> Identity:
    """Return the identity server as if just started."""
    identity_process.reset()
    return identity_process


@pytest.fixture
def task_runner(task_runner_process: Server) -> Server:
    """Return the verifying Task Runner as if just started."""
    task_runner_process.reset()
    return task_runner_process


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove credentials, and put the metadata server where no one listens."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "K_SERVICE", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(google.auth.compute_engine._metadata, "_GCE_METADATA_HOST", "127.0.0.1:9")


@pytest.fixture
def metadata_server(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Identity:
    """Put the identity server in the place of the metadata server."""
    host = identity.url.removeprefix("http://")
    # google-auth reads GCE_METADATA_HOST when it is imported.
    monkeypatch.setattr(google.auth.compute_engine._metadata, "_GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    return identity
