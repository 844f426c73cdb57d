"""The methods by which adapters ask Google Cloud, each with the permissions that it takes and the role that has them.

What takes which permission is Google's to say, and is copied here from where it says so; no test without Google Cloud
can show that it is honored.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from atom_deploy.roles import INVOKE, PUBLISH, READ_OBJECTS, STORE
from atom_workflows.adapters.firestore.store import FirestoreStore
from atom_workflows.adapters.pubsub.bus import PubsubBus
from atom_workflows.adapters.storage.source import StorageSource
from atom_workflows.errors import AtomWorkflowsError
from atom_workflows.ports import Create, Message, Query, Update
from contract.canned import answer, canned
from unit.test_imports import imports

ROOT: Final = Path(__file__).parents[2]
SHARED: Final = ROOT / "shared"

TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "/google.firestore.v1.Firestore/GetDocument": frozenset({"datastore.entities.get"}),
    "/google.firestore.v1.Firestore/BatchGetDocuments": frozenset({"datastore.entities.get"}),
    "/google.firestore.v1.Firestore/Commit": frozenset({"datastore.entities.create", "datastore.entities.update"}),
    "/google.firestore.v1.Firestore/RunQuery": frozenset({"datastore.entities.get", "datastore.entities.list"}),
    "/google.firestore.v1.Firestore/RunAggregationQuery": frozenset(
        {"datastore.entities.get", "datastore.entities.list"}
    ),
    "/google.pubsub.v1.Publisher/Publish": frozenset({"pubsub.topics.publish"}),
    "GET /storage/v1/b/bucket/o/object?alt=media": frozenset({"storage.objects.get"}),
}
"""Method to permissions; a commit that deletes would take one more, but no function makes one: see test_calls.py.

Firestore: https://cloud.google.com/firestore/docs/security/iam, "Required permissions for API methods".
Pub/Sub: https://cloud.google.com/pubsub/docs/access-control, "Required permissions".
Cloud Storage: https://cloud.google.com/storage/docs/access-control/iam-json.
"""

HELD: Final[Mapping[str, frozenset[str]]] = {
    STORE: frozenset(f"datastore.entities.{verb}" for verb in ("create", "delete", "get", "list", "update")),
    PUBLISH: frozenset({"pubsub.topics.publish"}),
    READ_OBJECTS: frozenset({"storage.objects.get", "storage.objects.list"}),
    INVOKE: frozenset({"run.routes.invoke"}),
}
"""Role to those of its permissions that matter here: https://cloud.google.com/iam/docs/roles-permissions.

That to invoke a service covers every method and path of it, so that the Task Runner's are not listed above.
"""

ROLE_OF: Final = {"FirestoreStore": STORE, "PubsubBus": PUBLISH, "StorageSource": READ_OBJECTS}

CLIENTS: Final = {"google.cloud.firestore", "google.pubsub_v1.PublisherClient"}
"""The clients of Google's services that a function has."""

PACKAGES: Final = {"google.cloud", "google.cloud.pubsub_v1", "google.pubsub_v1"}
"""What they are taken from."""

LOWER: Final = (
    *("google.cloud.firestore_v1", "google.pubsub_v1.types", "google.protobuf"),
    *("google.api_core", "google.auth", "google.oauth2"),
)
"""What these are made of, and what makes tokens of the function's own identity, which takes no role."""

FOR_PEOPLE: Final = {"atom_workflows.adapters.pubsub.dead_letters"}
"""Modules that are imported only by a call that no function makes, see the test."""


@dataclass(slots=True)
class Refusing(grpc.GenericRpcHandler):
    """A server that knows no method, and notes which it was asked for."""

    asked: list[str] = field(default_factory=list)

    def service(self, details: Any) -> None:
        """Note the call, and answer UNIMPLEMENTED."""
        self.asked.append(details.method)


@contextmanager
def refusing(patch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    """Such a server, where clients take it for Firestore and Pub/Sub."""
    handler = Refusing()
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
        patch.setenv(name, address)
    yield handler
    server.stop(None).wait()


def asked_by_store(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the service's methods that each call of the Store port uses."""
    with refusing(patch) as server:
        store = FirestoreStore(project="p", database="(default)")
        calls = (
            lambda: store.get(["runs/a"]),
            lambda: store.get(["runs/a", "runs/b"]),
            lambda: store.commit([Create(path="runs/a", fields={}), Update(path="runs/b", fields={"state": "x"})]),
            lambda: store.query(Query(collection="runs")),
            lambda: store.query(Query(collection="steps", group=True)),
            lambda: store.count(Query(collection="runs")),
        )
        for call in calls:
            with suppress(AtomWorkflowsError):
                call()
        return server.asked


def asked_by_bus(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the methods by which messages are published."""
    with refusing(patch) as server:
        with suppress(AtomWorkflowsError):
            PubsubBus(project="p", topic_prefix="").publish([Message(topic="events", body={"type": "x"})])
        return server.asked


def asked_by_source(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the methods by which a file is read."""
    with canned(lambda _asked, _connection: answer(b"")) as server:
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        StorageSource().read("gs://bucket/object", None)
        return [f"{one.method} {one.target}" for one in server.asked]


ASKED_BY: Final = {"FirestoreStore": asked_by_store, "PubsubBus": asked_by_bus, "StorageSource": asked_by_source}


@pytest.mark.parametrize("adapter", ASKED_BY)
def test_the_role_covers_every_method(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role of each adapter's port covers the methods that it calls."""
    asked = set(ASKED_BY[adapter](monkeypatch))
    assert asked
    assert asked <= set(TAKEN)
    assert frozenset().union(*(TAKEN[method] for method in asked)) <= HELD[ROLE_OF[adapter]]


def test_no_method_is_listed_that_nothing_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list has only methods that the adapters call."""
    assert {method for ask in ASKED_BY.values() for method in ask(monkeypatch)} == set(TAKEN)


# -- what a function could call at all --------------------------------------------------------------------------------


def source(module: str) -> Path | None:
    """Return the file of a module of the library, or None.

    None if it is not of the library.
    """
    place = SHARED.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def reached() -> dict[str, Path]:
    """Return every module of the library that a function imports.

    At once or later, itself or by others.
    """
    found: dict[str, Path] = {}
    mains = sorted((ROOT / "functions").glob("*/main.py"))
    waiting = [name for main in mains for name in names_in(main)]
    while waiting:
        module = waiting.pop()
        path = source(module)
        if path is not None and module not in found and module not in FOR_PEOPLE:
            found[module] = path
            waiting += names_in(path)
    return found


def names_in(path: Path) -> list[str]:
    """Return the modules and names that a file imports.

    A name is written as `module.name`.
    """
    tree = ast.parse(path.read_text())
    taken = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    return [*(one.module for one in imports(tree)), *taken]


def test_no_function_has_a_client_of_anything_else() -> None:
    """Functions have no client that administers or subscribes."""
    named = {name for path in reached().values() for name in names_in(path) if name.startswith("google")}
    lower = {name for name in named if f"{name}.".startswith(tuple(f"{one}." for one in LOWER))}
    assert named - lower - PACKAGES == CLIENTS


def test_what_is_for_people_no_function_asks_for() -> None:
    """Functions use nothing of the composition root but their services."""
    mains = sorted((ROOT / "functions").glob("*/main.py"))
    of_root = {name for main in mains for name in names_in(main) if name.startswith("atom_workflows.bootstrap.")}
    assert of_root == {"atom_workflows.bootstrap.services"}
    asking = [module for module, path in reached().items() if re.search(r"bootstrap\.dead_letters", path.read_text())]
    assert asking == []


@pytest.mark.parametrize(
    ("adapter", "called"),
    [
        (
            "firestore/store",
            {
                "BatchGetDocuments",
                "GetDocument",
                "Commit",
                "RunQuery",
                "RunAggregationQuery",
                "_firestore_api.transport",
            },
        ),
        ("pubsub/bus", {"Publish", "transport"}),
    ],
)
def test_a_client_is_asked_for_nothing_else(adapter: str, called: set[str]) -> None:
    """An adapter uses its client for the port's calls only."""
    text = (SHARED / "atom_workflows" / "adapters" / f"{adapter}.py").read_text()
    of_client = set(re.findall(r"self\._client\.([a-z_][\w.]+)", text))
    of_channel = set(re.findall(r"""calls\.(?:unary|stream)\(\s*"(\w+)\"""", text))
    assert (of_client | of_channel) - {"_rpc_metadata"} == called
