"""Imports point one way, from the edges to the core: read from the sources, without importing anything."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LIBRARY: Final = ROOT / "shared" / "atom_workflows"
STANDARD: Final = frozenset(sys.stdlib_module_names)

OUTSIDE: Final = frozenset(
    {"asyncio", "http", "io", "os", "random", "select", "shutil", "signal", "socket", "ssl", "subprocess"}
    | {"time", "urllib"}
)
"""Modules of the standard library for what the coordinator asks for through its ports alone."""

CLOCKS_AND_IO: Final = OUTSIDE | {"concurrent", "logging", "multiprocessing", "secrets", "sys", "threading", "uuid"}
"""Those with which a value would depend on more than its arguments."""

IMPURE_CALLS: Final = frozenset(
    {"now", "utcnow", "today", "open", "print", "input", "read_text", "write_text", "read_bytes", "write_bytes", "Path"}
)
EMULATOR_VARIABLE: Final = "EMULATOR_HOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What a package or module of the library may import: of the library, of other packages, and not of Python's."""

    of_library: frozenset[str] = frozenset()
    of_others: frozenset[str] = frozenset()
    not_of_python: frozenset[str] = frozenset()


LADDER: Final[dict[str, Rung]] = {
    "errors": Rung(not_of_python=CLOCKS_AND_IO),
    "ports": Rung(not_of_python=CLOCKS_AND_IO),
    "listening": Rung(of_library=frozenset({"ports"}), not_of_python=CLOCKS_AND_IO),
    "expressions": Rung(of_library=frozenset({"expressions", "errors"}), not_of_python=CLOCKS_AND_IO),
    "core": Rung(
        of_library=frozenset({"core", "errors", "expressions"}),
        of_others=frozenset({"cronsim"}),
        not_of_python=CLOCKS_AND_IO,
    ),
    "language": Rung(
        of_library=frozenset({"language", "core", "errors", "expressions"}), of_others=frozenset({"yaml"})
    ),
    "cold_start": Rung(),
    "hosts": Rung(not_of_python=CLOCKS_AND_IO),
    "task_runner_urls": Rung(of_library=frozenset({"hosts"}), not_of_python=CLOCKS_AND_IO),
    "settings": Rung(of_library=frozenset({"errors", "task_runner_urls"}), not_of_python=CLOCKS_AND_IO),
    "log": Rung(),
    "bounded_json": Rung(of_library=frozenset({"errors"}), not_of_python=CLOCKS_AND_IO),
    "web_pages": Rung(not_of_python=CLOCKS_AND_IO),
    "messages": Rung(
        of_library=frozenset({"messages", "bounded_json", "core", "errors", "expressions", "ports"}),
        of_others=frozenset({"cloudevents"}),
        not_of_python=CLOCKS_AND_IO,
    ),
    "documents": Rung(of_library=frozenset({"core", "errors", "ports"}), not_of_python=CLOCKS_AND_IO),
    "language_documents": Rung(
        of_library=frozenset({"core", "documents", "expressions", "ports"}), not_of_python=CLOCKS_AND_IO
    ),
    "step_documents": Rung(
        of_library=frozenset({"core", "documents", "errors", "expressions", "language_documents", "ports"}),
        not_of_python=CLOCKS_AND_IO,
    ),
    "run_documents": Rung(
        of_library=frozenset({"bounded_json", "core", "documents", "errors", "language_documents", "ports"}),
        not_of_python=CLOCKS_AND_IO,
    ),
    "schedule_documents": Rung(
        of_library=frozenset({"core", "documents", "errors", "language_documents", "ports"}),
        not_of_python=CLOCKS_AND_IO,
    ),
    "coordinator": Rung(
        of_library=frozenset({"coordinator", "core", "documents", "errors", "expressions", "language", "log"})
        | {"run_documents", "schedule_documents", "step_documents"}
        | {"messages", "ports", "settings", "task_runner_urls"},
        not_of_python=OUTSIDE,
    ),
    "handlers": Rung(
        of_library=frozenset({"bounded_json", "coordinator", "errors", "handlers", "log", "messages", "settings"})
        | {"ports", "runner", "web_pages"},
        not_of_python=OUTSIDE - {"http", "io"},
    ),
    "adapters": Rung(
        of_library=frozenset({"adapters", "bounded_json", "core", "errors", "hosts", "messages", "ports", "settings"})
        | {"listening", "runner"},
        # urllib3 is what requests is made of: some of its errors come through.
        of_others=frozenset({"google", "requests", "urllib3"}),
    ),
    "runner": Rung(
        of_library=frozenset({"bounded_json", "core", "errors", "runner"}),
        # A lock keeps the sweeps of an instance apart; `http` and `urllib` write statuses and URLs.
        not_of_python=CLOCKS_AND_IO - {"http", "threading", "urllib"},
    ),
    "bootstrap": Rung(of_library=frozenset({"adapters", "coordinator", "listening", "log", "ports", "settings"})),
    "runner_bootstrap": Rung(of_library=frozenset({"adapters", "handlers", "ports", "runner"})),
    "closed_pipe": Rung(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A module that is imported; `lazily` if only when a function runs."""

    module: str
    lazily: bool

    @property
    def top(self) -> str:
        """The package."""
        return self.module.partition(".")[0]

    @property
    def part(self) -> str:
        """The part of the library."""
        return self.module.split(".")[1]


def imports(tree: ast.AST, *, lazily: bool = False) -> Iterator[Imported]:
    """Return all that a module imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Imported(module=alias.name, lazily=lazily) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            whole = node.module == "atom_workflows"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if whole else [node.module]
            yield from (Imported(module=name, lazily=lazily) for name in names)
        else:
            yield from imports(node, lazily=lazily or _runs_later(node))


def _runs_later(node: ast.AST) -> bool:
    """Return True if the node's content is not run at import."""
    for_types_alone = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return for_types_alone or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def sources(place: Path) -> list[Path]:
    """Return the modules of a package, or the one module."""
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def imports_of(place: Path) -> list[Imported]:
    """Return all that a package's modules import."""
    return [found for path in sources(place) for found in imports(ast.parse(path.read_text()))]


def calls(path: Path) -> set[str]:
    """Return the last name of everything that a module calls."""
    called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    plain = {function.id for function in called if isinstance(function, ast.Name)}
    return plain | {function.attr for function in called if isinstance(function, ast.Attribute)}


@pytest.mark.parametrize("part", LADDER)
def test_each_part_imports_only_what_stands_below_it(part: str) -> None:
    """A part imports only what its rung of the ladder names."""
    rung = LADDER[part]
    for found in imports_of(LIBRARY / part):
        if found.top == "atom_workflows":
            assert found.part in rung.of_library, found
        elif found.top in STANDARD:
            assert found.top not in rung.not_of_python, found
        else:
            assert found.top in rung.of_others, found


def test_every_part_of_the_library_has_a_rung() -> None:
    """Every part of the library has a rung of the ladder."""
    parts = {path.stem for path in LIBRARY.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == set(LADDER)


@pytest.mark.parametrize(
    "part", ["core", "expressions", "messages", "documents", "step_documents", "ports", "listening", "errors"]
)
def test_pure_parts_have_neither_clock_nor_io(part: str) -> None:
    """Pure parts use neither clock nor I/O."""
    for path in sources(LIBRARY / part):
        assert not calls(path) & IMPURE_CALLS, path


FOLDERS: Final = {
    "shared": frozenset({"atom_workflows"}),
    "functions": frozenset({"atom_workflows"}),
    "emulator": frozenset({"atom_workflows", "atom_emulator"}),
    "deploy": frozenset({"atom_workflows", "atom_deploy"}),
    "client": frozenset({"atom_workflows", "atom_client", "atom_emulator", "atom_deploy"}),
}
"""What each top-level folder may import of the project's packages; bench and tests may import all of them."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_top_level_folders_import_one_way(folder: str) -> None:
    """Top-level folders import only those below them."""
    ours = frozenset().union(*FOLDERS.values())
    for found in imports_of(ROOT / folder):
        assert found.top not in ours - FOLDERS[folder], found
        assert found.top not in {"bench", "docs", "support", "tests"}, found


def test_the_client_reaches_emulator_and_deployment_only_when_they_are_used() -> None:
    """The client imports emulator and deployment only within functions."""
    for found in imports_of(ROOT / "client"):
        assert found.top not in {"atom_emulator", "atom_deploy"} or found.lazily, found


@pytest.mark.parametrize("part", ["console", "graph", "planning", "views"])
def test_what_the_console_shares_does_not_import_the_command_line(part: str) -> None:
    """The command line ties the parts together, and none of them needs it."""
    for found in imports_of(ROOT / "client" / "atom_client" / part):
        assert not found.module.startswith("atom_client.cli"), found
        assert part == "console" or not found.module.startswith("atom_client.console"), found


def test_functions_import_the_composition_root_and_the_handlers() -> None:
    """Functions import only the composition root and the handlers."""
    names = ("delivery", "entry", "start", "dispatcher", "checker", "runner")
    allowed = {f"atom_workflows.handlers.{name}" for name in names}
    allowed |= {f"atom_workflows.{name}" for name in ("bootstrap", "cold_start", "handlers", "log", "runner_bootstrap")}
    for path in sources(ROOT / "functions"):
        for found in imports_of(path):
            assert found.module in allowed | {"__future__", "flask", "functions_framework"}, (path, found)


def test_no_code_asks_whether_it_runs_locally() -> None:
    """Only clients find emulators, by their own environment variables.

    Cloud Storage is used without its client library, so the library itself follows that client's convention there.
    """
    follow_the_clients_convention = {
        LIBRARY / "adapters" / "storage" / f"{name}.py" for name in ("api", "source", "upload")
    }
    for path in [*sources(LIBRARY), *sources(ROOT / "functions")]:
        if path in follow_the_clients_convention:
            continue
        text = path.read_text()
        assert EMULATOR_VARIABLE not in text, path
        tests = [node.test for node in ast.walk(ast.parse(text)) if isinstance(node, ast.If | ast.IfExp | ast.While)]
        conditions = " ".join(ast.unparse(test).lower() for test in tests)
        assert "local" not in conditions, path
        assert "emulator" not in conditions, path
