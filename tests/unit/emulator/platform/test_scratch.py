"""The folders of platforms that were killed are removed by the next one, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from atom_emulator.platform.scratch import MARK, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import threading
from atom_emulator.platform.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "start").mkdir()
    print(folder, flush=True)
    threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def another(place: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process that has a folder of its own."""
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def killed(place: Path) -> Path:
    """Return the folder of a process that was killed."""
    with another(place) as (process, folder):
        process.send_signal(signal.SIGKILL)
    assert (folder / MARK).exists()
    return folder


def test_the_folder_lasts_as_long_as_the_block(place: Path) -> None:
    """The folder is removed with its content when the block ends."""
    with scratch_folder() as folder:
        (folder / "checker").mkdir()
        (folder / "checker" / "socket").touch()
        assert [*place.iterdir()] == [folder]
    assert not [*place.iterdir()]


def test_what_a_killed_platform_left_is_removed(place: Path) -> None:
    """The next platform removes the folder that a killed one left."""
    left = killed(place)
    with scratch_folder():
        assert not left.exists()


def test_the_folder_of_another_platform_that_is_up_is_kept(place: Path) -> None:
    """Two platforms may be up at the same time."""
    with another(place) as (_, theirs), scratch_folder():
        assert (theirs / "start").is_dir()


def test_what_is_not_certainly_ours_is_kept(place: Path) -> None:
    """Only folders with the mark are removed."""
    (place / "atom-notes").mkdir()
    (place / "atom-file").touch()
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARK).touch()
    (place / "atom-link").symlink_to(elsewhere)
    with scratch_folder():
        pass
    assert {path.name for path in place.iterdir()} == {"atom-notes", "atom-file", "elsewhere", "atom-link"}
    assert (elsewhere / MARK).exists()


def test_another_users_folder_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's folder is kept, even if root runs the platform."""
    left = killed(place)
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    with scratch_folder():
        assert left.exists()
