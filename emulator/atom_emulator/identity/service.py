"""The HTTP interface: the calls that google-auth makes to Google, and extra endpoints for tests.

Endpoints for tests: `GET /_key` (a new service account key file), `GET /_impersonation` (a credential that
impersonates), `GET /_counters`, `PUT /_faults` (a JSON list: expired, wrong-audience, foreign-key or an HTTP status,
one for each of the next ID tokens), `POST /_reset`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from atom_emulator.http_protocol import Request, Response
from atom_emulator.identity.authority import IMPERSONATED_ACCOUNT, KEY_ACCOUNT, RUNTIME_ACCOUNT, Authority, Denied

_ACCOUNT: Final = "/computeMetadata/v1/instance/service-accounts/default"
_IMPERSONATED: Final = "/v1/projects/-/serviceAccounts/"
_FLAVOR: Final = {"Metadata-Flavor": "Google"}

Route: TypeAlias = Callable[[Request, str], Response]


class IdentityService:
    """Answers requests. Key files contain `base_url` as the address of the token endpoint."""

    def __init__(self, authority: Authority, base_url: str) -> None:
        self._authority = authority
        self._base_url = base_url
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "/"): lambda _request, _query: _text("computeMetadata/\n"),
            ("GET", f"{_ACCOUNT}/"): self._get_account,
            ("GET", f"{_ACCOUNT}/identity"): self._get_identity,
            ("GET", f"{_ACCOUNT}/token"): self._get_access_token,
            ("GET", "/computeMetadata/v1/project/project-id"): lambda _request, _query: _text("atom-local"),
            ("POST", "/token"): self._grant,
            ("GET", "/certs"): lambda _request, _query: _json(200, authority.certificates()),
            ("GET", "/_key"): lambda _request, _query: _json(200, self._make_key_file()),
            ("GET", "/_impersonation"): lambda _request, _query: _json(200, self._make_impersonation_file()),
            ("GET", "/_counters"): lambda _request, _query: _json(200, dict(sorted(authority.made.items()))),
            ("PUT", "/_faults"): self._replace_faults,
            ("POST", "/_reset"): self._reset,
        }

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        path, _, query = request.target.partition("?")
        if request.method == "POST" and path.startswith(_IMPERSONATED):
            return self._impersonate(request, path.removeprefix(_IMPERSONATED))
        route = self._routes.get((request.method, path))
        if route is None:
            return _json(404, {"error": f"no such endpoint: {request.method} {path}"})
        if path.startswith("/computeMetadata/") and request.headers.get("metadata-flavor") != "Google":
            return _json(403, {"error": "Missing Metadata-Flavor:Google header."})
        return route(request, query)

    def _get_account(self, _request: Request, _query: str) -> Response:
        document = {"aliases": ["default"], "email": RUNTIME_ACCOUNT, "scopes": []}
        return _json(200, document, _FLAVOR)

    def _get_identity(self, _request: Request, query: str) -> Response:
        (audience,) = parse_qs(query).get("audience", [""])[:1]
        if not audience:
            return _text("non-empty audience parameter required", 400)
        try:
            return _text(self._authority.make_id_token(RUNTIME_ACCOUNT, audience, how="metadata"))
        except Denied as denied:
            return _text(denied.text, denied.status)

    def _get_access_token(self, _request: Request, _query: str) -> Response:
        token = self._authority.make_access_token(RUNTIME_ACCOUNT)
        return _json(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}, _FLAVOR)

    def _grant(self, request: Request, _query: str) -> Response:
        (assertion,) = parse_qs(request.body.decode("latin-1")).get("assertion", [""])[:1]
        try:
            return _json(200, self._authority.grant(assertion))
        except Denied as denied:
            return _json(denied.status, {"error": denied.code, "error_description": denied.text})

    def _impersonate(self, request: Request, rest: str) -> Response:
        account, _, method = rest.partition(":")
        if method != "generateIdToken":
            return _json(501, {"error": {"message": f"{method} is not emulated"}})
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            return _json(200, {"token": self._authority.impersonate(token, account, json.loads(request.body))})
        except Denied as denied:
            body = {"error": {"code": denied.status, "status": denied.code, "message": denied.text}}
            return _json(denied.status, body)

    def _make_key_file(self) -> dict[str, str]:
        key = self._authority.replace_key()
        return {
            "type": "service_account",
            "project_id": "atom-local",
            "private_key_id": key.id,
            "private_key": key.pem,
            "client_email": KEY_ACCOUNT,
            "client_id": "1",
            "token_uri": f"{self._base_url}/token",
        }

    def _make_impersonation_file(self) -> dict[str, Any]:
        return {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": (
                f"{self._base_url}{_IMPERSONATED}{IMPERSONATED_ACCOUNT}:generateAccessToken"
            ),
            "source_credentials": self._make_key_file(),
            "delegates": [],
        }

    def _replace_faults(self, request: Request, _query: str) -> Response:
        self._authority.faults.clear()
        self._authority.faults.extend(json.loads(request.body))
        return _json(200, {})

    def _reset(self, _request: Request, _query: str) -> Response:
        self._authority.faults.clear()
        self._authority.made.clear()
        return _json(200, {})


def _text(text: str, status: int = 200) -> Response:
    return Response(status, text.encode(), "application/text", _FLAVOR)


def _json(status: int, document: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(status, json.dumps(document).encode(), headers=headers or {})
