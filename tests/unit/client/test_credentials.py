"""Whether a local platform's functions will have a token for the Task Runner."""

from __future__ import annotations

import google.auth.compute_engine._metadata
import pytest

from atom_client.cli.local import NO_TOKEN, PlatformChoice, credential_problem

URL = "https://runner.invalid"


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential file, and a metadata server at a port that nothing listens on."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "K_SERVICE", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(google.auth.compute_engine._metadata, "_GCE_METADATA_HOST", "127.0.0.1:9")


def test_no_credential_at_all() -> None:
    """The message says what is missing and every way to go on."""
    problem = credential_problem(PlatformChoice(task_runner_url=URL), {})
    assert problem.startswith(f"no ID token for {URL}: there is no credential")
    assert all(way in problem for way in ("GOOGLE_APPLICATION_CREDENTIALS", "WORKFLOW_TR_AUTH_JWT", "=none"))


def test_the_audience_of_the_shell_counts() -> None:
    """The functions will have it, so the token is asked for as they will ask."""
    problem = credential_problem(PlatformChoice(task_runner_url=URL), {"WORKFLOW_TR_AUDIENCE": "https://other.test"})
    assert problem.startswith("no ID token for https://other.test: ")


@pytest.mark.parametrize(
    "choice",
    [
        PlatformChoice(),
        PlatformChoice(task_runner_url="http://localhost:8080"),
        PlatformChoice(task_runner_url=URL, token=NO_TOKEN),
    ],
)
def test_where_no_id_token_is_needed_none_is_asked_for(choice: PlatformChoice) -> None:
    """The mock, a Task Runner on this machine, and one that takes no token need no credential."""
    assert credential_problem(choice, {}) == ""
