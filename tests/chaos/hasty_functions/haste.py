"""Every limit of the coordinator, in the proportions that they are deployed with, but about twenty times as short.

A lease outlasts a submission, which outlasts its timeouts; what is tested is that someone goes on, not when.
"""

from __future__ import annotations

import os
from datetime import timedelta

from atom_workflows import settings
from atom_workflows.adapters.firestore.store import FirestoreStore
from atom_workflows.adapters.pubsub.bus import PubsubBus
from atom_workflows.adapters.pubsub.retries import Limits
from atom_workflows.adapters.task_runner import client
from atom_workflows.adapters.task_runner.client import TaskRunnerClient
from atom_workflows.coordinator import groups, limits, repair, submission
from atom_workflows.core import polling, stopping, transitions
from atom_workflows.core.workflow import Backoff

SHORT = Backoff(initial=timedelta(seconds=0.4), factor=2.0, maximum=timedelta(seconds=3), jitter=0.2)

vars(settings)["MIN_LEASE_S"] = 1
os.environ["WORKFLOW_LEASE_SEC"] = "10"
vars(submission)["SUBMIT_BUDGET"] = timedelta(seconds=4.5)
vars(client)["CONNECT_TIMEOUT_S"] = 1.0
for name in ("DEFER_BACKOFF", "BUSY_BACKOFF", "UNKNOWN_BACKOFF"):
    vars(transitions)[name] = SHORT
vars(limits)["PAUSES"] = SHORT
vars(polling)["POLL_BACKOFF"] = SHORT
for module in (polling, stopping):
    vars(module)["MISSING_GRACE"] = timedelta(seconds=2)
for module in (polling, repair, groups):
    vars(module)["NEXT_AUDIT"] = timedelta(seconds=5)
vars(polling)["SHORTEST_AUDIT"] = timedelta(seconds=5)
vars(polling)["LONGEST_AUDIT"] = timedelta(seconds=10)


def _default(adapter: type, **shorter: float | Limits) -> None:
    defaults = adapter.__init__.__kwdefaults__  # type: ignore[misc]  # a class's own, which is no subclass's
    if unknown := shorter.keys() - defaults.keys():
        raise TypeError(f"{adapter.__name__} takes no {', '.join(unknown)}")
    defaults.update(shorter)


_default(TaskRunnerClient, submit_timeout_s=3.0, status_timeout_s=1.5)
_default(FirestoreStore, call_timeout_s=2.0, total_timeout_s=4.0)
_default(PubsubBus, limits=Limits(call_s=2.0, total_s=4.0))
