"""The gRPC status that answers each of the database's errors."""

from __future__ import annotations

from typing import Final

from grpc import StatusCode

from atom_emulator.firestore import errors

_CODES: Final = {
    errors.Aborted: StatusCode.ABORTED,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: StatusCode.FAILED_PRECONDITION,
    errors.InvalidArgument: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.ResourceExhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.Unimplemented: StatusCode.UNIMPLEMENTED,
}


def status_of(error: errors.FirestoreError) -> StatusCode:
    """Return the status that answers the error."""
    return _CODES[type(error)]
