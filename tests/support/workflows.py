"""Definitions of workflows for tests, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def definition(edges: Mapping[str, Sequence[str]], **step_fields: Mapping[str, Any]) -> str:
    """A workflow of these steps and what each depends on; further fields of a step by its id."""
    steps = [
        {"id": name, "dependsOn": list(needs), "task": {"imageUri": "image"}, **step_fields.get(name, {})}
        for name, needs in edges.items()
    ]
    return json.dumps({"name": "flow", "steps": steps})


def chain(length: int) -> str:
    """Steps `s0` to `sN`, each depending on the one before."""
    return definition({f"s{i}": [f"s{i - 1}"] if i else [] for i in range(length)})


def fan(width: int) -> str:
    """A root, `width` steps that depend on it, and an end that depends on them all."""
    leaves = [f"leaf{i}" for i in range(width)]
    return definition({"root": [], **{leaf: ["root"] for leaf in leaves}, "join": leaves})


def layers(depth: int, width: int) -> str:
    """Layers of which each step depends on every step of the layer before."""
    names = [[f"l{layer}x{i}" for i in range(width)] for layer in range(depth)]
    return definition({name: names[k - 1] if k else [] for k, layer in enumerate(names) for name in layer})
