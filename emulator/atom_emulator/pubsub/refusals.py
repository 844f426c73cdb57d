"""The broker's refusals of calls, expressed as gRPC statuses."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The gRPC status of a refusal; values are the names in `grpc.StatusCode`."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"


class RefusalError(Exception):
    """A call that was refused; nothing was changed."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def invalid(reason: str) -> RefusalError:
    """Make a refusal of an invalid request."""
    return RefusalError(Code.INVALID_ARGUMENT, reason)


def unimplemented(what: str) -> RefusalError:
    """Make a refusal of something that the embedded Pub/Sub does not support."""
    return RefusalError(Code.UNIMPLEMENTED, f"the embedded Pub/Sub does not support {what}")


def not_found(name: str) -> RefusalError:
    """Make a refusal for a missing topic or subscription."""
    return RefusalError(Code.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")


def already_exists(name: str) -> RefusalError:
    """Return the error for a name that is already taken."""
    return RefusalError(
        Code.ALREADY_EXISTS, f"Resource already exists in the project (resource={name.rpartition('/')[2]})."
    )
