"""The parsers of podman and docker accept the commands that are built for containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from atom_emulator.laptop_runner.container_tool import LABEL, ContainerCommands, list_command

PODMAN: Final = shutil.which("podman")
DOCKER: Final = shutil.which("docker")
IMAGE: Final = "localhost/tools:1.0"
RUNTIME_FAILED: Final = frozenset({126, 127})
"""The exit codes when all was understood, but this machine's kernel does not let the runtime start a container."""

if PODMAN is None and os.environ.get("CI") == "true":
    pytest.fail("podman is not installed; .ci/run installs it", pytrace=False)
needs_podman = pytest.mark.skipif(PODMAN is None, reason="podman is not installed (apt-get install podman)")


class Podman:
    """Podman with a storage of its own, in which there is one image."""

    def __init__(self, folder: Path) -> None:
        self.tool = str(folder / "podman")
        storage = f"--storage-driver=vfs --root={folder / 'root'} --runroot={folder / 'run'}"
        Path(self.tool).write_text(f'#!/bin/sh\nexec {PODMAN} {storage} "$@"\n')
        Path(self.tool).chmod(0o755)
        (folder / "file").write_text("content")
        with tarfile.open(folder / "image.tar", "w") as image:
            image.add(folder / "file", "file")
        assert self.obey((self.tool, "import", str(folder / "image.tar"), IMAGE)).returncode == 0

    def obey(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Carry out a command."""
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def seen(self, name: str) -> dict[str, Any]:
        """Return a container as podman describes it."""
        (found,) = json.loads(self.obey((self.tool, "inspect", name)).stdout)
        container: dict[str, Any] = found
        return container


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Yield one podman for this file's tests.

    It refuses a folder whose name is longer than 50 characters, as those of pytest may be.
    """
    with TemporaryDirectory(prefix="podman-") as folder:
        yield Podman(Path(folder))


@needs_podman
def test_run_means_what_was_meant(podman: Podman, tmp_path: Path) -> None:
    """The container gets its name, label, variables, folder and arguments as they are, whatever they contain."""
    commands = ContainerCommands(tool=podman.tool, name="atom-0123456789")
    argv = ["/file", "--name=x", "$HOME; ls", "--", "", "ü"]
    env = {"ATOM_RUN_ID": "run 1", "ATOM_STEP_ID": "a=b", "ATOM_OUTPUTS": "/atom/outputs.json"}
    answer = podman.obey(commands.run(IMAGE, argv, env=env, mounted=tmp_path, runner="0123"))
    assert answer.returncode in {0, *RUNTIME_FAILED}, answer.stderr
    container = podman.seen("atom-0123456789")
    assert container["Config"]["Cmd"] == argv
    assert {f"{name}={value}" for name, value in env.items()} <= set(container["Config"]["Env"])
    assert container["Config"]["Labels"][LABEL] == "0123"
    (mount,) = container["Mounts"]
    assert (mount["Source"], mount["Destination"], mount["RW"]) == (str(tmp_path), "/atom", True)
    again = podman.obey(commands.run(IMAGE, argv, env=env, mounted=tmp_path, runner="0123"))
    assert again.returncode == 125
    assert "already in use" in again.stderr


@pytest.mark.skipif(DOCKER is None, reason="docker is not installed")
def test_docker_understands_the_same_commands(tmp_path: Path) -> None:
    """Docker's own parser accepts each command, and then looks for its daemon."""
    assert DOCKER is not None
    commands = ContainerCommands(tool=DOCKER, name="atom-abcdef")
    run = commands.run(IMAGE, ["--name=x"], env={"A": "b"}, mounted=tmp_path, runner="0123")
    nowhere = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path / 'no-daemon'}"}
    for command in (run, commands.stop, commands.inspect, commands.remove, list_command(DOCKER, "0123")):
        answer = subprocess.run(command, env=nowhere, capture_output=True, text=True, check=False)
        assert answer.returncode != 0
        assert "unknown" not in answer.stderr, command
        assert str(tmp_path) in answer.stderr, command


@needs_podman
def test_a_container_is_shown_stopped_listed_and_removed(podman: Podman, tmp_path: Path) -> None:
    """The other commands are understood, and remove what was made."""
    commands = ContainerCommands(tool=podman.tool, name="atom-abcdef")
    podman.obey(commands.run(IMAGE, ["/file"], env={}, mounted=tmp_path, runner="4567"))
    state = json.loads(podman.obey(commands.inspect).stdout)
    assert {"Status", "Running", "ExitCode", "OOMKilled"} <= set(state)
    assert podman.obey(commands.stop).returncode == 0
    (listed,) = podman.obey(list_command(podman.tool, "4567")).stdout.split()
    assert podman.seen("atom-abcdef")["Id"].startswith(listed)
    assert podman.obey(list_command(podman.tool, "456")).stdout == ""
    assert podman.obey(commands.remove).returncode == 0
    assert podman.obey(commands.inspect).returncode != 0
    assert podman.obey((podman.tool, "run", "--no-such-option", IMAGE)).returncode == 125
