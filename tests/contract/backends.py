"""Every implementation of the ports that the contract suites run on: a further one is a further entry."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest
from google.cloud import firestore, pubsub_v1

from atom_emulator.firestore.database import Database
from atom_emulator.firestore.history import History
from atom_emulator.firestore.memory import MemoryListener, MemoryStore
from atom_emulator.platform.options import PartName
from atom_emulator.pubsub.memory import TOPICS, MemoryBus
from atom_workflows.adapters.firestore.listener import FirestoreListener
from atom_workflows.adapters.firestore.store import FirestoreStore
from atom_workflows.adapters.pubsub.bus import LIMITS, PubsubBus
from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.adapters.system import SystemClock
from atom_workflows.listening import Listener
from atom_workflows.ports import Bus, Store
from contract.subscriptions import Subscriptions

Received: TypeAlias = tuple[dict[str, Any], dict[str, str]]
"""A message's body and attributes."""


_PATIENT: Final = {"call_timeout_s": 60.0, "total_timeout_s": 120.0}
"""An emulator on a busy machine takes longer for a large call than Firestore itself would."""

# -- Store -----------------------------------------------------------------------------------------------------------


def firestore_at(address: str, patch: pytest.MonkeyPatch, project: str = "", **options: float) -> FirestoreStore:
    """Return the adapter on a server, in that project or in one of its own."""
    patch.setenv("FIRESTORE_EMULATOR_HOST", address)
    return FirestoreStore(project=project or f"contract-{uuid.uuid4().hex[:12]}", database="(default)", **options)


def _in_process(_request: pytest.FixtureRequest) -> Store:
    return MemoryStore()


def _kept(request: pytest.FixtureRequest) -> Store:
    folder: Path = request.getfixturevalue("tmp_path")
    history = History(folder / "history.db")
    request.addfinalizer(history.close)
    kept = history.database("projects/contract/databases/(default)")
    return MemoryStore(database=Database(SystemClock().now, kept))


def _embedded(request: pytest.FixtureRequest) -> Store:
    address, patch = request.getfixturevalue("firestore_address"), request.getfixturevalue("monkeypatch")
    return firestore_at(address, patch, request.getfixturevalue("project"), **_PATIENT)


def _google(request: pytest.FixtureRequest) -> Store:
    addresses = request.getfixturevalue("google_addresses")
    patch, project = request.getfixturevalue("monkeypatch"), request.getfixturevalue("project")
    return firestore_at(addresses[PartName.FIRESTORE], patch, project, **_PATIENT)


STORES: Final[Mapping[str, Callable[[pytest.FixtureRequest], Store]]] = {
    "in-process": _in_process,
    "kept in a file": _kept,
    "embedded": _embedded,
    "google": _google,
}


# -- Listener --------------------------------------------------------------------------------------------------------


class Watched(NamedTuple):
    """A listener, a store of the documents that it listens to, and Google's client where there is a server."""

    backend: str
    listener: Listener
    store: Store
    delete: Callable[[str], object]
    client: Any
    address: str
    project: str


def _listener_at(backend: str, address: str, request: pytest.FixtureRequest) -> Watched:
    patch, project = request.getfixturevalue("monkeypatch"), request.getfixturevalue("project")
    store = firestore_at(address, patch, project, **_PATIENT)
    client: Any = firestore.Client(project=project)
    listener = FirestoreListener(project=project, database="(default)")
    return Watched(backend, listener, store, lambda path: client.document(path).delete(), client, address, project)


def _listener_in_process(_request: pytest.FixtureRequest) -> Watched:
    store = MemoryStore()
    return Watched("in-process", MemoryListener(store), store, store.delete, None, "", "")


LISTENERS: Final[Mapping[str, Callable[[pytest.FixtureRequest], Watched]]] = {
    "in-process": _listener_in_process,
    "embedded": lambda request: _listener_at("embedded", request.getfixturevalue("firestore_address"), request),
    "google": lambda request: _listener_at(
        "google", request.getfixturevalue("google_addresses")[PartName.FIRESTORE], request
    ),
}


# -- Bus -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BusUnderTest:
    """A bus with one subscription for each of the coordinator's topics; `take` waits for a number of messages."""

    bus: Bus
    take: Callable[[str, int], list[Received]]


def pubsub_at(
    address: str, patch: pytest.MonkeyPatch, *, project: str = "contract", limits: Limits = LIMITS
) -> PubsubBus:
    """Return the adapter on a server."""
    patch.setenv("PUBSUB_EMULATOR_HOST", address)
    return PubsubBus(project=project, topic_prefix="flow-", limits=limits)


def _in_process_bus(_request: pytest.FixtureRequest) -> BusUnderTest:
    bus = MemoryBus(SystemClock())

    def take(topic: str, count: int) -> list[Received]:
        return [(taken.body, dict(taken.attributes)) for taken in bus.take_all(topic, limit=count)]

    return BusUnderTest(bus=bus, take=take)


def _embedded_bus(request: pytest.FixtureRequest) -> BusUnderTest:
    return _bus_at(request.getfixturevalue("pubsub_address"), request)


def _google_bus(request: pytest.FixtureRequest) -> BusUnderTest:
    return _bus_at(request.getfixturevalue("google_addresses")[PartName.PUBSUB], request)


def _bus_at(address: str, request: pytest.FixtureRequest) -> BusUnderTest:
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    project = f"contract-{uuid.uuid4().hex[:12]}"
    bus = pubsub_at(address, patch, project=project, limits=Limits(call_s=60.0, total_s=120.0))
    subscriptions = Subscriptions(project, pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient(), TOPICS)
    request.addfinalizer(subscriptions.close)
    return BusUnderTest(bus=bus, take=subscriptions.take)


BUSES: Final[Mapping[str, Callable[[pytest.FixtureRequest], BusUnderTest]]] = {
    "in-process": _in_process_bus,
    "embedded": _embedded_bus,
    "google": _google_bus,
}
