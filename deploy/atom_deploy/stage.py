"""Prepare what is deployed: for each function, a folder with its main.py, the library and pinned requirements.

The same sources give the same bytes, so a folder's digest shows when a function has to be deployed again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from atom_deploy.problems import DeployProblem
from atom_deploy.resources.functions import ALL_FUNCTIONS

ROOT: Final = Path(__file__).resolve().parents[2]
LIBRARY: Final = "atom_workflows"
REQUIREMENTS: Final = "requirements.txt"

_MARK: Final = ".staged-by-atom-workflows"
_IGNORED: Final = "# Everything here except this file is deployed.\n.gcloudignore\n"


def stage(out: Path, *, root: Path = ROOT) -> Mapping[str, str]:
    """Prepare the folders and return their digests.

    Earlier contents of `out` are removed.
    """
    _require_sources(root)
    _empty(out)
    for function in ALL_FUNCTIONS:
        _lay_out(out / function, function, root)
    return digests(out)


def digests(staged: Path) -> Mapping[str, str]:
    """Return the digest of each staged folder.

    Raises `DeployProblem` if a folder is missing.
    """
    missing = [name for name in ALL_FUNCTIONS if not (staged / name / "main.py").is_file()]
    if missing:
        raise DeployProblem(f"{staged} has no staged {', '.join(missing)}; run `make stage`, which creates them")
    return {function: _digest(staged / function) for function in ALL_FUNCTIONS}


def _require_sources(root: Path) -> None:
    wanted = [root / "shared" / LIBRARY, root / "deploy" / REQUIREMENTS]
    wanted += [root / "functions" / name / "main.py" for name in ALL_FUNCTIONS]
    if missing := [str(path) for path in wanted if not path.exists()]:
        raise DeployProblem(f"{missing[0]} does not exist; deploy from a checkout of the repository")


def _empty(out: Path) -> None:
    if out.is_symlink() or (out.exists() and any(out.iterdir() if out.is_dir() else (out,))):
        if not (out / _MARK).is_file():
            raise DeployProblem(f"{out} contains files that were not staged; name another folder, or empty this one")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()


def _lay_out(folder: Path, function: str, root: Path) -> None:
    folder.mkdir()
    shutil.copyfile(root / "functions" / function / "main.py", folder / "main.py")
    shutil.copyfile(root / "deploy" / REQUIREMENTS, folder / REQUIREMENTS)
    (folder / ".gcloudignore").write_text(_IGNORED, encoding="utf-8")
    library = root / "shared" / LIBRARY
    for source in sorted(library.rglob("*.py")):
        target = folder / LIBRARY / source.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
