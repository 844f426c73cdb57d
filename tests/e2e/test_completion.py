"""Shell completion in real shells, as the how-to page sets it up."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.backends import EMBEDDED_ONLY
from e2e.console import command, surroundings
from e2e.site import Site
from support.deadline import eventually
from support.workflows import definition

BASH = """\
eval "$(atom-workflows completion bash)"
COMP_WORDS=({words} '')
COMP_CWORD={count}
compopt() {{ :; }}
_atom_workflows_completion atom-workflows 2>&1
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

FISH = """\
atom-workflows completion fish | source
complete -C "{words} "
"""

ZSH = """\
autoload -U compinit && compinit -u -D
eval "$(atom-workflows completion zsh)"
compadd() {{ print -l ${{(P)@[-1]}} }}
_describe() {{ print -l ${{(P)3}} }}
_path_files() {{ : }}
words=({words} '')
CURRENT=$(({count} + 1))
_atom_workflows_completion 2>&1 || true
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
MISSING = [name for name in SCRIPTS if shutil.which(name) is None]
if MISSING and os.environ.get("CI") == "true":
    pytest.fail(f"{', '.join(MISSING)} not installed; .ci/run installs the shells", pytrace=False)
INSTALLED = [
    pytest.param(name, marks=pytest.mark.skipif(name in MISSING, reason=f"{name} is not installed")) for name in SCRIPTS
]


def offered(shell: str, site: Site | None, *words: str, folder: Path) -> list[str]:
    """Return what the shell offers as the next word, in a shell that reads none of its user's files."""
    words = ("atom-workflows", *words)
    script = SCRIPTS[shell].format(words=shlex.join(words), count=len(words))
    program = Path(command()[0])
    path = f"{program.parent}:{surroundings()['PATH']}"
    bare = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    shown = subprocess.run(
        [shell, *bare, "-c", script],
        env=surroundings(site, PATH=path, HOME=str(folder)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line.partition("\t")[0].partition(":")[0] for line in shown.stdout.splitlines() if line]


@EMBEDDED_ONLY
@pytest.mark.parametrize("shell", INSTALLED)
def test_a_shell_offers_commands_and_the_ids_of_runs(shell: str, site: Site, tmp_path: Path) -> None:
    """A shell that has read the script offers the commands, and the ids of the platform's runs."""
    run_id = site.start(definition({"a": []}))
    site.ended(run_id)
    assert "runs" in offered(shell, site, folder=tmp_path)
    # A shell does not wait long for a busy machine, as a user would see, who then types Tab again.
    eventually(
        lambda: run_id in offered(shell, site, "runs", "show", folder=tmp_path), within_s=60, what="the id of the run"
    )


@pytest.mark.parametrize("shell", INSTALLED)
def test_a_shell_says_nothing_without_a_platform(shell: str, tmp_path: Path) -> None:
    """Without a platform, a shell offers no run and shows no error; fish lists the files that there are."""
    (tmp_path / "nightly.yaml").touch()
    assert set(offered(shell, None, "runs", "show", folder=tmp_path)) <= {"nightly.yaml"}
