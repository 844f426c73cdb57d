"""The console's web application: its page, and JSON under `/api`."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import click
from flask import Blueprint, Flask, Response, abort, current_app, jsonify, request, send_from_directory
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from atom_client.console.feeds import Feeds
from atom_client.console.given import OutdatedPreview
from atom_client.console.guard import RESPONSE_HEADERS, is_from_elsewhere, refuse
from atom_client.console.known_pictures import KnownPictures
from atom_client.console.openings import Openings
from atom_client.console.watched_items import KnownPages
from atom_client.errors import INVALID_USE, Failure, explain
from atom_client.views.as_json import VERSION
from atom_client.views.dead_letters import Desk
from atom_workflows.coordinator.services import Services
from atom_workflows.core.records import RunRecord
from atom_workflows.errors import BusUnavailable, RunNotFound, SourceUnavailable, StoreUnavailable

ASSETS: Final = Path(__file__).with_name("assets")
MOST_BYTES: Final = 8 * 1024 * 1024
"""The largest request: a workflow file of 4 MB, whose line breaks and quotes take up twice the space in JSON."""

LARGE_BYTES: Final = 100_000
"""Responses larger than this are compressed."""
READ_ONLY: Final = "This console is read-only: start it without --read-only to change anything."
NO_PLATFORM: Final = (
    "No platform is up in this folder, so its history can be read but not changed. `atom-workflows local up` starts "
    "one: it resumes the open runs, and prints the address of its own console."
)

_EXTENSION: Final = "atom_console"

View = TypeVar("View", bound=Callable[..., Response])


class OwnPlatforms(Protocol):
    """The platforms that `run` starts, each for one run. Thread-safe."""

    def is_up(self, run_id: str) -> bool:
        """Return True if the platform of this run is up."""
        ...

    def connect(self, run_id: str) -> Services | None:
        """Return the services of this run's platform if it is up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What the console shows, and what it may do.

    `place` is the platform's name as users see it. `actor` is recorded with each change.
    """

    services: Services
    token: str
    place: str
    actor: str = ""
    read_only: bool = False
    desk: Callable[[], Desk] | None = None
    # If the services only read a folder's history, its runs can be changed on platforms of their own.
    own_platforms: OwnPlatforms | None = None
    # What is watched; None if nothing changes.
    feeds: Feeds | None = None
    openings: Openings = field(default_factory=Openings)
    pictures: KnownPictures = field(default_factory=KnownPictures)
    item_pages: KnownPages = field(default_factory=KnownPages)
    # Only one request at a time may hold dead letters: they would hide them from each other.
    desk_lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def why_read_only(self) -> str:
        """Why nothing can be changed, or "" if changes are possible.

        Runs on platforms of their own may be an exception.
        """
        return READ_ONLY if self.read_only else NO_PLATFORM if self.own_platforms is not None else ""

    def why_fixed(self, run: RunRecord) -> str:
        """Explain why a run cannot be changed, or return ""."""
        platforms = self.own_platforms
        return "" if platforms is not None and not self.read_only and platforms.is_up(run.id) else self.why_read_only

    def services_to_change(self, run: RunRecord) -> Services:
        """Return the services of the run's platform.

        Raises `Failure` if it is not up.
        """
        found = self.services if self.own_platforms is None else self.own_platforms.connect(run.id)
        if found is None:
            raise Failure(NO_PLATFORM)
        return found


def create_app(console: Console, blueprints: list[Blueprint]) -> Flask:
    """Return the application; `blueprints` handle the page's requests under `/api`."""
    app = Flask(__name__, static_folder=None)
    # Do not redirect `//api`: the guard has checked this path.
    app.url_map.merge_slashes = False
    # Sorting the members of 10,000 steps takes longer than writing them.
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.extensions[_EXTENSION] = console
    app.before_request(_refuse_foreign)
    app.after_request(_add_headers)
    app.register_error_handler(Exception, _explain_error)
    app.add_url_rule("/", "page", _page)
    app.add_url_rule("/open/<name>", view_func=_open)
    app.add_url_rule("/assets/<path:name>", view_func=_asset)
    app.add_url_rule("/api/console", view_func=_about)
    for one in blueprints:
        app.register_blueprint(one, url_prefix="/api")
    return app


def this_console() -> Console:
    """Return the console that the current request is for."""
    console: Console = current_app.extensions[_EXTENSION]
    return console


def changes_nothing(view: View) -> View:
    """Allow a POST view that changes nothing on a read-only console."""
    view.changes_nothing = True  # type: ignore[attr-defined]  # read by `_is_change`
    return view


def answer(members: dict[str, Any]) -> Response:
    """Return JSON in the shape that the command line's `--json` prints."""
    return jsonify({"version": VERSION, **members})


def _refuse_foreign() -> Response | None:
    headers = {name.lower(): value for name, value in request.headers.items()}
    refused = refuse(request.method, request.path, headers, token=this_console().token)
    if refused is not None:
        return _refusal(refused.sentence, refused.status)
    console = this_console()
    # A run on a platform of its own may be changed although nothing else may.
    is_about_run = not console.read_only and "run_id" in (request.view_args or {})
    if console.why_read_only and _is_change() and not is_about_run:
        return _refusal(console.why_read_only, 403)
    return None


def _is_change() -> bool:
    view = current_app.view_functions.get(request.endpoint or "")
    return request.method == "POST" and not getattr(view, "changes_nothing", False)


def _add_headers(response: Response) -> Response:
    response.headers.update(RESPONSE_HEADERS)
    return _compressed(response) if response.is_json and not response.is_streamed else response


def _compressed(response: Response) -> Response:
    """Compress a large response if the browser accepts that.

    Users behind a tunnel notice the difference.
    """
    content = response.get_data()
    if len(content) > LARGE_BYTES and request.accept_encodings["gzip"]:
        response.set_data(gzip.compress(content, 1))
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response


def _refusal(sentence: str, status: int) -> Response:
    response = jsonify({"error": sentence})
    response.status_code = status
    return response


def _explain_error(error: Exception) -> Response:
    """Respond with a sentence; log bugs, but keep their details private."""
    if isinstance(error, RequestEntityTooLarge):
        return _refusal(f"the request is larger than {MOST_BYTES:,} bytes", 413)
    if isinstance(error, HTTPException):
        return _refusal(error.description or error.name, error.code or 500)
    if isinstance(error, click.ClickException):
        conflict = 412 if isinstance(error, OutdatedPreview) else 409
        return _refusal(error.format_message(), 400 if error.exit_code == INVALID_USE else conflict)
    sentence = explain(error)
    if sentence is None:
        current_app.logger.error("The console could not answer %s", request.path, exc_info=error)
        return _refusal("the console failed; the terminal in which it runs shows why", 500)
    if isinstance(error, RunNotFound):
        return _refusal(sentence, 404)
    # A message may have been published although the bus did not say so in time.
    is_unavailable = isinstance(error, StoreUnavailable | BusUnavailable | SourceUnavailable)
    return _refusal(Failure(sentence).format_message(), 503 if is_unavailable else 409)


def _page() -> Response:
    text = (ASSETS / "index.html").read_text(encoding="utf-8")
    # Such a page does without the token that its tab may have from before.
    if is_from_elsewhere(request.headers.get("sec-fetch-site")):
        text = text.replace("<html ", "<html data-foreign ", 1)
    return Response(text, mimetype="text/html")


def _open(name: str) -> Response:
    console = this_console()
    if not console.openings.take(name):
        return _refusal("this address opens the console only once; use the one that the terminal shows", 410)
    # Browsers keep the fragment of a redirection, and send it to no one.
    return Response(status=303, headers={"Location": f"/#token={console.token}"})


def _asset(name: str) -> Response:
    if not name.endswith((".js", ".css", ".svg")):
        abort(404)
    return send_from_directory(ASSETS, name)


def _about() -> Response:
    console = this_console()
    return answer(
        {
            "place": console.place,
            "read_only": bool(console.why_read_only),
            "why_read_only": console.why_read_only,
            "actor": console.actor,
            "live": console.feeds is not None,
        }
    )
