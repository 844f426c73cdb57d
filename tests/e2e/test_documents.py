"""The documentation is true: its commands exist, its links lead somewhere, its examples end as it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from atom_client.cli.commands import cli
from e2e.backends import EMBEDDED_ONLY
from e2e.site import Site

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = ROOT / "examples"


def pages() -> list[Path]:
    """Return every page of documentation outside hidden folders."""
    return [
        page for page in ROOT.rglob("*.md") if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
    ]


def readme_commands() -> Iterator[list[str]]:
    """Yield the words of each command in README's table."""
    table = README.partition("| command |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        for written in re.findall(r"`([^`]+)`", row.split("|")[1]):
            yield [word for word in written.split() if word.islower()]


def readme_examples() -> list[tuple[str, str]]:
    """Return each example's file and its documented end."""
    text = (EXAMPLES / "README.md").read_text()
    return re.findall(r"^\| \[`(\w+\.yaml)`\].*\| (\w+) \|$", text, flags=re.MULTILINE)


def named(words: list[str]) -> click.Command:
    """Return the command of that name."""
    found: click.Command = cli
    for word in words:
        assert isinstance(found, click.Group)
        assert word in found.commands, f"there is no command {' '.join(words)}"
        found = found.commands[word]
    return found


def all_commands(group: click.Group = cli) -> Iterator[click.Command]:
    """Yield every command, also those in groups."""
    for one in group.commands.values():
        yield one
        if isinstance(one, click.Group):
            yield from all_commands(one)


def test_commands_exist() -> None:
    """README's table has exactly the commands of the command line."""
    documented = [named(words) for words in readme_commands()]
    assert len(documented) > 5
    assert {one.name for one in documented} == {one.name for one in all_commands() if not isinstance(one, click.Group)}


def test_options_exist() -> None:
    """Each option that README names is one of some command's."""
    known = {name for one in all_commands() for option in one.params for name in option.opts}
    assert set(re.findall(r"`(--[a-z-]+)", README)) <= known


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file that exists."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_make_targets_exist() -> None:
    """Each `make` command in README names a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)) <= targets


@EMBEDDED_ONLY
def test_examples_end_as_documented(site: Site) -> None:
    """Each example ends as its README says, with the mock script that belongs to it."""
    documented = readme_examples()
    assert {name for name, _ in documented} == {
        path.name for path in EXAMPLES.glob("*.yaml") if ".mock." not in path.name
    }
    ended = []
    for name, _ in documented:
        script = EXAMPLES / name.replace(".yaml", ".mock.yaml")
        site.script(script.read_text() if script.exists() else "{}")
        run_id = site.start((EXAMPLES / name).read_text(), name=name.removesuffix(".yaml"))
        ended.append((name, site.ended(run_id)["state"]))
    assert ended == documented
