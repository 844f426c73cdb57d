"""Which platform the commands talk to: the one that the environment names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import click

from atom_workflows.cli.failures import Failure, Misuse
from atom_workflows.coordinator.services import Services

if TYPE_CHECKING:
    from atom_workflows.cli.letters import Desk

FIRESTORE_HOST: Final = "FIRESTORE_EMULATOR_HOST"
PUBSUB_HOST: Final = "PUBSUB_EMULATOR_HOST"
PROJECTS: Final = ("WORKFLOW_PROJECT", "GOOGLE_CLOUD_PROJECT")
_CONNECT_TIMEOUT_S: Final = 2.0

Connect: TypeAlias = Callable[[Mapping[str, str]], Services]
"""How services are made of an environment; tests hand their own to the command line as its `obj`."""


def names_local_platform(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a local platform; refuses one that names half of it."""
    named = [name for name in (FIRESTORE_HOST, PUBSUB_HOST) if environment.get(name)]
    if len(named) == 1:
        other = PUBSUB_HOST if named == [FIRESTORE_HOST] else FIRESTORE_HOST
        raise Misuse(
            f"{named[0]} is set but {other} is not. Export all that `atom-workflows local up` prints, "
            f"or `unset {named[0]}`.",
        )
    return bool(named)


def connected(environment: Mapping[str, str]) -> Services:
    """The services of the platform that the environment names, which answers at least to a connection."""
    given: Connect | None = click.get_current_context().obj
    if given is not None:
        return given(environment)
    if names_local_platform(environment):
        for name in (FIRESTORE_HOST, PUBSUB_HOST):
            _require_answer(name, environment[name])
    elif not any(environment.get(name) for name in PROJECTS):
        raise Misuse(
            "it is not known where the runs are. Export what `atom-workflows local up` prints, "
            "or set GOOGLE_CLOUD_PROJECT to the project of your deployment.",
        )
    return _services(environment)


def desk(environment: Mapping[str, str]) -> Desk:
    """The dead letters of the same platform."""
    services = connected(environment)
    from atom_workflows.bootstrap import dead_letters  # noqa: PLC0415 (Google's clients take a second to import)
    from atom_workflows.cli.letters import Desk  # noqa: PLC0415 (of these commands alone)

    settings = services.settings
    return Desk(
        bus=services.bus,
        box=dead_letters(settings),
        project=settings.project,
        is_local=names_local_platform(environment),
        topic_prefix=settings.topic_prefix,
    )


def _services(environment: Mapping[str, str]) -> Services:
    from atom_workflows.bootstrap import connect  # noqa: PLC0415 (Google's clients take a second to import)
    from atom_workflows.settings import from_environment  # noqa: PLC0415 (likewise)

    return connect(from_environment(environment))


def _require_answer(name: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise Failure(
            f"nothing answers at {address}, which {name} names. Start a platform with `atom-workflows local up` "
            f"and export what it prints, or `unset {FIRESTORE_HOST} {PUBSUB_HOST}`."
        ) from error
