"""The log of calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from atom_emulator.task_runner.call_log import CallLog


def test_a_full_disk_fails_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """A log file on a full disk is given up, and calls are kept in memory."""
    with Path("/dev/full").open("ab", buffering=0) as full:
        log = CallLog(full)
        for call in ("submit", "status"):
            log.add(call=call)
    assert [line.split('"')[-2] for line in log.lines().splitlines()] == ["submit", "status"]
    assert caplog.messages == ["calls are no longer logged to a file: [Errno 28] No space left on device"]
