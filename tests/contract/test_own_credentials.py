"""The user's own credentials: whether they still count is found out by one request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import google.auth._cloud_sdk
import google.auth.exceptions
import pytest

from atom_emulator.identity.keys import Key
from atom_workflows.adapters.own_credentials import (
    account,
    default_project,
    expect_users_login,
    known_account,
    require_login,
)
from contract.canned import answer, canned

ACCOUNT = "me@acme-flow.iam.gserviceaccount.com"
LogIn = Callable[[str], None]


@pytest.fixture
def log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogIn:
    """Return a function that makes a key the credential, with its token endpoint."""
    pem = Key().pem

    def with_endpoint(url: str) -> None:
        key = {"type": "service_account", "client_email": ACCOUNT, "private_key": pem, "token_uri": url}
        (tmp_path / "key.json").write_text(json.dumps({**key, "project_id": "acme-flow"}))
        for name in ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))

    return with_endpoint


def test_a_login_that_works(log_in: LogIn) -> None:
    """A login that works takes one token, and shows its project and account."""
    token = json.dumps({"access_token": "a", "expires_in": 3600, "token_type": "Bearer"}).encode()
    with canned(lambda _asked, _connection: answer(token, Content_Type="application/json")) as endpoint:
        log_in(endpoint.url)
        require_login()
        assert len(endpoint.asked) == 1
    assert (default_project(), account(), known_account()) == ("acme-flow", ACCOUNT, ACCOUNT)


def test_a_login_that_is_refused(log_in: LogIn) -> None:
    """A refused login raises google-auth's error."""
    with canned(lambda _asked, _connection: answer(b'{"error": "invalid_grant"}', "400 Bad Request")) as endpoint:
        log_in(endpoint.url)
        with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant"):
            require_login()


def test_a_network_that_is_down_says_nothing_of_the_login(log_in: LogIn, refusing_address: str) -> None:
    """A network that is down is no refusal of the login."""
    log_in(f"http://{refusing_address}/token")
    require_login()


def test_a_persons_login_is_nothing_to_warn_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own login causes no warning."""
    info = {"type": "authorized_user", "client_id": google.auth._cloud_sdk.CLOUD_SDK_CLIENT_ID}
    (tmp_path / "me.json").write_text(json.dumps({**info, "client_secret": "s", "refresh_token": "r"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "me.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "acme-flow")
    with pytest.warns(UserWarning, match="end user credentials"):
        default_project()
    expect_users_login()
    assert (default_project(), account(), known_account()) == ("acme-flow", "", "")


def test_a_persons_login_may_name_its_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is read from the login's file, without a call."""
    info = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    (tmp_path / "me.json").write_text(json.dumps({**info, "account": "ana@example.com"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "me.json"))
    assert (account(), known_account()) == ("", "ana@example.com")
