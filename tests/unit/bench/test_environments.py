"""A peer's environment: made once, made again when it is not as wanted, and never used by two."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from bench.peers.environments import python_for, reserved, versions
from bench.peers.failures import PeerFailed
from bench.peers.roster import Peer


def peer(*packages: str) -> Peer:
    """Return a peer of these packages."""
    return Peer(name="fake", title="Fake", packages=packages, versions_of=(), module="", configured="")


@pytest.fixture(autouse=True)
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disconnect pip from any package index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def wheel(tmp_path: Path) -> str:
    """Return a package without content."""
    path, inner = tmp_path / "atom_fake-1.5-py3-none-any.whl", "atom_fake-1.5.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{inner}/METADATA", "Metadata-Version: 2.1\nName: atom-fake\nVersion: 1.5\n")
        archive.writestr(f"{inner}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{inner}/RECORD", f"{inner}/METADATA,,\n{inner}/WHEEL,,\n{inner}/RECORD,,\n")
    return str(path)


def test_an_environment_is_made_once(tmp_path: Path, wheel: str) -> None:
    """An environment is reused, even if its package has gone."""
    python = python_for(peer(wheel), tmp_path)
    Path(wheel).unlink()
    assert python_for(peer(wheel), tmp_path) == python
    assert versions(python, ["atom-fake"]) == {"atom-fake": "1.5"}


def test_a_failed_installation_is_explained(tmp_path: Path, wheel: str) -> None:
    """A failed installation is reported by pip's own reason, every time."""
    for _ in range(2):
        with pytest.raises(PeerFailed, match=r"^ERROR: No matching distribution found for atom-absent$"):
            python_for(peer(wheel, "atom-absent"), tmp_path)


def test_two_benchmarks_do_not_share(tmp_path: Path) -> None:
    """A second benchmark is refused while the first runs."""
    with reserved(tmp_path), pytest.raises(PeerFailed, match="another benchmark is using"), reserved(tmp_path):
        pass
    with reserved(tmp_path):
        pass
