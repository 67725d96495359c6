"""Money as whole nano-dollars: what DECIMAL(18,9) holds, as an integer that is added and compared in memory.

Integers, because a counter is changed with every decision: they neither round nor grow digits.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation

NANOS = 10**9
"""Nano-dollars of a US dollar."""

_MOST_USD = 10**9


def nanos(amount: Decimal) -> int:
    """US dollars in nano-dollars; what is smaller than one is rounded up, so that a bound stays one.

    >>> nanos(Decimal("0.0000000011")), nanos(Decimal("12.5"))
    (2, 12500000000)
    """
    return int((amount * NANOS).to_integral_value(ROUND_CEILING))


def usd(amount: int) -> Decimal:
    """Nano-dollars in US dollars, with nine decimal places.

    >>> usd(12_500_000_000), usd(-1)
    (Decimal('12.500000000'), Decimal('-1E-9'))
    """
    return Decimal(amount).scaleb(-9)


def amount_of(value: object, *, least: int = 0) -> int:
    """The nano-dollars that a number or its text says. Raises ValueError for what is no amount from `least` USD on.

    >>> amount_of("0.25"), amount_of(3)
    (250000000, 3000000000)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"{value!r} is not a number of US dollars")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number of US dollars") from None
    if not amount.is_finite() or not least <= amount <= _MOST_USD:
        raise ValueError(f"{value!r} is not between {least} and {_MOST_USD} US dollars")
    return nanos(amount)
