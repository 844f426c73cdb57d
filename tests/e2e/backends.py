"""The kinds of Firestore and Pub/Sub that the scenarios run on: a further one is a further entry."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
import pytest
from google.cloud import firestore, pubsub_v1

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PlatformOptions
from e2e.site import Site

QUICK: Final = {"tick_every_s": 0.5, "grace_s": 1.0}
"""Wakes the checker more often than a user's platform would, so that tests need not wait."""

CHECK_EVERY_S: Final = "0.2"


def missing(reason: str) -> NoReturn:
    """A service is not there: a laptop may do without it, a build may not."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _embedded() -> dict[str, Any]:
    return {}


BACKENDS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {"embedded": _embedded}
"""Each answers the options that make a platform use it, or calls `missing`."""


@contextmanager
def site_on(backend: str, log_dir: Path, **options: Any) -> Iterator[Site]:
    """A platform on that backend, with clients of its own; further options of the platform by name."""
    environment = {"WORKFLOW_CHECK_STATE_DURATION_SEC": CHECK_EVERY_S, **options.pop("environment", {})}
    chosen = {**QUICK, **BACKENDS[backend](), **options, "environment": environment, "log_dir": log_dir}
    with LocalPlatform(PlatformOptions(**chosen)) as platform, ExitStack() as stack:
        yield _with_clients(platform, stack)


def _with_clients(platform: LocalPlatform, stack: ExitStack) -> Site:
    with pytest.MonkeyPatch.context() as patch:
        # The clients read these when they are made, and never again.
        for name in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
            patch.setenv(name, platform.environment[name])
        database = firestore.Client(project=platform.options.project)
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    stack.callback(database.close)
    stack.callback(publisher.transport.close)
    stack.callback(publisher.stop)
    stack.callback(subscriber.close)
    return Site(platform=platform, database=database, publisher=publisher, subscriber=subscriber)


def backlog(site: Site, subscription: str) -> int:
    """How many messages of the subscription are not acknowledged, as only the embedded Pub/Sub tells."""
    channel: Any = grpc.insecure_channel(site.environment["PUBSUB_EMULATOR_HOST"])
    with channel:
        told = json.loads(channel.unary_unary("/atom.emulator/Counters")(b"", timeout=5))
    path = f"projects/{site.platform.options.project}/subscriptions/{subscription}"
    return int(told["subscriptions"][path]["backlog"])
