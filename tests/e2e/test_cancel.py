"""Runs that the user ends."""

from __future__ import annotations

from e2e.backends import EMBEDDED_ONLY
from e2e.console import console
from e2e.site import Site
from support.call_log import submissions
from support.deadline import eventually
from support.workflows import definition

FAN = {"root": [], **{f"part{n}": ["root"] for n in range(8)}, "join": [f"part{n}" for n in range(8)]}
LONG_JOBS = "rules: [{step: part*, duration: 3}, {step: witness, duration: 3.5}]"
"""The witness is started when all parts are under way, so that its end shows that theirs are over."""


def test_cancelled_in_the_middle(site: Site) -> None:
    """A cancelled run is CANCELLED at once, and jobs that end later submit nothing."""
    site.script(LONG_JOBS)
    run_id = site.start(definition(FAN))
    eventually(lambda: len(submissions(site.calls(run_id))) == 9, within_s=60, what="all parts under way")
    witness = site.start(definition({"witness": []}))
    assert "is cancelled" in console(site, "runs", "cancel", run_id).succeeded()
    assert site.ended(run_id)["state"] == "CANCELLED"
    states = site.states(run_id)
    assert states == {step: "SUCCEEDED" if step == "root" else "CANCELLED" for step in FAN}
    before = [call for call in site.calls(run_id) if call.is_submission]
    assert site.ended(witness)["state"] == "SUCCEEDED"
    assert [call for call in site.calls(run_id) if call.is_submission] == before
    assert submissions(before) == dict.fromkeys(FAN.keys() - {"join"}, 1)
    again = console(site, "runs", "cancel", run_id)
    assert (again.code, "CANCELLED" in again.stderr, "Traceback" in again.stderr) == (1, True, False)


@EMBEDDED_ONLY
def test_unknown_runs_are_reported(site: Site) -> None:
    """Cancelling, retrying or showing an unknown run fails with a sentence."""
    for verb in ("cancel", "retry", "show"):
        answer = console(site, "runs", verb, "no-such-run")
        assert (answer.code, answer.stdout) == (1, "")
        assert answer.stderr.startswith("Error: ")
        assert "no-such-run" in answer.stderr
