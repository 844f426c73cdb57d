"""The staged folders: what is in them, that they are always the same, and that each starts from itself alone."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import requests

import pin
from atom_deploy.problems import DeployProblem
from atom_deploy.resources.functions import ALL_FUNCTIONS
from atom_deploy.stage import REQUIREMENTS, digests, stage
from atom_emulator.platform.local import LocalPlatform
from atom_emulator.platform.network import accepts_connections, reserve_port
from atom_emulator.platform.options import PartName, PlatformOptions
from functions.posting import Golden, golden
from support.deadline import eventually

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = {
    "start": "start-push-inline",
    "dispatcher": "dispatcher-push-step-ready",
    "checker": "checker-push-scheduler-tick",
}
NOTICE: Final = Golden(
    "runner",
    {"Content-Type": "application/json"},
    {"message": {"attributes": {"JobName": "someone-elses"}, "messageId": "1"}, "subscription": "s"},
)
"""A notice about a job of someone else."""

SETTINGS: Final = {
    "WORKFLOW_PROJECT": "atom-local",
    "WORKFLOW_RUNNER_ACCOUNT": "jobs@atom-local.iam.gserviceaccount.com",
    "WORKFLOW_RUNNER_BUCKET": "atom-local-outputs",
    "WORKFLOW_RUNNER_REGION": "us-central1",
}


def test_a_folder_holds_what_its_function_needs(tmp_path: Path) -> None:
    """A staged folder holds main.py, the library and requirements only."""
    stage(tmp_path / "staged")
    for function in ALL_FUNCTIONS:
        folder = tmp_path / "staged" / function
        assert (folder / "main.py").read_bytes() == (ROOT / "functions" / function / "main.py").read_bytes()
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        assert {"atom_workflows/bootstrap.py", "atom_workflows/core/graph.py", REQUIREMENTS} <= names
        assert not [name for name in names if {"atom_client", "cli", "__pycache__"} & {*name.split("/")}]
        assert not [path for path in folder.rglob("*") if path.is_symlink()]


def test_the_same_sources_give_the_same_digests(tmp_path: Path) -> None:
    """The same sources are staged with the same digests."""
    first = stage(tmp_path / "one")
    assert stage(tmp_path / "one") == stage(tmp_path / "two") == first
    assert len(set(first.values())) == len(ALL_FUNCTIONS)
    main = tmp_path / "two" / "start" / "main.py"
    main.write_text(main.read_text() + "\n")
    changed = digests(tmp_path / "two")
    assert [name for name in ALL_FUNCTIONS if changed[name] != first[name]] == ["start"]


def test_no_ones_files_are_staged_over(tmp_path: Path) -> None:
    """A folder that holds something else is refused unchanged."""
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(DeployProblem, match="contains files that were not staged"):
        stage(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_what_was_not_staged_cannot_be_deployed(tmp_path: Path) -> None:
    """A missing staged folder is named with the command that makes it."""
    with pytest.raises(DeployProblem, match=r"no staged start, dispatcher, checker, runner; run `make stage`"):
        digests(tmp_path)


def test_the_requirements_are_pinned_as_they_are_tested() -> None:
    """The deployed requirements are those that the tests use."""
    assert pin.pinned(pin.TARGET.read_text(encoding="utf-8")) == pin.pins()


def test_what_is_deployed_has_hashes() -> None:
    """Each pinned package has its hashes, and none is built."""
    text = pin.TARGET.read_text(encoding="utf-8")
    assert "\n--only-binary :all:\n" in text
    for package in text.partition(":all:\n")[2].strip().replace("\\\n", "").splitlines():
        version, *hashes = package.split()
        assert re.fullmatch(r"[\w.-]+==[\w.]+", version)
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)


def test_a_build_takes_what_is_pinned() -> None:
    """Builds use exactly the pinned packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    needed = project["build-system"]["requires"]
    assert set(needed) <= set(pinned)
    assert {one.partition("==")[0] for one in needed} >= {"hatchling", "packaging", "pathspec", "pluggy"}
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    assert all("--only-binary :all:" in line and "--constraint constraints.txt" in line for line in installs)


@pytest.fixture(scope="module")
def clean_python(request: pytest.FixtureRequest) -> Path:
    """Return a Python with only the pinned requirements.

    It is kept between runs, until they change.
    """
    content = pin.TARGET.read_bytes()
    name = hashlib.sha256(content + sys.version.encode()).hexdigest()[:16]
    folder = request.config.cache.mkdir("atom-requirements") / name
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        _install(python)
        (folder / "whole").touch()
    return python


def _install(python: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(pin.TARGET)]
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    if ended.returncode == 0:
        return
    if os.environ.get("CI") == "true" or "Connection" not in ended.stderr:
        pytest.fail(f"the requirements cannot be installed: {ended.stderr[-2000:]}")
    pytest.skip("the package index cannot be reached, and the requirements were not installed before")


@pytest.fixture
def addresses(clean_python: Path, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Start the functions in their staged folders.

    Each is started by the clean Python, on the local platform's stores.
    """
    staged = tmp_path / "staged"
    stage(staged)
    options = PlatformOptions(log_dir=tmp_path / "logs", bucket=None, environment=SETTINGS)
    with LocalPlatform(options) as platform, ExitStack() as stack:
        begin = partial(_started, clean_python, environment=platform.environment)
        yield {name: stack.enter_context(begin(folder=staged / name)) for name in ALL_FUNCTIONS}


@contextmanager
def _started(python: Path, *, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    with ExitStack() as stack:
        port = reserve_port(PartName.START, 0, stack)
    command = [str(python), "-m", "functions_framework", "--target", folder.name, "--source", "main.py"]
    given = {**environment, "PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port)}
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=given, stdout=log, stderr=log)
        try:
            eventually(
                lambda: accepts_connections(f"127.0.0.1:{port}"), within_s=60, what=f"the start of {folder.name}"
            )
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_each_folder_is_a_function_that_answers(addresses: Mapping[str, str], tmp_path: Path) -> None:
    """Each staged folder answers an event by itself."""
    for function, request in {**{name: golden(event) for name, event in GOLDEN.items()}, "runner": NOTICE}.items():
        answer: Any = requests.post(addresses[function], data=request.raw, headers=dict(request.headers), timeout=60)
        log = (tmp_path / "staged" / f"{function}.log").read_text()
        assert (answer.status_code, "event.malformed" in log) == (204, False), log
    assert '"action": "run.start"' in (tmp_path / "staged" / "start.log").read_text()
