"""What Google Cloud's APIs have in common, as far as gcloud needs it: named resources, policies, long operations.

It remembers what it is sent and answers it again. It checks nothing and does nothing: no role is looked at, no function
built. What only some services do differently stands in `fake_cloud.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class Memory:
    """Resources by their path (`projects/p/topics/t`), and policies by the path of what they are on."""

    resources: dict[str, Json] = field(default_factory=dict)
    policies: dict[str, Json] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def get(self, path: str) -> Json | None:
        """Return the resource, or None."""
        return self.resources.get(path)

    def put(self, path: str, content: Mapping[str, Any]) -> Json:
        """Create or replace it."""
        with self.lock:
            self.resources[path] = {"name": path, **content}
            return self.resources[path]

    def patch(self, path: str, content: Mapping[str, Any], mask: str) -> Json | None:
        """Change the fields of a mask, or without one the given ones."""
        with self.lock:
            found = self.resources.get(path)
            if found is None:
                return None
            for name in filter(None, mask.split(",")) if mask else list(content):
                _move(content, found, [_camel(part) for part in name.split(".")])
            return found

    def delete(self, path: str) -> bool:
        """Delete it and all below it.

        Returns True if there was anything.
        """
        with self.lock:
            gone = [one for one in self.resources if one == path or one.startswith(f"{path}/")]
            for one in gone:
                del self.resources[one]
            return bool(gone)

    def children(self, collection: str) -> list[Json]:
        """Return the resources of a collection.

        A collection is such as `projects/p/topics`; `-` in it stands for any name.
        """
        wanted = collection.split("/")
        return [content for path, content in sorted(self.resources.items()) if _is_in(path.split("/"), wanted)]

    def policy(self, path: str) -> Json:
        """Return the policy of a resource, empty at first."""
        return self.policies.setdefault(path, {"version": 1, "etag": "BwX=", "bindings": []})


def _is_in(path: list[str], collection: list[str]) -> bool:
    parents = zip(path, collection, strict=False)
    return len(path) == len(collection) + 1 and all(wanted in {"-", name} for name, wanted in parents)


def _move(content: Mapping[str, Any], found: Json, path: list[str]) -> None:
    *parents, last = path
    for parent in parents:
        content = content.get(parent, {})
        found = found.setdefault(parent, {})
    if last in content:
        found[last] = content[last]
    else:
        found.pop(last, None)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
