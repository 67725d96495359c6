"""Shared cost split over owners by a key, exact to the nano-dollar. Pure mathematics.

Each pool is split on its own. An owner's part is the pool times its weight over the sum of weights, cut to whole
nano-dollars; the nano-dollars that are left go one each to the largest remainders, of equal ones to the owner that
stands first. So the parts sum to the pool, and nobody's is a nano-dollar off its own. Who has no weight has no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeVar, get_args

from .shapley import apportion

Key = Literal["even", "cost", "calls", "tokens", "weights"]
"""What cost is shared by: one part each; direct cost; calls; tokens; the weights of a file."""

KEYS: tuple[Key, ...] = get_args(Key)
_NANO = Decimal(10) ** -9
Owner = TypeVar("Owner")


def split(pool: Decimal, weights: Mapping[Owner, Fraction]) -> dict[Owner, Decimal] | None:
    """The parts of a pool, in USD, for owners by weights of which none is below 0; None where all are 0.

    >>> split(Decimal("0.000000010"), {"a": Fraction(1), "b": Fraction(1), "c": Fraction(1)})
    {'a': Decimal('4E-9'), 'b': Decimal('3E-9'), 'c': Decimal('3E-9')}
    """
    whole = sum(weights.values(), Fraction(0))
    if not whole:
        return None
    nano = int(pool.scaleb(9))
    exact = [Fraction(nano) * weight / whole for weight in weights.values()]
    return {owner: part * _NANO for owner, part in zip(weights, _apportioned(nano, exact), strict=True)}


def _apportioned(total: int, parts: Sequence[Fraction]) -> list[int]:
    return apportion(total, parts) if total else [0] * len(parts)
