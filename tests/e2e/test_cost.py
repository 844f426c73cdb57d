"""What is measured of a run in memory is held to what the servers count of a real one, on the local platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from atom_client.cost.bill import price_of, times
from atom_client.cost.measurement import measure
from atom_client.cost.prices import PRICES, Item
from atom_client.cost.usage import LEAST_BILLED_BYTES, Assumptions, Tally
from atom_workflows.language.parser import parse_workflow
from e2e.backends import site_on
from e2e.test_wire_budget import AT_ONCE, NEVER_S, Wire
from support.workflows import chain, definition, fan

LOCAL: Final[dict[str, Any]] = {
    "read_s": 0.0012,
    "commit_s": 0.0012,
    "publish_s": 0.001,
    "task_runner_s": 0.001,
    "cpu_s": 0.001,
}
"""How long the local platform's calls take, about. The number of reports of changes depends on it."""


def layers(depth: int, width: int) -> str:
    """Return layers, each fully connected to the one before."""
    names = [[f"l{layer}x{place}" for place in range(width)] for layer in range(depth)]
    return definition({name: names[at - 1] if at else [] for at, layer in enumerate(names) for name in layer})


def diamonds(count: int) -> str:
    """Return forks of three that join again, one after the other.

    A step without a task stands between two of them.
    """
    edges: dict[str, list[str]] = {"m0": []}
    for at in range(count):
        sides = [f"d{at}{side}" for side in "abc"]
        edges |= {side: [f"m{at}"] for side in sides} | {f"m{at + 1}": sides}
    steps = json.loads(definition(edges))["steps"]
    for step in steps[4::4]:
        del step["task"]
    return json.dumps({"name": "flow", "steps": steps})


SHAPES: Final = {
    "one step": chain(1),
    "chain of 10": chain(10),
    "chain of 110": chain(110),
    "fan of 20": fan(20),
    "fan of 300": fan(300),
    "layers": layers(6, 12),
    "diamonds": diamonds(8),
}


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Yield a platform on the servers that count, without scheduled ticks."""
    with site_on("embedded", tmp_path_factory.mktemp("platform"), tick_every_s=NEVER_S) as site:
        site.script(AT_ONCE)
        wire = Wire(site)
        yield wire
        wire.close()


def measured(text: str, given: Assumptions) -> Tally:
    """Return what the estimate says of a workflow."""
    return measure(parse_workflow(text, filename="flow.yaml"), text.encode(), given)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_in_memory_takes_what_a_real_one_takes(wire: Wire, shape: str) -> None:
    """Documents and messages are the same up to how a machine groups answers."""
    counted, said = wire.run(SHAPES[shape]), measured(SHAPES[shape], Assumptions(**LOCAL))
    print(f"{shape}: counted {counted}; measured {said}")  # noqa: T201 - the figures are the test's other result
    assert said.writes == pytest.approx(counted.writes, rel=0.03)
    assert said.reads == pytest.approx(counted.reads, rel=0.03, abs=1)
    assert said.messages == pytest.approx(counted.messages, rel=0.1, abs=2)


@pytest.mark.parametrize("length", [10, 110])
def test_a_chain_in_memory_is_exact(wire: Wire, length: int) -> None:
    """A chain is exact, as nothing runs at the same time in it."""
    counted, said = wire.run(chain(length)), measured(chain(length), Assumptions(**LOCAL))
    assert (said.writes, said.reads) == (counted.writes, counted.reads)


def test_a_thousand_chained_steps_cost_less_than_a_cent(wire: Wire) -> None:
    """A chained step costs 3 writes, 1 read and at most 1 message."""
    short, long = (wire.run(chain(length)) for length in (10, 110))
    added = long.per_step(short, 100)
    print("a further chained step:", added)  # noqa: T201 - the figures are the test's other result
    assert (added["writes"], added["reads"]) == (3, 1)
    assert added["messages"] <= 1
    given = Assumptions()
    usage = {
        **times(measured(chain(1000), given).usage(given), 1 / 1000),
        Item.WRITES: added["writes"],
        Item.READS: added["reads"],
        Item.MESSAGES: added["messages"] * 2 * LEAST_BILLED_BYTES,
    }
    assert price_of(times(usage, 1000), PRICES).usd < 0.01
