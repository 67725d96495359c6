"""Deriving: what the landed spans mean in money. `Warehouse` is the way in."""

from .warehouse import Warehouse

__all__ = ["Warehouse"]
