"""The console as a web application: its page, and JSON for it under `/api`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
from flask import Blueprint, Flask, Response, abort, current_app, jsonify, request, send_from_directory
from werkzeug.exceptions import HTTPException

from atom_client.console.feeds import Feeds
from atom_client.console.guard import RESPONSE_HEADERS, explain_foreign, has_token
from atom_client.console.known_pictures import KnownPictures
from atom_client.errors import INVALID_USE, Failure, explain
from atom_client.views.as_json import VERSION
from atom_client.views.dead_letters import Desk
from atom_workflows.coordinator.services import Services
from atom_workflows.errors import RunNotFound, StoreUnavailable

ASSETS: Final = Path(__file__).with_name("assets")
_MOST_BYTES: Final = 2 * 1024 * 1024
_EXTENSION: Final = "atom_console"


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What the console shows, and what it may do.

    `place` names the platform for people. `actor` is recorded with each change.
    """

    services: Services
    token: str
    place: str
    actor: str = ""
    read_only: bool = False
    desk: Callable[[], Desk] | None = None
    # What is watched; None if nothing changes.
    feeds: Feeds | None = None
    pictures: KnownPictures = field(default_factory=KnownPictures)


def create_app(console: Console, blueprints: list[Blueprint]) -> Flask:
    """Return the application; `blueprints` answer what the page asks for under `/api`."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MOST_BYTES
    app.extensions[_EXTENSION] = console
    app.before_request(_refuse_foreign)
    app.after_request(_add_headers)
    app.register_error_handler(Exception, _explain_error)
    app.add_url_rule("/", view_func=_page)
    app.add_url_rule("/assets/<path:name>", view_func=_asset)
    app.add_url_rule("/api/console", view_func=_about)
    for one in blueprints:
        app.register_blueprint(one, url_prefix="/api")
    return app


def this_console() -> Console:
    """Return the console that the current request is for."""
    console: Console = current_app.extensions[_EXTENSION]
    return console


def answer(members: dict[str, Any]) -> Response:
    """Return a JSON answer, in the shape that the command line prints with `--json`."""
    return jsonify({"version": VERSION, **members})


def _refuse_foreign() -> Response | None:
    headers = {name.lower(): value for name, value in request.headers.items()}
    if sentence := explain_foreign(headers):
        return _refusal(sentence, 403)
    if not request.path.startswith("/api/"):
        return None
    if not has_token(headers, this_console().token):
        return _refusal("open the address that `atom-workflows console` printed; it holds this console's token", 401)
    if request.method == "POST" and this_console().read_only:
        return _refusal("this console is read-only; start it without --read-only to change runs", 403)
    if request.method == "POST" and not request.is_json:
        return _refusal("send application/json", 415)
    return None


def _add_headers(response: Response) -> Response:
    response.headers.update(RESPONSE_HEADERS)
    return response


def _refusal(sentence: str, status: int) -> Response:
    response = jsonify({"error": sentence})
    response.status_code = status
    return response


def _explain_error(error: Exception) -> Response:
    """Answer with a sentence; a bug in the console is logged, and its details stay here."""
    if isinstance(error, HTTPException):
        return _refusal(error.description or error.name, error.code or 500)
    if isinstance(error, click.ClickException):
        return _refusal(error.format_message(), 400 if error.exit_code == INVALID_USE else 409)
    sentence = explain(error)
    if sentence is None:
        current_app.logger.error("The console could not answer %s", request.path, exc_info=error)
        return _refusal("the console failed; the terminal in which it runs shows why", 500)
    if isinstance(error, RunNotFound):
        return _refusal(sentence, 404)
    return _refusal(Failure(sentence).format_message(), 503 if isinstance(error, StoreUnavailable) else 409)


def _page() -> Response:
    return send_from_directory(ASSETS, "index.html")


def _asset(name: str) -> Response:
    if not name.endswith((".js", ".css", ".svg")):
        abort(404)
    return send_from_directory(ASSETS, name)


def _about() -> Response:
    console = this_console()
    return answer(
        {
            "place": console.place,
            "read_only": console.read_only,
            "actor": console.actor,
            "live": console.feeds is not None,
        }
    )
