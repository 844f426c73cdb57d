"""Definitions of workflows for tests, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def definition(edges: Mapping[str, Sequence[str]], **step_fields: Mapping[str, Any]) -> str:
    """Return a workflow of these steps and their dependencies.

    Keywords are further fields of a step, by its id.
    """
    steps = [
        {"id": name, "dependsOn": list(needs), "task": {"imageUri": "image"}, **step_fields.get(name, {})}
        for name, needs in edges.items()
    ]
    return json.dumps({"name": "flow", "steps": steps})


def script(**steps: Mapping[str, Any]) -> str:
    """Return a mock Task Runner's script with a rule for each of these steps."""
    return json.dumps({"rules": [{"step": step_id, **behavior} for step_id, behavior in steps.items()]})


def chain(length: int) -> str:
    """Return steps `s0` to `sN`, each depending on the one before."""
    return definition({f"s{i}": [f"s{i - 1}"] if i else [] for i in range(length)})


def fan(width: int) -> str:
    """Return a root, `width` steps behind it, and their join."""
    leaves = [f"leaf{i}" for i in range(width)]
    return definition({"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves})


def layers(depth: int, width: int) -> str:
    """Return layers, each fully connected to the one before."""
    names = [[f"l{layer}x{i}" for i in range(width)] for layer in range(depth)]
    return definition({name: names[k - 1] if k else [] for k, layer in enumerate(names) for name in layer})
