"""What the documentation says is true: its commands exist and its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from atom_client.cli.commands import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
EXAMPLES = [path for path in (ROOT / "examples").rglob("*.yaml") if ".mock." not in path.name]


def pages() -> list[Path]:
    """Return every page of documentation outside hidden folders."""
    return [
        page for page in ROOT.rglob("*.md") if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
    ]


def commands_listed() -> Iterator[list[str]]:
    """Return the words of each command in the table."""
    table = COMMANDS.partition("| command |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        for written in re.findall(r"`([^`]+)`", row.split("|")[1]):
            yield [word for word in written.split() if word.islower()]


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
    """The table lists exactly the command line's commands."""
    documented = [named(words) for words in commands_listed()]
    assert len(documented) > 5
    assert {one.name for one in documented} == {one.name for one in all_commands() if not isinstance(one, click.Group)}


def test_options_exist() -> None:
    """Each option that README and the table name exists."""
    known = {name for one in all_commands() for option in one.params for name in option.opts} | {"--help"}
    assert set(re.findall(r"`(?:[^`]* )?(--[a-z-]+)", README + COMMANDS)) <= known


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file that exists."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_make_targets_exist() -> None:
    """Each `make` that README names is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (\w+)", README, flags=re.MULTILINE))
    assert {"run", "deploy", "check", "docs", "test"} <= named <= targets


def test_readmes_workflow_runs(tmp_path: Path) -> None:
    """The workflow at the top of README succeeds with the script for the mock that README gives."""
    (workflow,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (script,) = re.findall(r"`(rules: .*?)`", README)
    (tmp_path / "nightly.yaml").write_text(workflow)
    (tmp_path / "nightly.mock.yaml").write_text(script)
    words = ["plan", str(tmp_path / "nightly.yaml"), "--outputs", str(tmp_path / "nightly.mock.yaml")]
    result = CliRunner().invoke(cli, words)
    assert (result.exit_code, "SUCCEEDED" in result.stdout) == (0, True)


def test_readme_is_short() -> None:
    """README has at most 120 lines."""
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_editors_find_the_schema_of_each_example(example: Path) -> None:
    """Each example begins with the line that names the JSON Schema."""
    first = example.read_text(encoding="utf-8").partition("\n")[0]
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert schema is not None
    assert (example.parent / schema[1]).resolve() == ROOT / "docs" / "reference" / "workflow.schema.json"
