"""Which tests share a process when several run them at the same time: those that share what takes long to start.

And what every one of these processes begins with.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Generator
from typing import Final

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from atom_emulator.platform.network import bypass_proxies

SHARED: Final = frozenset({"contract", "deploy"})
"""Folders whose tests share servers."""

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_BACKEND: Final = re.compile(r"\[(?:.*-)?(embedded|google)(?:-.*)?\]$")


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # it ships no types
    """Gives a worker a whole group at a time, in the order in which the groups are collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return the group of a test, which one process runs."""
    path = nodeid.partition("::")[0]
    folder = path.split("/")[1]
    if folder in SHARED:
        return folder
    if folder == "e2e" and (backend := _BACKEND.search(nodeid)):
        return f"e2e on {backend[1]}"
    # Each storm has servers of its own.
    return nodeid if path.endswith("test_chaos.py") else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Deal out tests by their groups to several processes."""
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without looking for garbage.

    Modules and tests stay until the end, so that no later search need visit them either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure() -> None:
    """Let signals end the processes that tests start, and let these keep the bytecode that they compile.

    They would ignore SIGINT if this one was started by `nohup` or in the background. Without bytecode, which some
    machines keep Python from writing, each of hundreds of processes would compile all its modules anew. Nor does any
    test ask this machine's proxy for its own servers.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.update(bypass_proxies(os.environ))
    for signum, ends in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, ends)
