"""`runs watch` as a process, on a whole platform."""

from __future__ import annotations

import json
import signal

from e2e.backends import EMBEDDED_ONLY
from e2e.console import console, started
from e2e.site import Site
from support.workflows import definition

FLOW = definition({"first": [], "second": ["first"]})


@EMBEDDED_ONLY
def test_two_people_watch_a_run_to_its_end(site: Site) -> None:
    """Each of two watchers sees every change, and both end with the run's exit code."""
    site.script("default: {duration: 6}")
    run_id = site.start(FLOW)
    site.submitted(run_id, "first")
    with started(site, "runs", "watch", "--last") as one, started(site, "runs", "watch", run_id) as other:
        printed = [process.communicate(timeout=100) for process in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0]
    for text, said in printed:
        assert said == ""
        assert "second RUNNING" in text
        assert f"Run {run_id} SUCCEEDED" in text


@EMBEDDED_ONLY
def test_ctrl_c_ends_the_view_and_not_the_run(site: Site) -> None:
    """Ctrl-C ends `runs watch` with code 130, and the run continues."""
    site.script("default: {duration: 8}")
    run_id = site.start(FLOW)
    site.submitted(run_id, "first")
    with started(site, "runs", "watch", run_id) as watcher:
        assert watcher.stdout is not None
        while "steps ended" not in (line := watcher.stdout.readline()):
            assert line
        watcher.send_signal(signal.SIGINT)
        _, said = watcher.communicate(timeout=60)
    assert (watcher.returncode, f"Run {run_id} continues: " in said) == (130, True), said
    assert json.loads(console(site, "runs", "show", run_id, "--json").succeeded())["run"]["state"] == "RUNNING"
