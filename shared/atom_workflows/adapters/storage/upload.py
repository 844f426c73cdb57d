"""Uploads to Cloud Storage with the user's credentials, for the command line."""

from __future__ import annotations

from typing import Final

import google.auth.exceptions
import requests
from urllib3.exceptions import HTTPError as TransportError

from atom_workflows.adapters.http import AnswerTooLarge, read_answer
from atom_workflows.adapters.storage.api import StorageApi, explain_bad_path, quote_name, split_path
from atom_workflows.bounded_json import read_json
from atom_workflows.errors import SourceForbidden, SourceNotFound, SourceUnavailable

TIMEOUT_S: Final = (3.05, 60.0)
"""The time limits for connecting and for the whole response."""

SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.read_write",)
_MOST_ANSWERED: Final = 64 * 1024
_LONGEST_QUOTE: Final = 200


class StorageUpload:
    """Objects written to Cloud Storage buckets."""

    def __init__(self) -> None:
        self._api = StorageApi(*SCOPES)

    def upload(self, path: str, content: bytes) -> str:
        """Write the object at a `gs://` path and return its generation.

        An existing object is replaced. Raises `SourceNotFound` if the path is invalid or the bucket does not exist; may
        also raise `SourceForbidden` or `SourceUnavailable`. If there was no response, the upload may have succeeded.
        Raises google-auth's errors if there are no credentials.
        """
        parts = split_path(path)
        if parts is None:
            raise SourceNotFound(explain_bad_path(path))
        bucket, name = parts
        url = f"{self._api.base_url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote_name(name)}"
        headers = {"Content-Type": "application/yaml"}
        session = self._api.session()
        try:
            with session.post(url, data=content, headers=headers, timeout=TIMEOUT_S, stream=True) as response:
                return _read_generation(response, path, bucket)
        except google.auth.exceptions.TransportError as error:
            raise SourceUnavailable(f"{path} could not be written: {type(error).__name__}") from error
        except (requests.RequestException, TransportError) as error:
            raise SourceUnavailable(
                f"{path} may not have been written: {type(error).__name__}; upload it again"
            ) from error


def _read_generation(response: requests.Response, path: str, bucket: str) -> str:
    try:
        text = read_answer(response, most_bytes=_MOST_ANSWERED)
    except AnswerTooLarge:
        text = b""
    if response.status_code == requests.codes.ok:
        try:
            return str(int(read_json(text)["generation"]))
        except (ValueError, LookupError, TypeError) as error:
            raise SourceUnavailable(
                f"the response for {path} has no generation; does STORAGE_EMULATOR_HOST name a Cloud Storage server?"
            ) from error
    try:
        message = " ".join(str(read_json(text)["error"]["message"]).split())
        said = f" ({message[:_LONGEST_QUOTE]})"
    except (ValueError, LookupError, TypeError):
        said = ""
    if response.status_code == requests.codes.not_found:
        raise SourceNotFound(f"there is no bucket {bucket}{said}; `gcloud storage buckets list` shows those that exist")
    if response.status_code == requests.codes.bad_request:
        raise SourceNotFound(f"{path} is not a valid name for an object{said}")
    if response.status_code in {requests.codes.forbidden, requests.codes.unauthorized}:
        raise SourceForbidden(
            f"no permission to write {path}{said}; your account needs roles/storage.objectUser on the bucket: "
            f"`gcloud storage buckets add-iam-policy-binding gs://{bucket} --member=user:YOU "
            "--role=roles/storage.objectUser`"
        )
    raise SourceUnavailable(f"{path} could not be written: HTTP {response.status_code}{said}")
