"""Find the functions' sources: in the repository, or in an installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from atom_emulator.platform.errors import FunctionsNotFound
from atom_emulator.platform.options import FUNCTIONS

_REPOSITORY: Final = Path(__file__).resolve().parents[3]


def find_functions(chosen: Path | None = None) -> Path:
    """Return the folder that contains `start/main.py` and the others. Raises `FunctionsNotFound`."""
    if chosen is not None:
        looked = [chosen]
    else:
        package = find_spec("atom_functions")
        installed = (package.submodule_search_locations or ()) if package else ()
        looked = [_REPOSITORY / "functions", *map(Path, installed)]
    for folder in looked:
        if all((folder / function / "main.py").is_file() for function in FUNCTIONS):
            return folder.resolve()
    raise FunctionsNotFound(
        f"no start/main.py, dispatcher/main.py and checker/main.py in {' or '.join(map(str, looked))}"
    )
