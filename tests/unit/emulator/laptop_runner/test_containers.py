"""Jobs as containers, on a stand-in that keeps docker's documented rules."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from atom_emulator.laptop_runner.container_tool import NoContainerTool, container_name, find_tool, is_image
from support.deadline import eventually
from unit.emulator.laptop_runner.docker import IMAGE, Container, Daemon, running_daemon
from unit.emulator.laptop_runner.laptop import PYTHON, WITHIN_S, Laptop

WAIT: Final = "import time; time.sleep(600)"
STUBBORN: Final = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); " + WAIT


class Site:
    """A Task Runner, and the daemon that runs its containers."""

    def __init__(self, folder: Path, command: Path, daemon: Daemon) -> None:
        self.folder = folder
        self.command = command
        self.daemon = daemon
        self.laptop = self.start()

    def start(self) -> Laptop:
        """Start a Task Runner."""
        return Laptop(self.folder, "--engine=docker", f"--tool={self.command}", "--slots=2")

    def submit(self, *argv: str, step: str = "step", image: str = IMAGE) -> dict[str, Any]:
        """Submit a container."""
        body = {"job_name": step, "imageUri": image, "args": list(argv), "labels": {"workflow": "daily"}}
        answer = self.laptop.call("POST", "/job", json=body, headers={"Idempotency-Key": f"run-1/{step}/1"})
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()["job"]
        return job

    def name(self, step: str = "step") -> str:
        """Return the name of the container of a job."""
        (runner,) = (self.laptop.folder / ".runners").iterdir()
        return container_name(runner.name, f"run-1/{step}/1")

    def is_running(self, step: str = "step") -> bool:
        """Return True if the container of a job is running."""
        container = self.daemon.containers.get(self.name(step))
        return container is not None and container.status == "running"

    def started(self, *argv: str, step: str = "step") -> None:
        """Submit a container, and wait until it is running."""
        self.submit(*argv, step=step)
        eventually(lambda: self.is_running(step), within_s=WITHIN_S, what="the container")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Run a Task Runner with two slots and a daemon."""
    folder = tmp_path / "f"
    folder.mkdir()
    with running_daemon(tmp_path) as (command, daemon):
        site = Site(folder, command, daemon)
        yield site
        site.laptop.kill()


def test_a_container_gets_its_arguments_and_returns_outputs(site: Site) -> None:
    """Arguments reach the container as they are, its output is the log, and its outputs file is read."""
    code = "import os, sys; print(sys.argv[1:]); open(os.environ['ATOM_OUTPUTS'], 'w').write('{\"rows\": 12}')"
    site.submit(PYTHON, "-c", code, "--name=x", "$HOME; ls", "")
    job = site.laptop.ended()
    assert (job["state"], job["outputs"]) == ("SUCCEEDED", {"rows": 12})
    assert (site.laptop.files() / "job.log").read_text() == "['--name=x', '$HOME; ls', '']\n"


def test_a_python_program_in_a_container_writes_each_line_at_once(site: Site) -> None:
    """Containers get PYTHONUNBUFFERED, too, so that a job that is stopped keeps its log."""
    site.submit(PYTHON, "-c", "import os; print(os.environ['PYTHONUNBUFFERED'])")
    site.laptop.ended()
    assert (site.laptop.files() / "job.log").read_text() == "1\n"


def test_a_container_is_removed_when_it_has_been_read(site: Site) -> None:
    """Once the end of a job is reported, its container is gone."""
    site.submit("true")
    site.laptop.ended()
    assert site.daemon.containers == {}


def test_the_exit_code_of_a_container_is_the_reason(site: Site) -> None:
    """A container that fails fails its job with its exit code and its last lines, even with docker's own codes."""
    for code in (3, 125, 137):
        site.submit("sh", "-c", f"echo so it goes; exit {code}", step=f"s{code}")
        job = site.laptop.ended(f"s{code}")
        assert (job["state"], job["reason"]) == ("FAILED", f"EXIT_{code}")
        assert "so it goes" in job["message"]


def test_a_lack_of_memory_is_the_reason(site: Site) -> None:
    """A container that was killed for lack of memory has the reason OOM."""
    site.daemon.is_next_oom = True
    site.submit("sh", "-c", "kill -9 $$")
    assert site.laptop.ended()["reason"] == "OOM"


@pytest.mark.parametrize(
    ("image", "program", "message"),
    [
        ("registry.example/none:1", "true", "pull access denied"),
        (IMAGE, "no-such-program", 'exec: "no-such-program"'),
        (IMAGE, "/", "Permission denied"),
    ],
)
def test_a_container_that_cannot_be_started_says_why(site: Site, image: str, program: str, message: str) -> None:
    """If docker cannot start a container, its job fails with docker's own message, and nothing is left."""
    site.submit(program, image=image)
    job = site.laptop.ended()
    assert (job["state"], job["reason"]) == ("FAILED", "NOT_STARTED")
    assert message in job["message"]
    assert site.daemon.containers == {}


def test_a_name_that_is_taken_starts_nothing(site: Site) -> None:
    """A container with the same name that comes from elsewhere is not taken for the job's own."""
    site.submit("true", step="first")
    site.laptop.ended("first")
    site.daemon.containers[site.name()] = Container(image=IMAGE, argv=[], labels={})
    site.submit("true")
    assert "is already in use" in site.laptop.ended()["message"]


def test_two_servers_may_have_the_same_key(site: Site) -> None:
    """A server in another folder neither uses nor removes the container of a job that has the same key."""
    site.started(PYTHON, "-c", WAIT)
    (site.folder.parent / "g").mkdir()
    other = Site(site.folder.parent / "g", site.command, site.daemon)
    try:
        other.submit("true")
        assert other.laptop.ended()["state"] == "SUCCEEDED"
        assert site.is_running()
    finally:
        other.laptop.kill()


def test_a_stopped_container_is_asked_to_end(site: Site) -> None:
    """A job that is stopped has its container stopped and removed."""
    site.started(PYTHON, "-c", WAIT)
    assert site.laptop.stop_job().json()["job"]["state"] == "CANCELLING"
    assert site.laptop.ended()["state"] == "CANCELLED"
    assert site.daemon.containers == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
@pytest.mark.parametrize("victim", ["server", "warden", "Ctrl-C"])
def test_containers_die_with_the_server(site: Site, victim: str) -> None:
    """However the server ends, its containers are removed, and the next one reports their jobs as RUNNER_DIED."""
    site.started(PYTHON, "-c", STUBBORN)
    end: dict[str, Callable[[], object]] = {
        "server": site.laptop.process.kill,
        "warden": site.laptop.warden().kill,
        "Ctrl-C": lambda: site.laptop.process.send_signal(signal.SIGINT),
    }
    end[victim]()
    site.laptop.process.wait(WITHIN_S)
    eventually(lambda: not site.daemon.containers, within_s=WITHIN_S, what="the end of the container")
    site.laptop = site.start()
    assert site.laptop.status()["reason"] == "RUNNER_DIED"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_a_container_that_was_left_is_removed_by_the_next_server(site: Site) -> None:
    """If all that could remove a container was killed, too, the next server removes it before it reports its job."""
    site.started(PYTHON, "-c", STUBBORN)
    pids = [site.laptop.process.pid, *(one.pid for one in site.laptop.descendants())]
    # Stopped first, so that none of them can act on the death of another.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):  # A command of the server's own has ended since.
                os.kill(pid, number)
    site.laptop.process.wait()
    assert site.is_running()
    site.laptop = site.start()
    assert site.daemon.containers == {}
    assert site.laptop.status()["reason"] == "RUNNER_DIED"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_a_command_that_was_killed_takes_its_container_along(site: Site) -> None:
    """If the command that runs a container is killed, the container is removed, and its job has FAILED."""
    site.started(PYTHON, "-c", STUBBORN)
    (command,) = [one for one in site.laptop.descendants() if str(site.command) in one.cmdline()]
    command.kill()
    job = site.laptop.ended()
    assert job["state"] == "FAILED"
    assert "command that ran the container was killed" in job["message"]
    assert site.daemon.containers == {}


@pytest.mark.parametrize(("code", "state", "reason"), [(0, "SUCCEEDED", None), (3, "FAILED", "EXIT_3")])
def test_a_container_that_someone_removed_has_ended_as_it_did(
    site: Site, code: int, state: str, reason: str | None
) -> None:
    """If a container is gone when its state is to be read, the exit code of the command that ran it counts."""
    wait = "while not os.path.exists(os.environ['ATOM_OUTPUTS'] + '.go'): time.sleep(0.01)"
    site.started(PYTHON, "-c", f"import os, sys, time\n{wait}\nsys.exit({code})")
    del site.daemon.containers[site.name()]
    (site.laptop.files() / "outputs" / "outputs.json.go").touch()
    job = site.laptop.ended()
    assert (job["state"], job.get("reason")) == (state, reason)


def test_only_containers_are_run(site: Site) -> None:
    """A task that is a program, has no image, or has one that would be an option, is refused with what to do."""
    for body, message in [
        ({"engine": "process", "args": ["true"]}, "--runner process"),
        ({"args": ["true"]}, "no imageUri"),
        ({"imageUri": "--privileged"}, "not the name of an image"),
    ]:
        answer = site.laptop.call("POST", "/job", json=body, headers={"Idempotency-Key": "run-1/step/1"})
        assert answer.status_code == 400
        assert message in answer.json()["message"]
    assert site.daemon.containers == {}


@pytest.mark.parametrize("image", ["alpine", "eu.gcr.io/p/load:1", "localhost:5000/a/b@sha256:" + "0" * 64])
def test_names_of_images_are_accepted(image: str) -> None:
    """Names with a registry, a tag or a digest are images."""
    assert is_image(image)


@pytest.mark.parametrize("image", ["", "-v", "--privileged", "a b", "a\n", "$(x)"])
def test_options_are_no_images(image: str) -> None:
    """What the command would take for an option, or for several words, is no image."""
    assert not is_image(image)


def test_a_tool_that_answers_is_found(tmp_path: Path) -> None:
    """Docker is used if its daemon answers, and podman if it does not."""
    with running_daemon(tmp_path) as (command, _):
        assert find_tool(str(tmp_path)) == str(command)
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\n")
    podman.chmod(0o755)
    assert find_tool(str(tmp_path)) == str(podman)


def test_a_missing_tool_is_explained(tmp_path: Path) -> None:
    """If there is neither, or docker's daemon does not run, the error says which."""
    with pytest.raises(NoContainerTool, match="neither docker nor podman"):
        find_tool(str(tmp_path))
    with running_daemon(tmp_path):
        pass
    with pytest.raises(NoContainerTool, match="docker is installed, but does not answer: Cannot connect"):
        find_tool(str(tmp_path))
