"""Runs that the user ends."""

from __future__ import annotations

import json

from atom_workflows.core.outcomes import Outcome, OutcomeKind
from atom_workflows.messages.internal import completed_messages
from e2e.backends import EMBEDDED_ONLY
from e2e.console import console
from e2e.leftovers import require_nothing_left
from e2e.site import Site
from support.call_log import submissions
from support.deadline import eventually
from support.workflows import definition

PARTS = [f"part{n}" for n in range(8)]
FAN = {"root": [], **{part: ["root"] for part in PARTS}, "join": PARTS}


def test_cancelled_in_the_middle(site: Site) -> None:
    """A cancelled run ends at once, and jobs that end later cause no submissions."""
    site.script("rules: [{step: part*, duration: 600}]")
    run_id = site.start(definition(FAN))
    eventually(lambda: len(submissions(site.calls(run_id))) == 9, within_s=60, what="all parts under way")
    assert "is cancelled" in console(site, "runs", "cancel", run_id).succeeded()
    assert site.ended(run_id)["state"] == "CANCELLED"
    states = site.states(run_id)
    assert states == {step: "SUCCEEDED" if step == "root" else "CANCELLED" for step in FAN}
    before = [call for call in site.calls(run_id) if call.is_submission]
    ends = [Outcome(step_id=part, attempt=1, kind=OutcomeKind.SUCCEEDED) for part in PARTS]
    for message in completed_messages(run_id, ends):
        site.publish(message.topic, json.dumps(message.body).encode())
    require_nothing_left(site)
    assert [call for call in site.calls(run_id) if call.is_submission] == before
    assert submissions(before) == dict.fromkeys(FAN.keys() - {"join"}, 1)
    assert site.states(run_id) == states
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
