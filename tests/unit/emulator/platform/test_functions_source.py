"""Finding the functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from atom_emulator.platform import functions_source
from atom_emulator.platform.errors import FunctionsNotFound
from atom_emulator.platform.functions_source import find_functions

if TYPE_CHECKING:
    from pathlib import Path


def lay_out(folder: Path) -> Path:
    """Make a folder with the three functions' sources."""
    for name in ("start", "dispatcher", "checker"):
        (folder / name).mkdir(parents=True)
        (folder / name / "main.py").touch()
    return folder.resolve()


def test_the_chosen_folder_is_used(tmp_path: Path) -> None:
    """A folder that holds all three is taken as it is."""
    assert find_functions(lay_out(tmp_path / "mine")) == (tmp_path / "mine").resolve()


def test_a_folder_without_functions_is_refused_by_name(tmp_path: Path) -> None:
    """An error names the folder that has no functions."""
    with pytest.raises(FunctionsNotFound, match=str(tmp_path)):
        find_functions(tmp_path)


def test_an_installed_package_stands_in_for_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the repository the sources are those of the package atom_functions."""
    installed = lay_out(tmp_path / "site" / "atom_functions")
    monkeypatch.setattr(functions_source, "_REPOSITORY", tmp_path / "nowhere")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find_functions() == installed
