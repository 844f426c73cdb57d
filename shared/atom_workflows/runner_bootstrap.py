"""The composition root of the runner function.

As in the other composition roots, adapters are created on first use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from atom_workflows.adapters.google_rest import GoogleRestClient, default_session
from atom_workflows.adapters.storage.api import StorageApi
from atom_workflows.adapters.system import SystemClock
from atom_workflows.handlers.runner import RunnerServices
from atom_workflows.ports import Bus, Clock, Message
from atom_workflows.runner.cloud.batch_engine import BatchEngine
from atom_workflows.runner.cloud.cloud_settings import CloudSettings, from_environment
from atom_workflows.runner.cloud.job_ids import Engine
from atom_workflows.runner.cloud.rest import Api
from atom_workflows.runner.cloud.run_engine import CloudRunEngine
from atom_workflows.runner.cloud.service import CloudRunner
from atom_workflows.runner.cloud.sweeps import Sweeper

CONNECTIONS: Final = 16
"""The number of connections kept open to each server: as many as an instance has threads."""


class HintPublisher:
    """Publishes hints through a bus that is created on first use.

    Most instances never publish.
    """

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._bus: Bus | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish the messages.

        Raises `BusUnavailable`.
        """
        if self._bus is None:
            # Imported here, since it takes a while, and most instances never publish.
            from atom_workflows.adapters.pubsub.bus import PubsubBus  # noqa: PLC0415 - see above

            self._bus = PubsubBus(project=self._settings.project, topic_prefix=self._settings.topic_prefix)
        self._bus.publish(messages)


def connect(
    settings: CloudSettings,
    *,
    clock: Clock | None = None,
    open_session: Callable[[], Any] | None = None,
    publish: Callable[[Sequence[Message]], None] | None = None,
) -> RunnerServices:
    """Connect to the APIs that the settings name.

    If the other arguments are omitted, this process's own credential, clock and bus are used.
    """
    urls = {Api.BATCH: settings.batch_url, Api.RUN: settings.run_url, Api.STORAGE: StorageApi().base_url}
    rest = GoogleRestClient(urls, open_session or partial(default_session, CONNECTIONS))
    now = (clock or SystemClock()).now
    batch = BatchEngine(rest, settings)
    return RunnerServices(
        settings=settings,
        runner=CloudRunner({Engine.BATCH: batch, Engine.CLOUD_RUN: CloudRunEngine(rest, settings)}, now),
        batch=batch,
        publish=publish or HintPublisher(settings).publish,
        now=now,
        sweep=Sweeper(rest, settings, now).sweep_sometimes,
    )


@lru_cache(maxsize=1)
def runner_services() -> RunnerServices:
    """Return this process's services."""
    return connect(from_environment(os.environ))
