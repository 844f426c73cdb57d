"""The options of the command for simulations. What makes no sense is refused, with what would."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from simulation.drawing import draw
from simulation.drawn import NONE, WHOLE, Cut, Drawn
from simulation.faults import Fault, Strike
from simulation.plain import simplifications

T = TypeVar("T")

INTERRUPTED: Final = 130
"""The exit code of an interrupted command, as in shells."""


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options, with what is `drawn` if there is a `seed`.

    Exits with a message if the options make no sense.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    options.drawn = None
    if options.seed is not None:
        _check(parser, options, draw(options.seed, WHOLE))
        options.drawn = draw(options.seed, _cut(options))
    return options


def at_least_one(text: str) -> int:
    """Read a count that must not be 0."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is not enough: it takes at least 1")
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulation", description="Play many seeds and report, or one with its trace."
    )
    parser.add_argument("--seeds", type=at_least_one, default=1200, help="how many (default: 1200)")
    parser.add_argument("--first", type=int, default=0, help="the first (default: 0)")
    parser.add_argument(
        "--processes", type=at_least_one, default=os.cpu_count() or 1, help="at a time (default: one a core)"
    )
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--schedule", type=int, default=0, help="of that seed: another order of things")
    parser.add_argument("--only", type=_names, help="of that seed: these steps alone")
    parser.add_argument(
        "--without", type=_each(_fault), default=frozenset(), help="of that seed: not these kinds of faults"
    )
    parser.add_argument("--strikes", type=_strikes, help="of that seed: these faults alone, each KIND:occasion")
    parser.add_argument("--plain", type=_names, default=frozenset(), help="of that seed: this made simpler")
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace, whole: Drawn) -> None:
    if unknown := sorted((options.only or frozenset()) - set(whole.names)):
        parser.error(f"seed {whole.seed} has no step {', '.join(unknown)}; it has {', '.join(whole.names)}")
    known = sorted(simplifications(whole))
    if unknown := sorted(options.plain - set(known)):
        parser.error(f"nothing of seed {whole.seed} is made simpler by {', '.join(unknown)}; known: {', '.join(known)}")


def _cut(options: argparse.Namespace) -> Cut:
    return Cut(
        schedule=options.schedule,
        only=options.only,
        without=options.without,
        strikes=options.strikes,
        plain=options.plain,
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


def _strikes(text: str) -> frozenset[Strike]:
    return frozenset() if text == NONE else _each(_strike)(text)


def _each(read: Callable[[str], T]) -> Callable[[str], frozenset[T]]:
    return lambda text: frozenset(map(read, text.split(",")))


def _fault(name: str) -> Fault:
    if name not in Fault.__members__:
        raise argparse.ArgumentTypeError(f"there is no fault {name!r}; there are {', '.join(Fault.__members__)}")
    return Fault[name]


def _strike(text: str) -> Strike:
    name, _, occasion = text.partition(":")
    _fault(name)
    if not occasion.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a KIND:occasion, such as MESSAGE_LOST:3")
    return Strike.read(text)
