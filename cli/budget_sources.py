"""Where a question about budgets gets its answer: the file of budgets, the lake, and how values stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.budgets import Budgets
    from ..models.settings import Settings
    from ..models.verdicts import Asked, Standing, Verdict
    from ..sql.spending import Hidden, Spent
    from ..sql.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Source:
    """A lake and the budgets over it."""

    warehouse: Warehouse
    budgets: Budgets
    hidden: Hidden

    def spent(self) -> Spent:
        """What was spent by now; changed days are derived first."""
        from .waiting import progress_bar  # noqa: PLC0415  start-up time

        with progress_bar("deriving days") as progress:
            return self.warehouse.spent(self.budgets, self.hidden, progress)

    def decide(self, spent: Spent, asked: Asked, now: datetime) -> tuple[Verdict, tuple[Standing, ...]]:
        """The verdict on a request, and how all that it is under stands."""
        from ..models.verdicts import Ceilings  # noqa: PLC0415  start-up time
        from ..sql.budgets import decide  # noqa: PLC0415

        return decide(Ceilings(self.budgets), spent, asked, now)


def opened(lake: Path | None, config: Path | None, budgets: Path | None) -> Source:
    """What the options name. Raises BudgetFileError and what opening a lake raises."""
    from ..models.budget_file import load as load_budgets  # noqa: PLC0415  start-up time
    from .options import open_warehouse  # noqa: PLC0415

    warehouse = open_warehouse(lake, config)
    return Source(warehouse, load_budgets(budgets or budget_file(warehouse.settings)), hidden(warehouse.settings))


def budget_file(settings: Settings) -> Path:
    """Where the budgets stand."""
    from ..models.lake import Lake  # noqa: PLC0415  start-up time

    return settings.budgets.file or Lake(settings.lake).budgets


def hidden(settings: Settings, key: bytes | None = None) -> Hidden:
    """How values stand in the lake: hashed, where the settings say so; budgets name them as they are.

    The key of the hashes is the settings', unless it is given. Raises SettingsError where it is not there.
    """
    from ..ingest.privacy import MARK, Hasher, Privacy, hash_key  # noqa: PLC0415  start-up time
    from ..models import conventions  # noqa: PLC0415
    from ..sql.spending import as_said  # noqa: PLC0415

    if not settings.content.hash:
        return as_said
    privacy = Privacy.of(settings.content, hash_key(settings.content) if key is None else key)
    hasher = Hasher(conventions.load(settings.conventions), privacy)
    return lambda column, value: value if value.startswith(MARK) else hasher.hidden(column, value)


def this_moment() -> datetime:
    """The clock of the command line."""
    return datetime.now(UTC)
