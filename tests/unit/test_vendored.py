"""The console's libraries: exactly the files that their authors published, each with its license."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
VENDOR: Final = ROOT / "client/atom_client/console/assets/vendor"
ROW: Final = re.compile(r"^\| (?P<name>[a-z0-9-]+) \| (?P<version>\d+\.\d+\.\d+) \| (?P<license>\S+) \|", re.MULTILINE)


def _hashes() -> dict[str, str]:
    """Return the pinned hash of each file."""
    lines = (VENDOR / "SHA256SUMS.txt").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def test_every_library_is_the_pinned_file() -> None:
    """Each script and license has the pinned hash, and no other file lies beside them."""
    files = [path for path in VENDOR.rglob("*") if path.is_file()]
    found = {path.relative_to(VENDOR).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}
    assert set(found) - set(_hashes()) == {"README.md", "SHA256SUMS.txt"}
    assert {name: found.get(name) for name in _hashes()} == _hashes()


def test_every_library_has_its_license_and_version() -> None:
    """The README lists each script with the version that the script names, and its license lies beside it."""
    rows = {row["name"]: row for row in ROW.finditer((VENDOR / "README.md").read_text(encoding="utf-8"))}
    modules = {path.name for path in VENDOR.iterdir() if path.is_dir()}
    assert set(rows) == modules | {path.name.removesuffix(".min.js") for path in VENDOR.glob("*.js")}
    assert {f"{name}.LICENSE.txt" for name in rows} == {path.name for path in VENDOR.glob("*.LICENSE.txt")}
    for name, row in rows.items():
        if name in modules:
            main = (VENDOR / name / f"{name}.js").read_text(encoding="utf-8")
            assert f'.push("{row["version"]}")' in main
            continue
        assert f"{name}/ v{row['version']} " in (VENDOR / f"{name}.min.js").read_text(encoding="utf-8")


def test_no_library_needs_a_laxer_policy() -> None:
    """No script evaluates text, adds inline styles or scripts as text, or names another host to load from."""
    for path in VENDOR.rglob("*.js"):
        script = path.read_text(encoding="utf-8")
        assert not re.search(
            r"\beval\(|\bFunction\(|WebAssembly|importScripts|\bimport\(|createElement\(\"style", script
        )
        assert set(re.findall(r"https?://[^\s\"']+", script.partition("\n")[2])) <= {
            # Names of namespaces, which nothing loads.
            "http://www.w3.org/1999/xhtml",
            "http://www.w3.org/1999/xlink",
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/2000/xmlns/",
            "http://www.w3.org/XML/1998/namespace",
        }
