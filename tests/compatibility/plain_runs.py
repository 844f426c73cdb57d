"""Whole runs of a plain file: the documents that every version has written, and writes, for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from atom_emulator.testing.world import World
from atom_workflows.documents import run_path, steps_path
from atom_workflows.ports import Query

_JOINED: Final = 33

PLAIN: Final = json.dumps(
    {
        "name": "nightly",
        "description": "Everything that a file can say without expressions.",
        "timeout": "3h",
        "defaults": {"retry": {"maxAttempts": 2, "backoff": {"initial": "1s", "factor": 3, "max": "9s", "jitter": 0}}},
        "steps": [
            {"id": "first", "task": {"imageUri": "image", "args": [["a"], {"b": 1.5}], "labels": {"team": "ml"}}},
            {"id": "both", "dependsOn": ["first"]},
            {"id": "next", "dependsOn": ["both"], "onLost": "fail", "task": {"imageUri": "image", "args": {"x": None}}},
            *(
                {"id": f"s{number}", "dependsOn": ["first"], "timeout": "5m", "task": {"imageUri": "image"}}
                for number in range(_JOINED)
            ),
            {"id": "join", "dependsOn": [f"s{number}" for number in range(_JOINED)], "task": {"imageUri": "image"}},
            {"id": "last", "dependsOn": ["join", "next"], "task": {"imageUri": "image"}},
        ],
    }
)
"""A chain, a barrier, and a join so wide that the compiler adds barriers."""

SCRIPT: Final = "default: {duration: 25}\nrules: [{step: s3, fail_times: 1}, {step: s32, always_fail: true}]"
_TEXTS: Final = {"message", "errors", "attempts"}
"""What is written for people may be reworded. The last version without expressions kept no attempts."""


def documents(world: World, run_id: str) -> dict[str, Mapping[str, Any]]:
    """Return all documents of a run as they stand, by path, without what is for people."""
    [run] = world.store.get([run_path(run_id)])
    assert run is not None
    steps = world.store.query(Query(collection=steps_path(run_id)))
    return {
        one.path: {name: value for name, value in one.fields.items() if name not in _TEXTS} for one in [run, *steps]
    }
