"""Whether a local platform's functions will have a token for the Task Runner."""

from __future__ import annotations

import google.auth.compute_engine._metadata
import pytest

from atom_client.cli.platform_choice import NO_TOKEN, PlatformChoice, credential_problem

URL = "https://runner.invalid"


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove credentials, and put the metadata server where no one listens."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "K_SERVICE", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(google.auth.compute_engine._metadata, "_GCE_METADATA_HOST", "127.0.0.1:9")


def test_no_credential_at_all() -> None:
    """Without a credential the message names every way to provide one."""
    problem = credential_problem(PlatformChoice(task_runner_url=URL), {})
    assert problem.startswith(f"no ID token for {URL}: there is no credential")
    assert all(way in problem for way in ("GOOGLE_APPLICATION_CREDENTIALS", "WORKFLOW_TR_AUTH_JWT", "=none"))


def test_the_audience_of_the_shell_counts() -> None:
    """The token is requested for `WORKFLOW_TR_AUDIENCE`, as the functions will request it."""
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
    """No credential is needed for the mock, a local Task Runner, or no token."""
    assert credential_problem(choice, {}) == ""
