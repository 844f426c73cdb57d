"""The kinds of Firestore and Pub/Sub that the scenarios run on: a further one is a further entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from google.cloud import firestore, pubsub_v1

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PlatformOptions
from e2e.site import Site
from support.services import need

QUICK: Final = {"tick_every_s": 0.5, "grace_s": 1.0}
"""Wakes the checker more often than a user's platform would, so that tests need not wait."""

CHECK_EVERY_S: Final = "0.2"


def _embedded() -> dict[str, Any]:
    return {}


def _google() -> dict[str, Any]:
    need("google emulators")
    return {"emulators": "google"}


BACKENDS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {"embedded": _embedded, "google": _google}
"""Each answers the options that make a platform use it, or skips the test for want of it."""

EMBEDDED_ONLY: Final = pytest.mark.parametrize("backend", ["embedded"], indirect=True)
"""For what is about the command line, the documentation or the embedded servers' counters, not about runs."""


@contextmanager
def site_on(backend: str, log_dir: Path, **options: Any) -> Iterator[Site]:
    """Yield a platform on that backend, with clients of its own.

    Keywords are further options of the platform.
    """
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
