"""An HTTP transport that bounds a whole answer in time and size, however it comes.

A timeout of `requests` bounds each wait for bytes, so that a server that sends one now and then holds a caller for as
long as it likes: in the head, in the body or behind it. Here it bounds the answer, from its request to its last byte.
"""

from __future__ import annotations

import io
import os
import socket
import time
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file of trusted certificates, the first that is set: those of `requests`, and OpenSSL's."""

_PIECE: Final = 64 * 1024


class AnswerTooLarge(requests.RequestException):
    """The answer is larger than any that is expected."""


class CertificatesMissing(requests.RequestException):
    """The certificates that the environment names are not there."""


class PromptAdapter(HTTPAdapter):
    """The transport adapter of `requests`, whose read timeout bounds the whole answer.

    It trusts the certificates that the environment names, as other clients do; `requests` leaves that to a session.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """See `HTTPAdapter.send`. Raises `CertificatesMissing`, too."""
        if kwargs.get("verify", True) is True:
            kwargs["verify"] = _certificates() or True
        return super().send(request, *args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See `HTTPAdapter.init_poolmanager`."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def read_answer(response: requests.Response, *, most_bytes: int) -> bytes:
    """The body of an answer that is read as it arrives; raises `AnswerTooLarge`, or as `requests` and urllib3 do."""
    content = bytearray()
    while chunk := response.raw.read1(_PIECE, decode_content=True):
        content += chunk
        if len(content) > most_bytes:
            raise AnswerTooLarge
    return bytes(content)


def _certificates() -> str:
    """Return the file or folder of certificates that the environment names, nothing if it names none."""
    for name in CERTIFICATES:
        if path := os.environ.get(name):
            if not Path(path).exists():
                raise CertificatesMissing(f"{name} names {path}, which is not there")
            return path
    return ""


class _Stream(io.RawIOBase):
    """What a connection brings until `ends_at`."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw = raw
        self._connection = connection
        timeout_s = connection.gettimeout()
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._ends_at is not None:
            left_s = self._ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._connection.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Stream(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
