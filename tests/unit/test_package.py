"""What is published: the wheel's and the source archive's files, and what they say of themselves."""

from __future__ import annotations

import re
import tarfile
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import atom_emulator
import atom_workflows

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ASSETS: Final = sorted(path for path in (ROOT / "client/atom_client/console/assets").rglob("*") if path.is_file())
PACKAGES: Final = [ROOT / path for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel as `make dist` builds it."""
    [path] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return Path(path)


@pytest.fixture(scope="module")
def files(wheel: Path) -> set[str]:
    """Return the wheel's files."""
    return set(ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """Return the wheel's metadata."""
    with ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"{_info()}/METADATA").decode())


def _info() -> str:
    return f"atom_workflows-{atom_workflows.__version__}.dist-info"


def test_the_wheel_holds_the_packages_and_nothing_else(files: set[str]) -> None:
    """No test, benchmark, page or deployment script is installed at a user's."""
    assert {path.name for path in PACKAGES} >= {"atom_workflows", "atom_emulator"}
    assert not {path.parent.name for path in PACKAGES} & {"tests", "bench", "deploy", "docs"}
    assert {name.partition("/")[0] for name in files} == {path.name for path in PACKAGES} | {"atom_functions", _info()}
    code = {name for name in files if not name.startswith((_info(), "atom_client/console/assets/"))}
    assert {Path(name).suffix for name in code} == {".py", ".md", ".typed"}


def test_the_wheel_holds_every_module(files: set[str]) -> None:
    """The wheel holds every module, each function's main.py, and the typing marks."""
    modules = {path.relative_to(package.parent).as_posix() for package in PACKAGES for path in package.rglob("*.py")}
    functions = {f"atom_functions/{name}/main.py" for name in ("start", "dispatcher", "checker")}
    assert modules | functions == {name for name in files if name.endswith(".py")}
    assert {f"{package.name}/py.typed" for package in PACKAGES} <= files


def test_the_wheel_holds_the_page_of_the_console(files: set[str]) -> None:
    """An installation needs neither a build nor a network to show the console."""
    assert ASSETS
    assert {path.relative_to(ROOT / "client").as_posix() for path in ASSETS} <= files


def test_the_wheel_brings_its_licenses(wheel: Path, metadata: Message) -> None:
    """The metadata names the licenses of the repository and of the console's libraries, and the wheel holds each."""
    licenses = [ROOT / "LICENSE", *(path for path in ASSETS if path.name.endswith(".LICENSE.txt"))]
    assert metadata["License-Expression"] == "Apache-2.0 AND BSD-3-Clause AND ISC"
    assert set(metadata.get_all("License-File", [])) == {path.relative_to(ROOT).as_posix() for path in licenses}
    with ZipFile(wheel) as archive:
        for path in licenses:
            assert archive.read(f"{_info()}/licenses/{path.relative_to(ROOT).as_posix()}") == path.read_bytes()


def test_the_version_is_said_once(metadata: Message) -> None:
    """All packages and the metadata take their version from one line."""
    assert metadata["Version"] == atom_workflows.__version__ == atom_emulator.__version__
    assert "version" not in PROJECT["project"]


def test_the_metadata_names_no_place(metadata: Message) -> None:
    """The metadata names no page and no address."""
    assert not {"Home-page", "Project-URL", "Download-URL", "Author-email", "Maintainer-email"} & set(metadata)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_source_archive_builds_and_runs(tmp_path: Path) -> None:
    """The source archive builds, runs, and holds what its README points to."""
    [path] = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "Makefile", "constraints.txt", "LICENSE", "examples/fork_join.yaml"} <= names
    assert not {name for name in names if name.startswith(("tests/", "bench/", ".venv/", ".ci/"))}
    assert {path.relative_to(ROOT).as_posix() for path in ASSETS} <= names
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {name for name in linked if (ROOT / name).is_file()} <= names
