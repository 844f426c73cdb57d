"""Golden requests posted to the real functions, and what they logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from functions_framework import create_app

from atom_workflows import bootstrap
from atom_workflows.coordinator.services import Services

FUNCTIONS: Final = Path(__file__).parents[2] / "functions"
EVENTS: Final = Path(__file__).parent / "events"


@dataclass(frozen=True, slots=True)
class Golden:
    """A request as it was seen on the wire. A `body` that is a text is sent as it stands, anything else as JSON."""

    function: str
    headers: Mapping[str, str]
    body: Any

    @property
    def raw(self) -> bytes:
        """The request's body."""
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def golden(name: str) -> Golden:
    """Return the request in a file of `events/`."""
    return Golden(**json.loads((EVENTS / f"{name}.json").read_text()))


@dataclass(slots=True)
class Deployed:
    """The functions, on services that the test puts together."""

    patch: pytest.MonkeyPatch
    read_stdout: Callable[[], str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    _clients: dict[str, Any] = field(default_factory=dict)

    def on(self, services: Services) -> None:
        """Let them run on these services from now on."""
        bootstrap.services.cache_clear()
        self.patch.setattr(bootstrap, "connect", lambda _settings: services)

    def post(self, request: Golden | str) -> int:
        """Post a request, collect its log lines, and return the status."""
        request = golden(request) if isinstance(request, str) else request
        if request.function not in self._clients:
            source = FUNCTIONS / request.function / "main.py"
            app = create_app(request.function, str(source))  # type: ignore[no-untyped-call]  # it has no types
            self._clients[request.function] = app.test_client()
        self.read_stdout()
        response = self._clients[request.function].post("/", headers=dict(request.headers), data=request.raw)
        self.lines = [json.loads(line) for line in self.read_stdout().splitlines()]
        return int(response.status_code)

    def logged(self, action: str) -> list[dict[str, Any]]:
        """Return the last request's lines of that action."""
        return [line for line in self.lines if line["action"] == action]


def without_handlers(patch: pytest.MonkeyPatch) -> None:
    """Bind the log to the test's own stdout, and restore it afterwards."""
    logger = logging.getLogger("atom_workflows")
    patch.setattr(logger, "handlers", [])
    patch.setattr(logger, "propagate", logger.propagate)
    patch.setattr(logger, "level", logger.level)
