"""The arithmetic of a bill: amounts times prices, with formulas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log2
from typing import TypeAlias

from atom_client.cost.prices import Item, Price

Usage: TypeAlias = Mapping[Item, float]
"""How much of each item was used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line item on a bill."""

    item: Item
    amount: float
    price: Price

    @property
    def usd(self) -> float:
        """The line's amount in dollars."""
        return self.price.of(self.amount)

    @property
    def formula(self) -> str:
        """The calculation of the line's amount, such as `305 documents written * $0.09 / 100,000`."""
        per = "" if self.price.per == 1 else f" / {unit(self.price.per)}"
        return f"{quantity(self.amount)} {self.item} * ${plain(self.price.usd)}{per}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """An itemized bill."""

    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        """The total in dollars."""
        return sum(line.usd for line in self.lines)

    def by_service(self) -> dict[str, float]:
        """Sum the dollars by service, in the order of the lines."""
        sums: dict[str, float] = {}
        for line in self.lines:
            sums[line.price.service] = sums.get(line.price.service, 0.0) + line.usd
        return sums


def price_of(usage: Usage, prices: Mapping[Item, Price]) -> Bill:
    """Return the bill for the given usage.

    Lines are in the order of the price table; items that were not used are left out.
    """
    return Bill(
        lines=tuple(
            Line(item=item, amount=usage[item], price=price) for item, price in prices.items() if usage.get(item)
        )
    )


def added(usages: Iterable[Usage]) -> Usage:
    """Return the sum of several usages."""
    total: Counter[Item] = Counter()
    for usage in usages:
        total.update(usage)
    return dict(total)


def times(usage: Usage, factor: float) -> Usage:
    """Scale a `Usage` by a factor."""
    return {item: amount * factor for item, amount in usage.items()}


def quantity(amount: float) -> str:
    """Format a number compactly, such as `12,400` or `0.43`."""
    if amount == int(amount) or amount >= 1000:  # noqa: PLR2004 (four digits are enough)
        return f"{amount:,.0f}"
    return f"{amount:,.3g}" if amount < 100 else f"{amount:,.1f}"  # noqa: PLR2004 (three digits are enough)


def unit(per: float) -> str:
    """Format the unit of a price, such as `100,000` or `2^40`."""
    is_binary = per > 1 and log2(per).is_integer()
    return f"2^{log2(per):.0f}" if is_binary else f"{per:,.0f}"


def plain(usd: float) -> str:
    """Format a price without an exponent, such as `0.000024`."""
    return f"{usd:.10f}".rstrip("0").rstrip(".")


def dollars(usd: float) -> str:
    """Format an amount with at least two significant digits.

    For example `$357.70`, `$0.0073`, `$0.0000031`.
    """
    if usd == 0:
        return "$0"
    if usd >= 0.1:  # noqa: PLR2004 (cents are enough)
        return f"${usd:,.2f}"
    return f"${plain(float(f'{usd:.2g}'))}"
