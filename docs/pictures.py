"""Draw the pictures of docs/how-to/draw-a-workflow.md, as the command `graph` does.

`python docs/generate.py` brings the page and its SVG file up to date; a test fails when one is not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from atom_client.cli.commands import cli
from atom_client.cli.quiet import no_logs
from atom_emulator.testing.world import World

PAGE: Final = Path(__file__).parent / "how-to" / "draw-a-workflow.md"
SVG: Final = PAGE.with_suffix(".svg")
PIPELINES: Final = Path(__file__).parent.parent / "examples" / "pipelines"

_BLOCK: Final = re.compile(r"(<!-- (file|run|mermaid) -->\n).*?(<!-- end -->)", re.DOTALL)


class Drawings:
    """What `graph` prints about a file, and about a run in which a step failed."""

    def __init__(self) -> None:
        self._file = PIPELINES / "score_on_cluster.yaml"
        script = self._file.with_name("score_on_cluster.mock.yaml").read_text(encoding="utf-8")
        self._world = World(script)
        self._run_id = self._world.start(self._file.read_text(encoding="utf-8"), path="score_on_cluster.yaml")
        with no_logs():
            self._world.run_to_end(self._run_id)

    def file(self) -> str:
        """Return the block that shows a file as text."""
        joining = PIPELINES / "full_or_delta.yaml"
        return _console("examples/pipelines/full_or_delta.yaml", self._draw(str(joining)))

    def run(self) -> str:
        """Return the block that shows a run as text."""
        return _console(self._run_id, self._draw(self._run_id))

    def mermaid(self) -> str:
        """Return the block that shows a run as Mermaid source, which pages draw."""
        return f"```mermaid\n{self._draw(self._run_id, '--format', 'mermaid')}```"

    def svg(self) -> str:
        """Return the SVG file of a run."""
        return self._draw(self._run_id, "--format", "svg")

    def _draw(self, *args: str) -> str:
        result = CliRunner().invoke(cli, ["graph", *args], obj=lambda _: self._world.services, catch_exceptions=False)
        if result.exit_code:
            raise RuntimeError(result.output)
        return result.stdout


def _console(source: str, printed: str) -> str:
    return f"```console\n$ atom-workflows graph {source}\n{printed}```"


def generated(page: str) -> str:
    """Return the page with new pictures, each between its markers."""
    drawings = Drawings()
    blocks = {"file": drawings.file, "run": drawings.run, "mermaid": drawings.mermaid}
    page, found = _BLOCK.subn(lambda between: f"{between[1]}\n{blocks[between[2]]()}\n\n{between[3]}", page)
    if found != len(blocks):
        raise ValueError(f"{PAGE.name} has {found} places for pictures instead of {len(blocks)}")
    return page


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    SVG.write_text(Drawings().svg(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is up to date\n")
