"""Read the members of a request's JSON body."""

from __future__ import annotations

from typing import Any

from flask import request

from atom_client.errors import Failure, Misuse
from atom_client.planning.requests import GivenFile
from atom_client.text import counted
from atom_workflows.language.limits import MAX_FILE_BYTES


class Given:
    """The body of the current request. Each method raises `Misuse` if a member is of the wrong type."""

    def __init__(self) -> None:
        try:
            body = request.get_json()
        except RecursionError:
            raise Misuse("the request is nested too deeply") from None
        if not isinstance(body, dict):
            raise Misuse("the request must be a JSON object")
        self._body: dict[str, Any] = body

    def text(self, name: str) -> str:
        """Return a text, or "" if it is missing."""
        found = str(self._member(name, str, ""))
        _require_characters(name, found)
        return found

    def flag(self, name: str) -> bool:
        """Return a flag, which is False if it is missing."""
        return bool(self._member(name, bool, default=False))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, which is empty if it is missing."""
        found = self._member(name, list, [])
        if not all(isinstance(one, str) for one in found):
            raise Misuse(f"`{name}` must be a list of strings")
        _require_characters(name, *found)
        return tuple(found)

    def named_texts(self, name: str) -> dict[str, str]:
        """Return texts by name, or an empty map if they are missing."""
        found: dict[str, str] = self._member(name, dict, {})
        if not all(isinstance(one, str) for one in found.values()):
            raise Misuse(f"`{name}` must be a map of strings")
        _require_characters(name, *found, *found.values())
        return found

    def file(self) -> GivenFile | None:
        """Return the file sent as `{"name": ..., "text": ...}`, or None."""
        found = self._member("file", dict, {})
        if not found:
            return None
        name, text = found.get("name"), found.get("text")
        if not isinstance(text, str) or not isinstance(name, str):
            raise Misuse("`file` must have a `name` and a `text`")
        # A browser names a file without its folders; a name that someone typed may have some.
        name = name.replace("\\", "/").rpartition("/")[2].strip() or "pasted.yaml"
        content = text.encode("utf-8", "replace")
        if len(content) > MAX_FILE_BYTES:
            most = counted(MAX_FILE_BYTES, "byte")
            raise Misuse(f"the file has {counted(len(content), 'byte')}; a workflow file may have up to {most}")
        return GivenFile(content=content, name=name)

    def require_seen(self, digest: str, what: str) -> None:
        """Raise `Failure` if the plan differs from what the user confirmed."""
        if self.text("seen") != digest:
            raise Failure(f"{what} changed after the preview was shown; check the new preview, then confirm again")

    def _member(self, name: str, kind: type, default: Any) -> Any:
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise Misuse(f"`{name}` must be {_KINDS[kind]}, not {type(value).__name__}")
        return value


_KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "an object"}


def _require_characters(name: str, *texts: str) -> None:
    """Raise `Misuse` if a text has a lone surrogate.

    JSON can express it, but UTF-8 cannot.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Misuse(f"`{name}` has half of a surrogate pair, which is not a character") from None
