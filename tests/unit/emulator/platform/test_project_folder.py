"""A project's folder: one platform at a time holds it, and commands find that platform."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from atom_emulator.platform import project_folder
from atom_emulator.platform.errors import FolderInUse, FolderUnusable, PlatformError
from atom_emulator.platform.project_folder import ProjectFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """
import sys, threading
from pathlib import Path
from atom_emulator.platform.project_folder import ProjectFolder
folder = ProjectFolder(Path(sys.argv[1]))
with folder.held(alone=sys.argv[2] == "alone", by="atom-workflows local up"):
    with folder.announced({"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1"}, only_run=sys.argv[3]):
        print(flush=True)
        threading.Event().wait()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    """Return a folder that does not exist yet, for which no one waits long."""
    for name in ("ENDS_WITHIN_S", "PARTS_END_WITHIN_S"):
        monkeypatch.setattr(project_folder, name, 0.2)
    return ProjectFolder.of(tmp_path)


@contextmanager
def another(folder: ProjectFolder, how: str = "alone", only_run: str = "") -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the folder."""
    command = [sys.executable, "-c", HOLD, str(folder.path), how, only_run]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_a_second_platform_is_refused_and_told_of_the_first(folder: ProjectFolder) -> None:
    """Whoever comes second gets the command and the process that has the folder, and what to do."""
    with another(folder) as first, pytest.raises(FolderInUse) as refused, folder.held(alone=True, by="second"):
        pytest.fail("there are two")
    said = str(refused.value)
    assert f"`atom-workflows local up` (process {first.pid}) is using {folder.path}" in said
    assert "--in-memory" in said


@pytest.mark.parametrize("how", ["alone", "beside"])
def test_single_runs_share_the_folder_with_each_other_only(folder: ProjectFolder, how: str) -> None:
    """Platforms of single runs may hold the folder together, but not beside one that needs it for itself."""
    with another(folder, how):
        if how == "alone":
            said = "Repeat the command when that is up or has ended"
            with pytest.raises(FolderInUse, match=said), folder.held(alone=False, by="second"):
                pytest.fail("there are two")
        else:
            with folder.held(alone=False, by="second"):
                assert folder.running_platform() is None


def test_only_a_process_that_is_running_is_named(folder: ProjectFolder) -> None:
    """Of those that share the folder, one that is still there is named, and none that has ended."""
    with another(folder, "beside") as first:
        with another(folder, "beside") as second:
            pass
        second.wait()
        with pytest.raises(FolderInUse, match=f"process {first.pid}"), folder.held(alone=True, by="third"):
            pytest.fail("there are two")
    with folder.held(alone=True, by="next") as lock:
        part = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])
    with part, pytest.raises(FolderInUse, match="another platform is using"), folder.held(alone=True, by="last"):
        pytest.fail("a part is left")


def test_the_platform_of_another_folder_stays_announced(folder: ProjectFolder) -> None:
    """A platform whose folder was removed does not take away what its successor has announced."""
    with folder.held(alone=True, by="one"), folder.announced({"A": "first"}):
        shutil.rmtree(folder.path)
        with another(folder) as successor:
            pass_on = folder.path / "platform.json"
            assert json.loads(pass_on.read_text())["pid"] == successor.pid
            left = pass_on.read_text()
    assert pass_on.read_text() == left


@pytest.mark.parametrize("name", ["platform.lock", "platform.json", "platform.partial"])
def test_a_folder_in_the_place_of_a_file_is_named(folder: ProjectFolder, name: str) -> None:
    """Whatever cannot be written is named with what to do, and leaves the folder free."""
    (folder.path / name).mkdir(parents=True)
    said = rf"{name} cannot be used: is a directory\..*--in-memory"
    with pytest.raises(FolderUnusable, match=said), folder.held(alone=True, by="one"), folder.announced({}):
        pytest.fail("it is in the way")
    (folder.path / name).rmdir()
    with folder.held(alone=True, by="one"), folder.announced({}):
        assert folder.running_platform() == {}


def test_the_parts_of_a_killed_platform_are_waited_for(folder: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is free once the last process that inherited the lock has ended, however long requests keep it."""
    monkeypatch.setattr(project_folder, "PARTS_END_WITHIN_S", 60.0)
    with folder.held(alone=True, by="first") as lock:
        part = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], pass_fds=[lock])
    with folder.held(alone=True, by="second"):
        assert part.poll() is not None


def test_a_platform_is_found_while_it_is_up(folder: ProjectFolder) -> None:
    """The variables are there for their owner alone, and what a killed platform left is ignored and then removed."""
    assert folder.running_platform() is None
    with another(folder) as process:
        assert folder.running_platform() == {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1"}
        state = folder.path / "platform.json"
        assert state.stat().st_mode & 0o777 == 0o600
        assert json.loads(state.read_text())["pid"] == process.pid
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert state.exists()
        assert folder.running_platform() is None
    with folder.held(alone=True, by="next"):
        assert not state.exists()


def test_a_killed_platform_is_not_found_while_its_parts_end(folder: ProjectFolder) -> None:
    """A platform is its first process: once that was killed, the others only hold the folder until they have ended."""
    with another(folder) as process:
        state = (folder.path / "platform.json").read_text()
        process.kill()
        process.wait()
    with folder.held(alone=True, by="a part"):
        (folder.path / "platform.json").write_text(state)
        assert folder.running_platform() is None


def test_the_platform_of_a_run_is_found_by_its_run_alone(folder: ProjectFolder) -> None:
    """Platforms of single runs stand beside each other, none is that of the folder, and a killed one is not found."""
    with another(folder, "shared", "flow-1") as one, another(folder, "shared", "flow-2"):
        assert folder.platform_of_run("flow-1") == {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1"}
        assert (folder.platform_of_run("flow-3"), folder.running_platform()) == (None, None)
        assert folder.runs_under_way() == ["flow-1", "flow-2"]
        assert (folder.path / "run-flow-1.json").stat().st_mode & 0o777 == 0o600
        one.kill()
        one.wait()
        assert folder.platform_of_run("flow-1") is None
        assert folder.runs_under_way() == ["flow-2"]
    with folder.held(alone=True, by="next"):
        assert not list(folder.path.glob("run-*"))
    with folder.held(alone=False, by="run"), folder.announced({"A": "b"}, only_run="flow-4"):
        assert folder.platform_of_run("flow-4") == {"A": "b"}
    assert not list(folder.path.glob("run-*"))


def test_nothing_is_left_of_a_platform_that_ends(folder: ProjectFolder) -> None:
    """A platform that ends takes its variables away, and lets the next one in."""
    for _ in range(2):
        with folder.held(alone=True, by="one"), folder.announced({"A": "b"}):
            assert folder.running_platform() == {"A": "b"}
        assert folder.running_platform() is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"environment": 7}', "[" * 99_000])
def test_a_state_that_no_platform_wrote_is_ignored(folder: ProjectFolder, content: str) -> None:
    """A file in the place of the state names no platform."""
    with folder.held(alone=True, by="one"):
        (folder.path / "platform.json").write_text(content)
        assert folder.running_platform() is None


def test_git_ignores_the_folder(folder: ProjectFolder) -> None:
    """The folder tells git to ignore all of it."""
    with folder.held(alone=True, by="one"):
        assert (folder.path / ".gitignore").read_text() == "*\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder is reported."""
    (tmp_path / "file").write_text("")
    folder = ProjectFolder(tmp_path / "file")
    with pytest.raises(PlatformError, match="file"), folder.held(alone=True, by="one"):
        pytest.fail("there is no folder")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
