"""Commands that are written as for a shell become lists of arguments."""

from __future__ import annotations

import pytest
import yaml

from atom_workflows.language.commands import list_words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ls -l", "[ls, -l]"),
        ("python3 -m load --day=2026-01-02", "[python3, -m, load, --day=2026-01-02]"),
        ("say 'two words' 8 true -", '[say, "two words", "8", "true", "-"]'),
        ("echo hi | wc -l", '[sh, -c, "echo hi | wc -l"]'),
        ("echo $HOME", '[sh, -c, "echo $HOME"]'),
        ("load.sh", ""),
        ("say 'open", ""),
        ("", ""),
        ("x " * 200, ""),
    ],
)
def test_a_command_becomes_a_list(command: str, words: str) -> None:
    """The list has a word for each of the shell's, or passes to a shell what only a shell can run."""
    assert list_words(command) == words


@pytest.mark.parametrize(
    "command", ["a no", "a ~", "a 1e3", "a b: c", "a [x]", "a .inf", "a é", "a ---", "a -", "a #b"]
)
def test_every_word_is_text_in_yaml(command: str) -> None:
    """YAML reads the list as the words that were meant."""
    words = yaml.safe_load(list_words(command))
    assert words[:2] == ["sh", "-c"] or words == command.split()
