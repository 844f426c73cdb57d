"""A peer's environment: made once, made again when it is not as wanted, and never used by two."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from bench.peers.environments import python_for, reserved, versions
from bench.peers.failures import PeerFailed
from bench.peers.roster import Peer


def peer(*packages: str) -> Peer:
    """A peer of these packages."""
    return Peer(name="fake", title="Fake", packages=packages, versions_of=(), module="", configured="")


@pytest.fixture(autouse=True)
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package index: pip asks nobody."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def wheel(tmp_path: Path) -> str:
    """A package without content."""
    path, inner = tmp_path / "atom_fake-1.5-py3-none-any.whl", "atom_fake-1.5.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{inner}/METADATA", "Metadata-Version: 2.1\nName: atom-fake\nVersion: 1.5\n")
        archive.writestr(f"{inner}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{inner}/RECORD", f"{inner}/METADATA,,\n{inner}/WHEEL,,\n{inner}/RECORD,,\n")
    return str(path)


def test_an_environment_is_made_once(tmp_path: Path, wheel: str) -> None:
    """What is wanted is installed, and is there the second time, though the package has gone."""
    python = python_for(peer(wheel), tmp_path)
    Path(wheel).unlink()
    assert python_for(peer(wheel), tmp_path) == python
    assert versions(python, ["atom-fake"]) == {"atom-fake": "1.5"}


def test_a_failed_installation_is_told_in_a_line(tmp_path: Path, wheel: str) -> None:
    """What cannot be installed is told by pip's own reason, and is not taken for installed afterwards."""
    for _ in range(2):
        with pytest.raises(PeerFailed, match=r"^ERROR: No matching distribution found for atom-absent$"):
            python_for(peer(wheel, "atom-absent"), tmp_path)


def test_two_benchmarks_do_not_share(tmp_path: Path) -> None:
    """A second one is told to wait for the first."""
    with reserved(tmp_path), pytest.raises(PeerFailed, match="another benchmark uses"), reserved(tmp_path):
        pass
    with reserved(tmp_path):
        pass
