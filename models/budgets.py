"""What may be spent, by whom and how fast: ceilings by level, and limits of one run of an agent.

The file that says them is read in budget_file.py; what is left of them is told in verdicts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

from .periods import Period
from .windows import zone

COLUMNS: Mapping[str, str] = {
    "org": "org",
    "team": "team",
    "customer": "customer_id",
    "user": "user_id",
    "key": "key_id",
    "tag": "tags",
    "agent": "agent_name",
    "model": "model",
    "provider": "provider",
}
"""Each level that spend can be capped at, and the column of `calls` that names its entities."""

WHOLE = ""
"""The entity of the ceiling that everything in the lake is under: `org:` without a name."""

EACH = "*"
"""The name of a ceiling that each entity has which none other names."""

_WARN = Decimal("0.8")
_DEAREST_INPUT, _DEAREST_OUTPUT = Decimal(30), Decimal(150)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What may be spent in a period at a level, by one entity or by all that its name matches.

    `limit` is in nano-dollars. A hard one blocks, a soft one only says so.
    """

    level: str
    name: str
    limit: int
    hard: bool
    period: Period
    warn_threshold: Decimal = _WARN

    @property
    def is_for_each(self) -> bool:
        """Whether each entity has a ceiling of its own of this kind."""
        return self.name == EACH

    @property
    def is_shared(self) -> bool:
        """Whether its name is a pattern, and the spend of all that match counts together."""
        return not self.is_for_each and any(sign in self.name for sign in "*?[")


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run of an agent may do before it is stopped; None is without a limit. `cost` is in nano-dollars."""

    agent: str
    tokens: int | None = None
    cost: int | None = None
    tool_calls: int | None = None
    retries: int | None = None
    depth: int | None = None
    hard: bool = True


@dataclass(frozen=True, slots=True)
class UnpricedBound:
    """USD per million tokens that usage without a price counts as at most, where nothing priced can tell."""

    input: Decimal = _DEAREST_INPUT
    output: Decimal = _DEAREST_OUTPUT
    always: bool = False
    """Whether the user said so: then it counts whatever else was priced."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """All that the file says."""

    ceilings: tuple[Ceiling, ...] = ()
    runs: tuple[RunLimits, ...] = ()
    tz: ZoneInfo = field(default_factory=lambda: zone("UTC"))
    enabled: bool = True
    unpriced: UnpricedBound = UnpricedBound()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is limited."""
        return not self.enabled or not (self.ceilings or self.runs)
