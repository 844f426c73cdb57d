"""The page on HTTP: its commands, typed in a shell against a local platform, answer as it shows."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from atom_emulator.platform.options import PartName
from e2e.backends import EMBEDDED_ONLY
from e2e.console import surroundings
from e2e.site import Site
from support.deadline import eventually

PAGE: Final = (Path(__file__).parents[2] / "docs" / "how-to" / "use-http.md").read_text(encoding="utf-8")
PREPARE, START, LOOK, CANCEL, RETRY, MARK = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
ANSWERS: Final = re.findall(r"^```json\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
SHOWN: Final = list(map(json.loads, ANSWERS))
GCLOUD: Final = """\
#!/bin/sh
case "$*" in
"functions describe atom-start"*) echo "$START_ADDRESS" ;;
"auth print-identity-token") echo token ;;
*) exit 1 ;;
esac
"""


@EMBEDDED_ONLY
def test_its_commands_answer_as_it_shows(site: Site, tmp_path: Path) -> None:
    """Whoever types the page's commands starts a run, sees it, cancels it, retries it and marks its step."""
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(GCLOUD)
    gcloud.chmod(0o700)
    site.script("default: {duration: 600}")
    address = site.platform.addresses[PartName.START]

    def typed(text: str, run_id: str = "") -> Any:
        env = surroundings(START_ADDRESS=address, RUN=run_id)
        env["PATH"] = f"{tmp_path}:{env['PATH']}"
        done = subprocess.run(
            ["bash", "-c", f"{PREPARE}\n{text}"], env=env, capture_output=True, text=True, timeout=60, check=True
        )
        return json.loads(done.stdout)

    started = typed(START)
    assert started == SHOWN[0]
    run_id = started["run_id"]
    eventually(lambda: site.run(run_id).get("state") == "RUNNING", within_s=30, what="a run that is under way")
    look = typed(LOOK, run_id)
    shown = {name: value for name, value in SHOWN[1].items() if name != "…"}
    assert {name: look[name] for name in shown} == shown
    steps = ((CANCEL, SHOWN[2], "CANCELLED"), (RETRY, SHOWN[3], "RUNNING"), (MARK, SHOWN[4], "SUCCEEDED"))
    for command, shown, state in steps:
        assert typed(command, run_id) == shown
        if command is RETRY:
            # A step that is being submitted at this moment cannot be marked.
            eventually(lambda: site.states(run_id).get("load") == "RUNNING", within_s=60, what="a running step")
        eventually(
            lambda state=state: typed(LOOK, run_id)["state"] == state,  # type: ignore[misc]  # the default is its type
            within_s=60,
            every_s=0.5,
            what=f"a run that is {state}",
        )
    changes = typed(LOOK, run_id)["changes"]
    assert [(one["what"], one["why"]) for one in changes] == [
        ("cancel", "the input was wrong"),
        ("retry", "the input is fixed"),
        ("mark load succeeded", "loaded by hand"),
    ]
