"""The database's refusals, named after the gRPC status that Firestore answers with."""

from __future__ import annotations


class FirestoreError(Exception):
    """The root: a request was refused and changed nothing."""


class InvalidArgument(FirestoreError, ValueError):
    """The request can never succeed as it stands."""


class NotFound(FirestoreError, LookupError):
    """A document that must exist does not."""


class AlreadyExists(FirestoreError, FileExistsError):
    """A document that must not exist does."""


class FailedPrecondition(FirestoreError):
    """The document has another update time than the one asked for."""


class Aborted(FirestoreError):
    """Another commit changed a document that the transaction had read."""


class Unimplemented(FirestoreError, NotImplementedError):
    """The real service can do this; the embedded one cannot."""
