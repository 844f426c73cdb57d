"""The local platform, which asks nobody who they are, is there for this machine and its logs for their owner."""

from __future__ import annotations

import stat
from pathlib import Path

import psutil

from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.options import PlatformOptions
from atom_workflows.cli.local import require_log_dir
from unit.emulator.platform.processes import Descendants

STUBS = Path(__file__).parents[1] / "unit" / "emulator" / "platform" / "stub_functions"


def test_everything_listens_on_loopback_and_logs_are_their_owner_s(tmp_path: Path) -> None:
    """No part can be reached from another machine, and no other user of this one can read the logs."""
    descendants = Descendants()
    before = {each.laddr for each in psutil.Process().net_connections("tcp")}
    log_dir = tmp_path / "logs" / "new"
    with LocalPlatform(PlatformOptions(functions_dir=STUBS, log_dir=log_dir)) as platform:
        processes = [psutil.Process(), *descendants.now()]
        connections = [each for process in processes for each in process.net_connections("inet")]
        listening = {each.laddr for each in connections if each.status == psutil.CONN_LISTEN} - before
        assert len(listening) >= len(platform.addresses)
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert stat.S_IMODE(log_dir.stat().st_mode) == 0o700


def test_the_command_line_s_logs_are_their_owner_s_too(tmp_path: Path) -> None:
    """A folder for logs that the command line makes is readable by its owner alone; one that is there is let be."""
    require_log_dir(tmp_path / "logs")
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    tmp_path.chmod(0o755)
    require_log_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
