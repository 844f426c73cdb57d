"""The examples do what their README says."""

from __future__ import annotations

import re
from pathlib import Path

from e2e.backends import EMBEDDED_ONLY
from e2e.site import Site

EXAMPLES = Path(__file__).parents[2] / "examples"


def examples_listed() -> list[tuple[str, str]]:
    """Return each workflow of the examples' table with its final state."""
    text = (EXAMPLES / "README.md").read_text()
    return re.findall(r"^\| \[`(\w+\.yaml)`\].*\| (\w+) \|$", text, flags=re.MULTILINE)


@EMBEDDED_ONLY
def test_examples_end_as_listed(site: Site) -> None:
    """Each example ends in the state that its README says."""
    listed = examples_listed()
    assert {name for name, _ in listed} == {path.name for path in EXAMPLES.glob("*.yaml") if ".mock." not in path.name}
    ended = []
    for name, _ in listed:
        script = EXAMPLES / name.replace(".yaml", ".mock.yaml")
        site.script(script.read_text() if script.exists() else "{}")
        run_id = site.start((EXAMPLES / name).read_text(), name=name.removesuffix(".yaml"))
        ended.append((name, site.ended(run_id)["state"]))
    assert ended == listed
