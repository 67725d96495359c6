"""Shapley values of products, exact, and rounding that keeps a sum.

The Shapley value (Shapley 1953) of a factor is what it adds when the factors go from their old to their new values
one by one, averaged over all orders. For a product of k factors it is the factor's own change times a slope:

    part_j = (after_j - before_j) * sum over subsets S of the others of
             |S|! (k - 1 - |S|)! / k! * product of after_l (l in S) * product of before_l (l not in S)

The subsets of one size have one weight, so the sum is read off the polynomial that the product of all
(before_l + after_l z) is. The parts of all factors sum to the change of the product, a factor that did not change has
0, and no order is preferred. The value is linear: the parts of a sum of products are the sums of the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import factorial, prod

Pair = tuple[Fraction, Fraction]
"""A factor before and after."""


def slopes(factors: Sequence[Pair]) -> list[Fraction]:
    """What each factor's change is multiplied with to give its Shapley value in the product of all.

    >>> slopes([(Fraction(2), Fraction(3)), (Fraction(10), Fraction(20))])
    [Fraction(15, 1), Fraction(5, 2)]
    """
    # whole numbers over one denominator a factor: reducing a fraction at each step would take most of the time
    scales = [before.denominator * after.denominator for before, after in factors]
    whole = [
        (before.numerator * after.denominator, after.numerator * before.denominator) for before, after in factors
    ]
    last = len(factors) - 1
    weights = [factorial(size) * factorial(last - size) for size in range(last + 1)]
    found = []
    for chosen in range(len(factors)):
        polynomial = [1]
        for other, (before, after) in enumerate(whole):
            if other != chosen:
                polynomial = [
                    before * low + after * high for low, high in zip([*polynomial, 0], [0, *polynomial], strict=True)
                ]
        weighed = sum(weight * term for weight, term in zip(weights, polynomial, strict=True))
        scale = prod(scale for other, scale in enumerate(scales) if other != chosen)
        found.append(Fraction(weighed, factorial(last + 1) * scale))
    return found


def exact_sum(terms: Iterable[Fraction]) -> Fraction:
    """The sum of fractions, pair by pair: one by one, hundreds of denominators would pile up in every step."""
    row = [term for term in terms if term]
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        row = [one + other for one, other in zip(row[::2], row[1::2], strict=False)] + odd
    return row[0] if row else Fraction(0)


def apportion(total: int, parts: Sequence[Fraction]) -> list[int]:
    """Whole parts that sum to `total`, each next to its own: the largest remainders are rounded up first.

    A part of 0 stays 0. `total` must be the sum of the parts, rounded; if all parts are 0 it must be 0.

    >>> apportion(10, [Fraction(10, 3), Fraction(10, 3), Fraction(0), Fraction(10, 3)])
    [4, 3, 0, 3]
    """
    whole = [part.__floor__() for part in parts]
    owed = total - sum(whole)
    step = 1 if owed > 0 else -1
    # remainders to thirty places: comparing fractions of a thousand digits takes longer than all the rest
    remainders = [((part - floor) * 10**30).__floor__() for part, floor in zip(parts, whole, strict=True)]
    ordered = sorted((place for place, part in enumerate(parts) if part), key=lambda at: (-step * remainders[at], at))
    for turn in range(abs(owed)):
        whole[ordered[turn % len(ordered)]] += step
    return whole
