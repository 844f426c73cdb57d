"""The database's errors, named after the gRPC statuses that Firestore returns."""

from __future__ import annotations


class FirestoreError(Exception):
    """The base class: a request was refused and changed nothing."""


class InvalidArgument(FirestoreError, ValueError):
    """The request is invalid and can never succeed."""


class NotFound(FirestoreError, LookupError):
    """A document that must exist does not exist."""


class AlreadyExists(FirestoreError, FileExistsError):
    """A document that must not exist already exists."""


class FailedPrecondition(FirestoreError):
    """The document's update time differs from the required one."""


class Aborted(FirestoreError):
    """Another commit changed a document that the transaction had read."""


class Unimplemented(FirestoreError, NotImplementedError):
    """The real service supports this; the embedded one does not."""


class Unavailable(FirestoreError):
    """The documents' file cannot be read or written at the moment."""


class ResourceExhausted(FirestoreError):
    """The server already has as many listeners as it can serve."""
