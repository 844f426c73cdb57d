"""The variable for credentials without its last letter, as the first version's README spelt it."""

from __future__ import annotations

import pytest

from atom_workflows.adapters.http import GaveUp
from atom_workflows.adapters.task_runner.id_tokens import MetadataServer
from functions.posting import Deployed


def test_a_function_says_so_in_its_log(functions: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process logs the misspelled variable once, at its first request."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIAL", "/keys/runner.json")
    assert functions.post("checker-push-scheduler-tick") == 204
    [line] = functions.logged("settings.misspelled")
    assert line["severity"] == "WARNING"
    assert "the correct name is GOOGLE_APPLICATION_CREDENTIALS" in line["message"]
    assert functions.post("checker-push-scheduler-tick") == 204
    assert functions.lines == []


def test_a_step_without_a_token_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message about a missing credential names the misspelled variable."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "K_SERVICE", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIAL", "/keys/runner.json")
    problem = MetadataServer().explain(GaveUp("nothing responds"))
    assert "GOOGLE_APPLICATION_CREDENTIAL is set, but nothing reads it" in problem
    assert "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key" in problem
