"""Ask a console's application without a browser or a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask.testing import FlaskClient

from atom_client.console.app import Console, create_app
from atom_client.console.server import BLUEPRINTS
from atom_workflows.coordinator.services import Services

_TOKEN: Final = "a token"  # noqa: S105 (of consoles in tests)
_HEADERS: Final = {"X-Atom-Token": _TOKEN, "Host": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The status and the body of an answer."""

    status: int
    body: dict[str, Any]

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        return str(self.body["error"])

    @property
    def text(self) -> str:
        """The sentences of an answer."""
        return "\n".join(self.body["lines"])


class Page:
    """Asks a console what its page would ask."""

    def __init__(self, services: Services, **options: Any) -> None:
        console = Console(services=services, token=_TOKEN, place="a test", actor="someone@here", **options)
        self._app = create_app(console, BLUEPRINTS)

    @property
    def _client(self) -> FlaskClient:
        return self._app.test_client()

    def get(self, path: str) -> Asked:
        """Ask for something."""
        response = self._client.get(f"/api{path}", headers=_HEADERS)
        return Asked(response.status_code, response.get_json())

    def post(self, path: str, /, **body: Any) -> Asked:
        """Change something, or preview that."""
        response = self._client.post(f"/api{path}", json=body, headers=_HEADERS)
        return Asked(response.status_code, response.get_json())

    def send(self, path: str, body: bytes) -> Asked:
        """Send a body as it is."""
        response = self._client.post(f"/api{path}", data=body, headers={**_HEADERS, "Content-Type": "application/json"})
        return Asked(response.status_code, response.get_json())

    def preview(self, path: str, /, **body: Any) -> Asked:
        """Ask what a change would do."""
        return self.post(path, dry_run=True, **body)
