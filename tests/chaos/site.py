"""The platform behind a network that fails, and direct connections to its servers for whoever judges."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from google.cloud import firestore, pubsub_v1

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import REVIVABLE, Emulators, PartName, PlatformOptions
from chaos.proxy import Network, Odds, Proxy, Weather
from chaos.submissions import SubmissionWatch
from chaos.tally import Tally
from chaos.workloads import SCRIPT

HASTY: Final = Path(__file__).parent / "hasty_functions"

# gRPC keeps one connection for many calls, so that a cut fails all that are under way.
_ODDS: Final = {
    PartName.FIRESTORE: Odds(refused=0.2, cut=0.004, stalled=0.003, delayed=0.03),
    PartName.PUBSUB: Odds(refused=0.2, cut=0.02, stalled=0.01, delayed=0.05),
    PartName.TASK_RUNNER: Odds(refused=0.1, cut=0.02, stalled=0.008, delayed=0.05),
}

_ENVIRONMENT: Final = {
    "WORKFLOW_BURST_SEC": "3",
    "WORKFLOW_CHECK_STATE_DURATION_SEC": "0.3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running platform. `watch` sees its submissions, `database`, `publisher` and `subscriber` see no fault."""

    platform: LocalPlatform
    proxies: tuple[Proxy, ...]
    tally: Tally
    watch: SubmissionWatch
    database: Any
    publisher: Any
    subscriber: Any

    def set_stormy(self, *, stormy: bool) -> None:
        """Let the network fail, or leave it in peace."""
        for proxy in self.proxies:
            proxy.weather.stormy = stormy


@contextmanager
def site(emulators: Emulators, seed: int, folder: Path) -> Iterator[Site]:
    """Start a platform behind the failing network, with logs in the folder.

    Its functions reach every server through the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "script.yaml"
    script.write_text(SCRIPT)
    tally, watch = Tally(), SubmissionWatch()
    addresses: dict[PartName, str] = {}
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        proxies = {
            name: network.proxy(
                name,
                _address_of(name, addresses),
                Weather(where=name, odds=odds, dice=_dice(seed, name), tally=tally),
                listener=watch if name is PartName.TASK_RUNNER else None,
            )
            for name, odds in _ODDS.items()
        }
        options = PlatformOptions(
            emulators=emulators,
            functions_dir=HASTY,
            bucket=None,
            task_runner_script=script,
            task_runner_journal=folder / "jobs.jsonl",
            environment={**_ENVIRONMENT, **_through(proxies)},
            tick_every_s=0.5,
            grace_s=1.0,
            start_timeout_s=60.0,
            log_dir=folder,
            revived=REVIVABLE,
        )
        platform = LocalPlatform(options)
        # The same mapping, which fills as the servers start, before any function can ask for one.
        platform.addresses = addresses
        stack.enter_context(platform)
        clients = _clients(platform, stack)
        yield Site(platform=platform, proxies=tuple(proxies.values()), tally=tally, watch=watch, **clients)


def _dice(seed: int, name: PartName) -> random.Random:
    return random.Random(f"{seed}/{name}")  # noqa: S311 - nothing secret


def _address_of(name: PartName, addresses: dict[PartName, str]) -> Any:
    return lambda: addresses[name].removeprefix("http://")


def _through(proxies: dict[PartName, Proxy]) -> dict[str, str]:
    return {
        "FIRESTORE_EMULATOR_HOST": proxies[PartName.FIRESTORE].address,
        "PUBSUB_EMULATOR_HOST": proxies[PartName.PUBSUB].address,
        "WORKFLOW_TASK_RUNNER_URL": f"http://{proxies[PartName.TASK_RUNNER].address}",
    }


def _clients(platform: LocalPlatform, stack: ExitStack) -> dict[str, Any]:
    direct = {
        "FIRESTORE_EMULATOR_HOST": platform.addresses[PartName.FIRESTORE],
        "PUBSUB_EMULATOR_HOST": platform.addresses[PartName.PUBSUB],
    }
    with patch.dict(os.environ, direct):  # The clients read it when they are made, and never again.
        database = firestore.Client(project=platform.options.project)
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    stack.callback(database.close)
    stack.callback(publisher.transport.close)
    stack.callback(publisher.stop)
    stack.callback(subscriber.close)
    return {"database": database, "publisher": publisher, "subscriber": subscriber}
