"""Where the Task Runner's bearer token comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from atom_workflows.adapters.task_runner.tokens import FixedToken, IdTokens
from atom_workflows.errors import JobRefused


def test_a_fixed_token_is_the_same_everywhere() -> None:
    """The configured token is sent to every address."""
    assert FixedToken("abc").token_for("https://x") == FixedToken("abc").token_for("https://y") == "abc"


def test_the_word_none_sends_no_token() -> None:
    """`none` is the first version's word for a Task Runner without authentication."""
    assert FixedToken("none").token_for("https://x") is None


def test_a_users_own_credential_gets_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A gcloud user credential cannot make ID tokens; the error says what can."""
    user = '{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}'
    (tmp_path / "user.json").write_text(user)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "user.json"))
    with pytest.raises(JobRefused, match=r"https://x.*service account.*WORKFLOW_TR_AUTH_JWT"):
        IdTokens().token_for("https://x")
