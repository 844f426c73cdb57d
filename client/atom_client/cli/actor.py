"""Determine who is recorded as the author of a change."""

from __future__ import annotations

import getpass
import os
import socket

import click

from atom_client.cli.history import has_history, refuse
from atom_client.cli.platform import FIRESTORE_HOST
from atom_client.text import name_of
from atom_workflows.core.user_changes import LONGEST_ACTOR


def current_actor() -> str:
    """Return the command's account if known without a call, else USER@HOST.

    The account is the one whose credentials the command uses. USER@HOST names the operating system's user and this
    machine. Neither proves anything: anyone who can change a run's documents can write any name into them. Call this
    only after connecting to the platform. Raises `Failure` if there is only a history, which cannot be changed.
    """
    # A local platform needs no credentials, and tests bring their own platform.
    if click.get_current_context().obj is None and not os.environ.get(FIRESTORE_HOST):
        if has_history():
            refuse()
        from atom_workflows.adapters.own_credentials import known_account  # noqa: PLC0415 (only for deployments)

        if account := known_account():
            return account
    return local_actor()


def local_actor() -> str:
    """Return the operating system's user and this machine as USER@HOST."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # In a container, the user's number may have no name.
        user = f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return name_of(f"{user}@{socket.gethostname()}")[:LONGEST_ACTOR]
