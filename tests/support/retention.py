"""Firestore's TTL policies: what `expire_at` says is gone."""

from __future__ import annotations

from datetime import datetime

from atom_emulator.testing.world import World
from atom_workflows.ports import Document, Query

GROUPS = ("runs", "steps", "definition")


def documents(world: World) -> list[Document]:
    """Return every document that a TTL policy is for."""
    queries = [Query(collection=group, group=group != "runs") for group in GROUPS]
    return [document for query in queries for document in world.store.inner.query(query)]


def expiries(world: World) -> dict[str, datetime]:
    """Return when each of them expires, by its path."""
    return {document.path: document.fields["expire_at"] for document in documents(world)}


def expire(world: World) -> list[str]:
    """Delete what has expired, as Firestore does. Return its paths."""
    gone = [path for path, at in expiries(world).items() if at <= world.clock.now()]
    for path in gone:
        world.store.inner.delete(path)
    return gone
