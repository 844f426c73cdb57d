"""Find the functions' sources: in the repository, or in an installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from atom_emulator.platform.errors import FunctionsNotFound
from atom_emulator.platform.options import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

_REPOSITORY: Final = Path(__file__).resolve().parents[3]


def find_functions(chosen: Path | None = None) -> Path:
    """Return the folder that contains `start/main.py` and the others. Raises `FunctionsNotFound`."""
    looked = [chosen] if chosen is not None else list(_usual_places())
    for folder in looked:
        if all((folder / function / "main.py").is_file() for function in FUNCTIONS):
            return folder.resolve()
    raise FunctionsNotFound(
        f"no start/main.py, dispatcher/main.py and checker/main.py in {' or '.join(map(str, looked))}"
    )


def _usual_places() -> Iterator[Path]:
    yield _REPOSITORY / "functions"
    package = find_spec("atom_functions")
    yield from map(Path, (package.submodule_search_locations or ()) if package else ())
