"""Publish by REST, which `gcloud pubsub topics publish` uses and the embedded Pub/Sub does not offer.

One method of the Pub/Sub REST API, `topics.publish`, is forwarded to the server by gRPC; any other is answered with
501.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

from google.api_core.exceptions import GoogleAPICallError

from atom_emulator.platform.network import HOST
from atom_emulator.web_pages import explain_refusal
from atom_workflows.bounded_json import MAX_START_VALUES, read_json

Publish: TypeAlias = Callable[[str, Sequence[Mapping[str, Any]]], Sequence[str]]
"""Publishes messages (data: bytes, attributes) to a topic (`projects/P/topics/T`) and returns their ids."""

_PUBLISH_PATH: Final = re.compile(r"/v1/(projects/[^/]+/topics/[^/:?]+):publish(\?.*)?")
_MAX_BYTES: Final = 14_000_000
"""The service accepts 10 MB of messages, which take up this many bytes in base64."""


_MAX_DIGITS: Final = 18


class RestPublish:
    """The server, in threads of this process; `url` is its address."""

    def __init__(self, publish: Publish) -> None:
        self._server = _Server(publish)
        self.url = f"http://{HOST}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="rest publish", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and drop the calls in progress."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, publish: Publish) -> None:
        super().__init__((HOST, 0), _Handler)
        self.publish = publish


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        declared = self.headers.get("Content-Length", "")
        length = int(declared) if declared.isascii() and declared.isdecimal() and len(declared) <= _MAX_DIGITS else None
        match = _PUBLISH_PATH.fullmatch(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if reason := explain_refusal(headers, bound_to=HOST):
            self.close_connection = True
            self._refuse(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", reason)
        elif length is None:
            self.close_connection = True
            self._refuse(
                HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", f"the request has no valid Content-Length: {declared!r:.80}"
            )
        elif length > _MAX_BYTES:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "the request is larger than 10 MB of messages")
        elif match is None:
            self.rfile.read(length)
            said = "only topics.publish of Pub/Sub's REST API is emulated; use the client libraries, which speak gRPC"
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "UNIMPLEMENTED", said)
        else:
            self._publish(match[1], self.rfile.read(length))

    def _publish(self, topic: str, raw: bytes) -> None:
        try:
            message_ids = self.server.publish(topic, _decode_messages(raw))
        except (LookupError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", f"the request is not a publish request: {error}")
        except GoogleAPICallError as error:
            status = getattr(error.grpc_status_code, "name", "UNKNOWN")
            self._refuse(int(error.code or HTTPStatus.INTERNAL_SERVER_ERROR), status, error.message)
        else:
            self._answer(HTTPStatus.OK, {"messageIds": list(message_ids)})

    def _refuse(self, code: int, status: str, message: str) -> None:
        self._answer(code, {"error": {"code": code, "status": status, "message": message}})

    def _answer(self, code: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's word
        """Log nothing, since this process is the user's command line."""


def _decode_messages(raw: bytes) -> list[dict[str, Any]]:
    return [
        {
            "data": base64.b64decode(message.get("data", ""), validate=True),
            "attributes": dict(message.get("attributes") or {}),
            "ordering_key": str(message.get("orderingKey", "")),
        }
        for message in read_json(raw, most_values=MAX_START_VALUES)["messages"]
    ]
