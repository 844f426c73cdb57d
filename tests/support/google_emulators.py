"""Google's own Firestore and Pub/Sub emulators while tests need them, started as the platform starts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from atom_emulator.platform.google import find_installed
from atom_emulator.platform.network import reserve_port
from atom_emulator.platform.options import PartName
from atom_emulator.platform.part import PartSpec
from atom_emulator.platform.servers import Server
from atom_emulator.platform.supervisor import Supervisor

BOTH: Final = (PartName.FIRESTORE, PartName.PUBSUB)
START_S: Final = 120


@contextmanager
def google_emulators(log_dir: Path) -> Iterator[Mapping[PartName, str]]:
    """Yield the addresses of both emulators, which must be installed.

    Neither outlives the process that asked for it.
    """
    supervisor = Supervisor(grace_s=1.0)
    with ExitStack() as stack:
        stack.callback(supervisor.stop)
        servers = [find_installed(BOTH).server(name, reserve_port(name, 0, stack)) for name in BOTH]
        started = [(server, supervisor.start(_spec(server, log_dir))) for server in servers]
        for server, part in started:
            supervisor.wait_until(part, lambda server=server: bool(server.address()), timeout_s=START_S)  # type: ignore[misc]  # mypy infers no type for a lambda with a default
        yield {server.name: server.address() or "" for server in servers}


def _spec(server: Server, log_dir: Path) -> PartSpec:
    log = log_dir / f"{server.name}.log"
    return PartSpec(name=server.name, command=server.command, environment=server.environment, log=log)
