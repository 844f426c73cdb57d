"""Steps that a person marks, on real processes."""

from __future__ import annotations

import json

from e2e.console import console
from e2e.site import Site
from support.call_log import submissions
from support.deadline import eventually
from support.workflows import definition


def test_marked_while_it_runs_and_after_it_failed(site: Site) -> None:
    """A job that runs is stopped for a mark; a failed run goes on, with the outputs that a person supplied."""
    site.script("rules: [{step: slow, duration: 600}, {step: list, always_fail: true}]")
    flow = definition(
        {"slow": [], "list": ["slow"], "load": ["list"]},
        list={"outputs": {"rows": "int"}},
        load={"task": {"imageUri": "image", "args": {"rows": "${{ steps.list.outputs.rows }}"}}},
    )
    run_id = site.start(flow)
    eventually(lambda: site.states(run_id).get("slow") == "RUNNING", within_s=60, what="the job under way")
    shown = console(site, "runs", "mark", run_id, "slow", "skipped", "--yes").succeeded()
    assert "will be stopped first" in shown
    eventually(lambda: site.states(run_id)["slow"] == "SKIPPED", within_s=60, what="the end of the marked step")
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    assert site.states(run_id) == {"slow": "SKIPPED", "list": "SKIPPED", "load": "SKIPPED"}
    run_id = site.start(flow.replace('"slow"', '"quick"'))
    assert site.ended(run_id)["state"] == "FAILED"
    console(site, "runs", "mark", run_id, "list", "succeeded", "--output", "rows=7", "--reason", "by hand").succeeded()
    eventually(lambda: site.states(run_id)["load"] == "SUCCEEDED", within_s=60, what="the step behind the marked one")
    assert site.ended(run_id)["state"] == "SUCCEEDED"
    assert submissions(site.calls(run_id)) == {"quick": 1, "list": 1, "load": 1}
    step = json.loads(console(site, "runs", "show", run_id, "--step", "list", "--json").succeeded())
    assert (step["step"]["mark"]["why"], step["outputs"]) == ("by hand", {"rows": 7})
