"""Find docker or podman, and build their commands.

Both accept the same options and report the same exit codes (https://docs.docker.com/reference/cli/docker/container/run/,
https://docs.podman.io/en/latest/markdown/podman-run.1.html).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOOLS: Final = ("docker", "podman")
MOUNTED_AT: Final = "/atom"
"""The folder in the container that is the folder of the job's outputs on this machine."""

LABEL: Final = "atom-workflows.runner"

_ANSWERS_S: Final = 20.0
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,4095}")
_LONGEST_REASON: Final = 300


class NoContainerTool(Exception):
    """Neither docker nor podman can run containers here."""


def find_tool(path: str | None = None) -> str:
    """Return the program that runs containers.

    It is docker, or podman if docker does not answer. `path` is where to look instead of PATH. Raises
    `NoContainerTool`, which says what is missing.
    """
    problems = []
    for name in TOOLS:
        program = shutil.which(name, path=path)
        if program is None:
            continue
        problem = _find_problem(program)
        if not problem:
            return program
        problems.append(f"{name} is installed, but does not answer: {problem}")
    raise NoContainerTool("; ".join(problems) or "neither docker nor podman is installed")


def _find_problem(program: str) -> str:
    """Ask for the running containers, which only docker's daemon knows."""
    try:
        answer = subprocess.run(  # noqa: S603 (found by its name)
            [program, "ps", "--quiet"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWERS_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not within {_ANSWERS_S:g} s"
    except OSError as error:
        return str(error)
    if answer.returncode == 0:
        return ""
    return " ".join(answer.stderr.decode(errors="replace").split())[:_LONGEST_REASON]


def container_name(runner: str, key: str) -> str:
    """Return the name of the container of the job with this idempotency key.

    Another Task Runner on this machine may have a job with the same key, since people choose the keys of runs.
    """
    return f"atom-{hashlib.sha256(f'{runner}/{key}'.encode()).hexdigest()[:20]}"


def is_image(text: str) -> bool:
    """Return True if this can be an image and not an option."""
    return _IMAGE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerCommands:
    """The commands for one container."""

    tool: str
    name: str

    def run(
        self, image: str, argv: Sequence[str], *, env: Mapping[str, str], mounted: Path, runner: str
    ) -> tuple[str, ...]:
        """Return the command that runs the container and passes on its output.

        The container is kept when it has ended, so that its state can be read. Its output goes to the job's log only.
        """
        options = [f"--name={self.name}", f"--label={LABEL}={runner}", "--log-driver=none"]
        options += [f"--env={name}={value}" for name, value in env.items()]
        # `Z` lets the container in where SELinux would not; elsewhere it has no effect.
        options.append(f"--volume={mounted}:{MOUNTED_AT}:Z")
        return (self.tool, "run", *options, image, *argv)

    @property
    def stop(self) -> tuple[str, ...]:
        """The command that asks the container to end, and kills it after ten seconds."""
        return (self.tool, "stop", "-t", "10", self.name)

    @property
    def inspect(self) -> tuple[str, ...]:
        """The command that prints the container's state as JSON."""
        return (self.tool, "inspect", "--format={{json .State}}", self.name)

    @property
    def remove(self) -> tuple[str, ...]:
        """The command that kills and removes the container."""
        return (self.tool, "rm", "--force", "--volumes", self.name)


def list_command(tool: str, runner: str) -> tuple[str, ...]:
    """Return the command that lists a Task Runner's containers by id."""
    return (tool, "ps", "--all", "--quiet", f"--filter=label={LABEL}={runner}")
