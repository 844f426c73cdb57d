"""The Source port, implemented on Cloud Storage's JSON API.

This way, functions need not import another client library.
"""

from __future__ import annotations

from typing import Final

import google.auth.exceptions
import requests
from urllib3.exceptions import HTTPError as TransportError

from atom_workflows.adapters.http import AnswerTooLarge, read_answer
from atom_workflows.adapters.storage.api import StorageApi, explain_bad_path, quote_name, split_path
from atom_workflows.errors import SourceForbidden, SourceNotFound, SourceTooLarge, SourceUnavailable

MAX_BYTES: Final = 4 * 1024 * 1024
TIMEOUT_S: Final = (3.05, 30.0)
"""The time limits for connecting and for the whole response."""
SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.read_only",)


class StorageSource:
    """Workflow files in Cloud Storage buckets."""

    def __init__(self) -> None:
        self._api = StorageApi(*SCOPES)

    def read(self, path: str, generation: str | None) -> tuple[bytes, str]:
        """See `ports.Source.read`."""
        parts = split_path(path)
        if parts is None:
            raise SourceNotFound(explain_bad_path(path))
        bucket, name = parts
        url = f"{self._api.base_url}/storage/v1/b/{bucket}/o/{quote_name(name)}"
        query = {"alt": "media", **({"generation": generation} if generation else {})}
        try:
            with self._api.session().get(url, params=query, timeout=TIMEOUT_S, stream=True) as response:
                return _read_content(response, path), response.headers.get("x-goog-generation", generation or "")
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise SourceForbidden(
                f"no permission to read {path}: no Google credentials were found; give the start function a "
                "service account, or set GOOGLE_APPLICATION_CREDENTIALS or STORAGE_EMULATOR_HOST"
            ) from error
        except (requests.RequestException, TransportError, google.auth.exceptions.GoogleAuthError) as error:
            raise SourceUnavailable(f"{path} could not be read: {type(error).__name__}") from error


def _read_content(response: requests.Response, path: str) -> bytes:
    if response.status_code == requests.codes.not_found:
        raise SourceNotFound(f"{path} does not exist, or no longer exists")
    if response.status_code in {requests.codes.forbidden, requests.codes.unauthorized}:
        raise SourceForbidden(
            f"no permission to read {path}; grant roles/storage.objectViewer to the start function's service account"
        )
    if response.status_code == requests.codes.bad_request:
        raise SourceNotFound(f"{path} is not the name of an object, or its generation is not valid")
    if response.status_code != requests.codes.ok:
        raise SourceUnavailable(f"{path} could not be read: HTTP {response.status_code}")
    try:
        return read_answer(response, most_bytes=MAX_BYTES)
    except AnswerTooLarge as error:
        raise SourceTooLarge(f"{path} is larger than {MAX_BYTES:,} bytes, the limit for a workflow file") from error
