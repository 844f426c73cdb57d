"""The composition root: the real adapters, created once per process on demand.

They are created lazily because gunicorn loads a function before it forks, and gRPC channels must not cross a fork.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from atom_workflows import log
from atom_workflows.adapters.firestore.store import TOTAL_TIMEOUT_S, FirestoreStore
from atom_workflows.adapters.pubsub.bus import PubsubBus
from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.adapters.storage.source import StorageSource
from atom_workflows.adapters.system import SystemClock, ThreadWorkers
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.adapters.task_runner.tokens import tokens_for
from atom_workflows.coordinator.limits import HintLimit, WakeLimit
from atom_workflows.coordinator.services import Services
from atom_workflows.ports import DeadLetterBox
from atom_workflows.settings import Settings, from_environment, misspelled_credentials

if TYPE_CHECKING:
    from atom_workflows.listening import Listener


def connect(settings: Settings, *, patience_s: float = TOTAL_TIMEOUT_S) -> Services:
    """Connect to the services that the settings name.

    The client libraries' own environment variables determine whether Google's servers or emulators are used. A call
    that Firestore or Pub/Sub fails to answer is not retried after `patience_s` seconds.
    """
    return Services(
        store=FirestoreStore(project=settings.project, database=settings.database, total_timeout_s=patience_s),
        bus=PubsubBus(project=settings.project, topic_prefix=settings.topic_prefix, limits=Limits(total_s=patience_s)),
        task_runner=TaskRunnerClient(tokens_for(settings)),
        source=StorageSource(),
        clock=SystemClock(),
        workers=ThreadWorkers(settings.poll_workers),
        settings=settings,
        wake_limit=WakeLimit(settings.check_interval),
        hint_limit=HintLimit(settings.hint_interval),
    )


def dead_letters(settings: Settings) -> DeadLetterBox:
    """Return the dead-letter box, for the command line."""
    # Imported here, since no cloud function needs it.
    from atom_workflows.adapters.pubsub.dead_letters import PubsubDeadLetters  # noqa: PLC0415 - see above

    return PubsubDeadLetters(project=settings.project, topic_prefix=settings.topic_prefix)


def listener(settings: Settings) -> Listener:
    """Return the document listener, for programs that show runs live."""
    # Imported here, since no cloud function needs it.
    from atom_workflows.adapters.firestore.listener import FirestoreListener  # noqa: PLC0415 - see above

    return FirestoreListener(project=settings.project, database=settings.database)


@lru_cache(maxsize=1)
def services() -> Services:
    """Return this process's services."""
    if problem := misspelled_credentials(os.environ):
        log.warning("settings.misspelled", problem)
    return connect(from_environment(os.environ))
