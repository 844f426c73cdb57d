"""The servers that the contract suites run on, and each port on every backend."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud import firestore

from atom_emulator.firestore.memory import MemoryStore
from atom_emulator.firestore.server import FirestoreServer
from atom_emulator.platform.options import PartName
from atom_workflows.ports import Store
from contract.backends import BUSES, LISTENERS, STORES, BusUnderTest, Watched
from contract.refusing import Refusing
from contract.relay import Relay
from support.google_emulators import google_emulators
from support.services import need
from unit.emulator.pubsub.running import start_process


@pytest.fixture(scope="session")
def firestore_address() -> Iterator[str]:
    """Yield the embedded Firestore's address."""
    server = FirestoreServer()
    yield f"127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(scope="session")
def pubsub_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the embedded Pub/Sub's address."""
    process, port = start_process(tmp_path_factory.mktemp("pubsub") / "ready.json")
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="session")
def google_addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[PartName, str]]:
    """Yield the addresses of Google's emulators.

    Each test works in a project of its own.
    """
    need("google emulators")
    with google_emulators(tmp_path_factory.mktemp("google")) as addresses:
        yield addresses


@pytest.fixture
def refusing_address() -> str:
    """Return an address where no one listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Yield an address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def refusing() -> Iterator[Refusing]:
    """Run a service that refuses every call."""
    service = Refusing()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[service])
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service
    server.stop(0).wait()


@pytest.fixture
def project() -> str:
    """Return the name of a project that no other test works in."""
    return f"contract-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def delete(store: Store, project: str) -> Callable[[str], None]:
    """Return what deletes a document of the store, which the port cannot."""
    if isinstance(store, MemoryStore):
        return store.delete
    client: Any = firestore.Client(project=project)
    return lambda path: client.document(path).delete()


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    """Return an empty store of each kind."""
    return STORES[request.param](request)


@pytest.fixture(params=list(BUSES))
def bus(request: pytest.FixtureRequest) -> BusUnderTest:
    """Return a bus of each kind, with empty subscriptions."""
    return BUSES[request.param](request)


@pytest.fixture(params=list(LISTENERS))
def watched(request: pytest.FixtureRequest) -> Watched:
    """Return a listener of each kind on an empty store."""
    return LISTENERS[request.param](request)


@pytest.fixture
def relay(watched: Watched) -> Iterator[Relay]:
    """Run a relay before the server that can be cut off."""
    with Relay.to(watched.address) as relay:
        yield relay
