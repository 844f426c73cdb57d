"""Large graphs for the scenarios."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Final

STEPS: Final = 2_000
LAYERS: Final = 25
SEED: Final = 20_26
MOST_NEEDS: Final = 4
SHARE_WITHOUT_TASK: Final = 0.05


def layered() -> tuple[dict[str, list[str]], list[str]]:
    """Return a random graph of some 2,000 steps.

    It is the same each time. Also returns those of its steps that have no task. Every step depends on one to four of
    the layer before, and now and then on one further up.
    """
    dice = random.Random(SEED)  # noqa: S311 - nothing secret
    layers = [[f"l{layer}-{place}" for place in range(STEPS // LAYERS)] for layer in range(LAYERS)]
    edges: dict[str, list[str]] = {step: [] for step in layers[0]}
    for above, layer in pairwise(layers):
        for step in layer:
            needs = dice.sample(above, dice.randint(1, MOST_NEEDS))
            further = [dice.choice(list(edges))] if dice.random() < SHARE_WITHOUT_TASK else []
            edges[step] = list(dict.fromkeys([*needs, *further]))
        edges |= {step: edges[step] for step in layer}
    without_task = [step for step in edges if dice.random() < SHARE_WITHOUT_TASK]
    return edges, without_task
