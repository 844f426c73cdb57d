"""Programs that some tests need: a laptop may do without them, a build may not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import pytest

from atom_emulator.platform.errors import EmulatorsMissing, StorageMissing
from atom_emulator.platform.google import find_installed
from atom_emulator.platform.options import PartName
from atom_emulator.platform.storage import find_program

Service: TypeAlias = Literal["google emulators", "storage", "gsutil", "gcloud", "chromium"]


CHROMIUM: Final = shutil.which("chromium-headless-shell") or shutil.which("chromium")
"""Debian's browser without windows, or the whole one, which takes twice the processor time for the same pages.

Both draw pages and run scripts with the same code.
"""


def need(service: Service) -> None:
    """Skip the test unless the service is installed.

    Where `CI` is true, the test fails instead.
    """
    reason = _MISSING[service]()
    if not reason:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _emulators() -> str:
    try:
        find_installed((PartName.FIRESTORE, PartName.PUBSUB))
    except EmulatorsMissing as missing:
        return str(missing)
    return ""


def _storage() -> str:
    try:
        find_program()
    except StorageMissing as missing:
        return str(missing)
    return ""


def _command(name: str) -> str:
    return "" if shutil.which(name) else f"{name} is not installed"


_MISSING: Final[Mapping[Service, Callable[[], str]]] = {
    "google emulators": _emulators,
    "storage": _storage,
    "gsutil": lambda: _command("gsutil"),
    "gcloud": lambda: _command("gcloud"),
    "chromium": lambda: "" if CHROMIUM else "neither chromium-headless-shell nor chromium is installed",
}
"""Each answers what is missing, nothing if all is there."""
